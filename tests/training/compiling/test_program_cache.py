"""Programs are found again by the next process, compute the same bits, and nothing about the cache stops a run."""

import os
import re
import subprocess
import sys

import jax
import pytest

from experiment.environment import ROOT
from training.compiling.program_cache import CacheCounts, slow_start, trim

# A loop, donated arguments, drawing, a convolution's gradient: what a step is made of. Prints bits and counts.
PROGRAM = """
import hashlib, sys
import jax, jax.numpy as jnp, numpy as np
from training.compiling import program_cache

program_cache.use_cache()
folder = program_cache.folder_in_use()
x = jax.random.normal(jax.random.key(0), (32, 32))
scan = jax.jit(lambda x: jax.lax.scan(lambda c, _: (jnp.tanh(c @ x), c.sum()), x, length=7))
donating = jax.jit(lambda state, x: (state[0] + x @ x, state[1] * 2), donate_argnums=0)
state = (x + 0, x + 1)
for _ in range(3):
    state = donating(state, x)
image = jax.random.uniform(jax.random.key(1), (2, 8, 8, 3))
convolve = lambda k: jax.lax.conv_general_dilated(image, k, (2, 2), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
gradient = jax.jit(jax.grad(lambda k: (convolve(k) ** 2).sum()))(jnp.ones((3, 3, 3, 4)))
leaves = jax.tree.leaves((x, scan(x), state, gradient))
print(hashlib.sha256(b''.join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest())
print(*program_cache.counts())
"""


