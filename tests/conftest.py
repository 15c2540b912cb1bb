"""Every annotated shape in patchwise is checked at run time while tests run, and only then."""

import os

# Before JAX is imported, for the tests and the commands that they run: several processes would share one accelerator,
# whose products are less exact than what most tests ask. JAX_PLATFORMS=cuda in the environment goes before it.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import jax
import pytest
from jaxtyping import install_import_hook

from experiment.garbage import collect_seldom
from tests.once import shared_folder
from tests.quick import QUICKLY

# XLA reads its flags as the backend starts: the commands that tests run as processes compile as a user's do.
with pytest.MonkeyPatch.context() as patch:
    patch.setenv('XLA_FLAGS', f'{os.environ.get("XLA_FLAGS", "")} {QUICKLY}')
    jax.devices()

# What JAX keeps of a thousand programs, it keeps: looking through it at Python's own pace took a twentieth of the time.
collect_seldom()

# Before any test imports one of them. The hook changes nothing but the check.
PACKAGES = ['configs', 'files', 'machine', 'data', 'models', 'training', 'analysis', 'experiment', 'benchmarks']
_hook = install_import_hook(PACKAGES, 'beartype.beartype')
_hook.__enter__()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        '--fuzz-examples', type=int, default=384, help='Configs that tests/reliability/test_fuzz.py draws.'
    )


@pytest.fixture(scope='session', autouse=True)
def _caches(tmp_path_factory):
    """Tests, and processes that they start, share their compiled programs here, not where the user's are."""
    from training.compiling.program_cache import KEEP_ALL

    shared = shared_folder(tmp_path_factory) / 'caches'
    jax.config.update('jax_compilation_cache_dir', str(shared / 'tests'))
    for name, value in KEEP_ALL.items():
        jax.config.update(name, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(shared))
        yield
