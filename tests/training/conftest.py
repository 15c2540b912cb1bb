import contextlib

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from training.compiling import program_cache


@pytest.fixture
def switched(monkeypatch, tmp_path):
    """use_cache as a fresh process would call it, and the folder then in use; JAX's settings are put back."""

    def switch():
        program_cache.use_cache.__wrapped__()
        return program_cache.folder_in_use()

    names = ['jax_compilation_cache_dir', 'jax_enable_compilation_cache', *program_cache.KEEP_ALL]
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update('jax_compilation_cache_dir', None)
    jax.config.update('jax_enable_compilation_cache', True)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'caches'))
    compilation_cache.reset_cache()
    yield switch
    compilation_cache.reset_cache()
    for name, value in before.items():
        jax.config.update(name, value)
    with contextlib.suppress(AssertionError, ValueError):  # when there is none left
        while True:
            jax.monitoring.unregister_event_listener(program_cache._count)
