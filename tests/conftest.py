"""Every annotated shape in patchwise is checked at run time while tests run, and only then."""

from jaxtyping import install_import_hook

# Before any test imports one of them. The hook changes nothing but the check.
PACKAGES = ['configs', 'data', 'models', 'training', 'analysis', 'experiment', 'benchmarks']
_hook = install_import_hook(PACKAGES, 'beartype.beartype')
_hook.__enter__()