def start(home, **environment):
    clean = {name: value for name, value in os.environ.items() if 'COMPILATION_CACHE' not in name}
    return subprocess.Popen(
        [sys.executable, '-c', PROGRAM],
        cwd=ROOT, env=clean | {'XDG_CACHE_HOME': str(home), 'JAX_PLATFORMS': 'cpu'} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    bits, counted = out.splitlines()
    return bits, CacheCounts(*map(int, counted.split())), err


@pytest.fixture(scope='module')
def several(tmp_path_factory):
    """What three processes did that started at once in an empty folder."""
    home = tmp_path_factory.mktemp('home')
    processes = [start(home) for _ in range(3)]
    return home, [finish(process) for process in processes]


def test_processes_at_once_do_not_disturb_each_other(several):
    _, finished = several
    assert len({bits for bits, _, _ in finished}) == 1
    # JAX warns, in two lines, where one met what another had half written, and compiles it.
    half = re.compile(r'.*Error reading persistent compilation cache.*\n\s*warnings\.warn\(.*\n')
    assert [half.sub('', err) for _, _, err in finished] == ['', '', '']
    assert max(counted.misses for _, counted, _ in finished) > 5


def test_the_next_process_finds_every_program_and_computes_the_same_bits(several):
    home, finished = several
    bits, counted, err = finish(start(home))
    assert bits == finished[0][0]
    assert counted.misses == 0
    assert counted.hits > 5
    assert err == ''
    assert finish(start(home, JAX_ENABLE_COMPILATION_CACHE='false'))[:2] == (bits, CacheCounts(0, 0))


def test_a_torn_program_is_compiled_anew(several):
    home, finished = several
    whole = {path: path.read_bytes() for path in (home / 'patchwise' / 'programs').rglob('*-cache')}
    for path, content in whole.items():
        path.write_bytes(content[: len(content) // 2])
    bits, counted, err = finish(start(home))
    for path, content in whole.items():
        path.write_bytes(content)
    assert bits == finished[0][0]
    assert counted.misses >= len(whole)
    assert 'Error reading persistent compilation cache' in err


def test_the_folder_is_the_user_s_own_and_keeps_everything(switched, tmp_path):
    folder = switched()
    assert folder.parent == tmp_path / 'caches' / 'patchwise' / 'programs'
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0
    assert list(folder.parent.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, 'sched_setaffinity'), reason='this system pins no process to cores')
def test_a_program_for_one_core_is_not_given_to_more(switched, monkeypatch):
    """XLA would go on using one: it splits a program when it compiles it."""
    folders = []
    for cores in ({0}, {0, 1}, {1}):
        monkeypatch.setattr(os, 'sched_getaffinity', lambda _, cores=cores: cores)
        jax.config.update('jax_compilation_cache_dir', None)
        folders.append(switched())
    assert folders[0] == folders[2] != folders[1]


@pytest.mark.parametrize('value', [None, '', 'caches'])
def test_without_an_absolute_xdg_folder_it_is_below_the_home(switched, monkeypatch, tmp_path, value):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('XDG_CACHE_HOME')
    if value is not None:
        monkeypatch.setenv('XDG_CACHE_HOME', value)
    assert switched().parent == tmp_path / '.cache' / 'patchwise' / 'programs'


def test_a_folder_of_the_user_s_choice_goes_first(switched, tmp_path):
    jax.config.update('jax_compilation_cache_dir', 'gs://bucket/programs')
    switched()
    assert jax.config.jax_compilation_cache_dir.startswith('gs://bucket/programs/')
    assert not (tmp_path / 'caches').exists()


@pytest.mark.parametrize(('name', 'value'), [('dir', ''), ('enabled', False)])
def test_it_can_be_turned_off(switched, tmp_path, name, value):
    option = {'dir': 'jax_compilation_cache_dir', 'enabled': 'jax_enable_compilation_cache'}[name]
    jax.config.update(option, value)
    assert switched() is None
    assert not jax.config.jax_enable_compilation_cache
    assert not (tmp_path / 'caches').exists()


def stand_in_the_way(caches):
    caches.write_text('a file')


def open_to_all(caches):
    (caches / 'patchwise' / 'programs').mkdir(parents=True)
    (caches / 'patchwise' / 'programs').chmod(0o777)


@pytest.mark.parametrize('spoil', [stand_in_the_way, open_to_all])
def test_a_folder_that_cannot_be_used_is_a_warning(switched, tmp_path, caplog, spoil):
    spoil(tmp_path / 'caches')
    assert switched() is None
    assert 'compiled programs are not kept' in caplog.text
    assert str(tmp_path / 'caches') in caplog.text


def test_what_was_used_longest_ago_is_deleted_first(tmp_path):
    for age, (name, size) in enumerate([('new', 100), ('middle', 100), ('old', 100), ('empty', 0), ('oldest', 100)]):
        path = tmp_path / f'{age % 2}-cores' / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(size))
        os.utime(path, (1_700_000_000 - age, 1_600_000_000))  # read at different times, written at one

    def left(largest):
        trim(tmp_path, largest)
        return {path.name for path in tmp_path.rglob('*') if path.is_file()}

    assert left(400) == {'new', 'middle', 'old', 'oldest'}
    assert left(399) == {'new', 'middle', 'old'}
    assert left(200) == {'new', 'middle'}
    assert left(0) == set()


COLD, WARM, PARTLY = CacheCounts(2, 50), CacheCounts(52, 0), CacheCounts(40, 12)


@pytest.mark.parametrize(
    ('seconds', 'counted', 'said'),
    [
        (2.9, WARM, None),
        (2.9, PARTLY, None),
        (3.1, PARTLY, '12 of 52 programs were not in the cache'),
        (3.1, WARM, 'all programs came from the cache'),
    ],
)
def test_a_slow_start_is_explained(tmp_path, seconds, counted, said):
    assert slow_start(tmp_path, 'fields', 9.0, COLD) is None
    why = slow_start(tmp_path, 'fields', seconds, counted)
    if said is None:
        assert why is None
    else:
        assert why.startswith('this start took 3.1 s to its first step, the first one 9.0 s: ')
        assert said in why
    assert slow_start(tmp_path, 'other fields', seconds, counted) is None


def test_only_a_start_without_a_cache_s_help_is_compared_with(tmp_path):
    assert slow_start(tmp_path, 'fields', 3.0, PARTLY) is None
    assert slow_start(tmp_path, 'fields', 9.0, COLD) is None
    assert slow_start(tmp_path, 'fields', 2.0, WARM) is None
    assert slow_start(tmp_path / 'missing', 'fields', 2.0, COLD) is None


def test_counts_since_a_mark():
    assert CacheCounts(5, 9).since(CacheCounts(2, 9)) == (3, 0)
