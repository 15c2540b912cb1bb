import json
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import benchmarks
from benchmarks import timing, window
from benchmarks.window import FULL, MASKED, WINDOWED, Case
from configs.errors import ConfigError
from experiment.environment import ROOT


@pytest.mark.parametrize('case', [Case((1, 300), 8, 1), Case((16, 15), 3, 2), Case((3, 3), 3, 2)], ids=str)
def test_the_arms_that_are_compared_compute_the_same(case):
    programs = window.compile_arms(case)
    shape = (window.HEADS, case.batch, np.prod(case.grid), window.HEAD_DIM)
    arrays = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    results = {name: jax.tree.leaves(program(*arrays)) for name, program in programs.items()}
    for ours, theirs, full in zip(*(results[name] for name in (WINDOWED, MASKED, FULL)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-4)
        assert np.abs(full - theirs).max() > 1e-2


def test_arms_take_turns_and_ratios_are_paired():
    calls = []
    programs = {name: lambda name=name: calls.append(name) for name in 'ab'}
    times = timing.time_in_turns(programs, seconds=0.0, fewest=4)
    assert [len(values) for values in times.values()] == [4, 4]
    turns = [name for name, before in zip(calls, [None, *calls], strict=False) if name != before]
    assert ''.join(turns) == 'ababababa'  # twice untimed, then four rounds, every other one backwards
    paired = timing.ratio(np.array([2.0, 20.0, 200.0]), np.array([1.0, 10.0, 50.0]))
    assert paired == (2, 2, 3)


def test_a_program_that_compiles_at_first_is_warmed_like_the_others(monkeypatch):
    monkeypatch.setattr(timing, 'LONG', 0.05)
    monkeypatch.setattr(timing, 'SAMPLE', 0)
    calls = dict.fromkeys('ab', 0)

    def program(name, first):
        time.sleep(first if calls[name] == 0 else 0.001)
        calls[name] += 1

    programs = {'a': lambda: program('a', 0.001), 'b': lambda: program('b', 0.1)}
    timing.time_in_turns(programs, seconds=0.0, fewest=3)
    assert calls == dict.fromkeys('ab', 2 + 2 * 3)  # two at first, and one before each timing


def test_what_would_not_fit_in_memory_is_not_run(monkeypatch):
    monkeypatch.setattr(window, 'LARGEST_SHARE', 6e6 / benchmarks.available_bytes())
    row = window.measure(Case((1, 512), 8, 1), seconds=0.0, fewest=2)
    assert row['arms'][WINDOWED]['ms'] > 0
    assert row['arms'][FULL]['ms'] is None
    assert 'needs 0.0 GiB' in window.to_markdown([row])


def test_rows_are_chosen_by_their_tokens():
    chosen = window.chosen(window.TABLES, [4096, 49], 8)
    assert [(case.grid, case.batch) for cases in chosen.values() for case in cases] == [
        *[((1, 4096), 8), ((7, 7), 8), ((7, 7), 8), ((1, 49), 8)],
        *[((64, 64), 8)] * 2,
    ]
    assert window.chosen(window.TABLES, None, None) == window.TABLES
    with pytest.raises(ConfigError, match='--tokens=48: 16, 49, '):
        window.chosen(window.TABLES, [48], None)


def test_the_summary_says_how_the_goals_were_met():
    def arm(median, size):
        return {'ms': 1.0, 'bytes': size, 'ratio': {'median': median}}

    def row(grid, masked, full):
        return {'grid': grid, 'window': 5, 'arms': {WINDOWED: arm(1, 10), MASKED: arm(masked, 120), FULL: arm(full, 1)}}

    long, few = window.summary([row((1, 4096), 7, 9), row((16, 16), 3, 0.8), row((4, 4), 3, 2)]).splitlines()
    assert '7.0 times as fast' in long
    assert '1/12.0 of its memory' in long
    assert 'at most 1.25 times as long' in few
    assert '16 x 16 with w = 5' in few


def test_the_command_prints_markdown_and_writes_json(tmp_path):
    path = tmp_path / 'new' / 'window.json'
    arguments = [sys.executable, '-m', 'benchmarks.window', '--quick', f'--json={path}']
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    written = json.loads(path.read_text())
    assert [row['grid'] for row in written['rows']] == [[4, 4], [1, 512]]
    small, large = (row['arms'] for row in written['rows'])
    assert small.keys() == large.keys() == {WINDOWED, MASKED, FULL}
    assert all(arm['ms'] > 0 and arm['ratio']['median'] > 0 for arm in (*small.values(), *large.values()))
    assert large[MASKED]['bytes'] > 2 * large[WINDOWED]['bytes']
    lines = done.stdout.splitlines()
    assert lines[0].startswith('## ')
    assert sum(line.startswith('- machine: ') for line in lines) == 1
    assert sum(line.startswith('|') for line in lines) == 4
    assert written['machine']['versions']['jax'] in done.stdout
