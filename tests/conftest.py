"""Every annotated shape in patchwise is checked at run time while tests run, and only then."""

import pytest
from jaxtyping import install_import_hook

# Before any test imports one of them. The hook changes nothing but the check.
PACKAGES = ['configs', 'data', 'models', 'training', 'analysis', 'experiment', 'benchmarks']
_hook = install_import_hook(PACKAGES, 'beartype.beartype')
_hook.__enter__()


@pytest.fixture(scope='session', autouse=True)
def _caches(tmp_path_factory):
    """Processes that tests start keep their compiled programs here, not where the user's are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('caches')))
        yield
