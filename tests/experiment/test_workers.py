"""Processes beside each other; what they do here is small and needs no training."""

import multiprocessing
import os
import signal
import threading
import time

import pytest

from experiment import sweeps
from experiment.display import Display
from experiment.workers import core_shares, following, in_processes
from training import interruption


def work(group, workdir, reporter, processes):
    """Tells what it was given, and dies where its folder says so."""
    reporter.begin('a group', len(group))
    name = group[0].name
    if (workdir / f'{name}.deadly').exists():
        os.kill(os.getpid(), signal.SIGKILL)
    (workdir / name).write_text(f'{processes} {os.getpid()} {sorted(os.sched_getaffinity(0))}')
    reporter.end(len(group))
    return {name: 'noted'} if group[0].config.seed == 2 else {}


@pytest.fixture
def groups(config):
    return [[run] for run in sweeps.plan(config, [{'seed': seed} for seed in range(6)])]


def test_every_group_is_worked_on_once_on_the_cores_of_its_process(groups, tmp_path):
    with Display(6) as display:
        troubles, lost = in_processes(work, tmp_path, groups, 2, display)
    assert troubles == {groups[2][0].name: 'noted'}
    assert lost == []
    assert display.done == 6
    seen = {(tmp_path / group[0].name).read_text() for group in groups}
    shares = {str(share) for share in core_shares(sorted(os.sched_getaffinity(0)), 2)}
    assert {text.split(' ', 2)[2] for text in seen} <= shares
    assert {text.split()[0] for text in seen} == {'2'}


def test_a_process_goes_on_with_the_programs_that_it_has(groups):
    waiting = [('a', groups[0]), ('a', groups[1]), ('b', groups[2]), ('c', groups[3]), ('b', groups[4])]
    assert following(waiting, None, set()) == waiting[0]
    assert following(waiting, None, {'a'}) == waiting[2]  # the next process leaves those to the first
    assert following(waiting, 'b', {'a', 'b'}) == waiting[2]
    assert following(waiting, 'd', {'a', 'b', 'd'}) == waiting[3]  # done with its own: what nobody has begun
    assert following(waiting, 'd', {'a', 'b', 'c', 'd'}) == waiting[0]  # then it helps


def test_a_process_that_dies_costs_its_own_group_alone(groups, tmp_path):
    (tmp_path / f'{groups[1][0].name}.deadly').touch()
    with Display(6) as display:
        troubles, lost = in_processes(work, tmp_path, groups, 2, display)
    assert lost == groups[1]
    others = [group[0].name for index, group in enumerate(groups) if index != 1]
    assert all((tmp_path / name).exists() for name in others)
    assert troubles == {groups[2][0].name: 'noted'}
    # What had not begun when it died goes on side by side.
    assert (tmp_path / others[-1]).read_text().startswith('2 ')


def train_until_told(group, workdir, reporter, processes):
    """Of the first seed, trains until it is told to end, when it is tried the first time; of others, says who it is."""
    name = group[0].name
    if group[0].config.seed == 0 and not (workdir / 'begun').exists():
        (workdir / 'begun').touch()
        with interruption.deferred():
            while interruption.requested() is None:
                time.sleep(0.01)
    (workdir / name).write_text(str(os.getpid()))
    return {}


def test_a_process_that_is_killed_while_it_waits_for_work_costs_nothing(groups, tmp_path):
    """It takes the lock with it that the others wait with."""
    waits = tmp_path / groups[1][0].name

    def kill():
        while not ended.is_set() and not (waits.exists() and waits.read_text() and (tmp_path / 'begun').exists()):
            time.sleep(0.01)
        if not ended.wait(0.5):
            os.kill(int(waits.read_text()), signal.SIGKILL)
        if not ended.wait(30):
            late.append(True)
            for process in multiprocessing.active_children():
                process.kill()

    ended, late = threading.Event(), []
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        with Display(2) as display:
            found = in_processes(train_until_told, tmp_path, groups[:2], 2, display)
    finally:
        ended.set()
        killer.join()
    assert not late
    assert display.failed == 0
    assert found == ({}, [])
    assert (tmp_path / groups[0][0].name).exists()


def raises(group, workdir, reporter, processes):
    raise RuntimeError('a defect')


def test_a_defect_ends_all_processes(groups, tmp_path):
    with Display(6) as display, pytest.raises(RuntimeError, match='a defect'):
        in_processes(raises, tmp_path, groups, 2, display)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(('cores', 'workers'), [(1, 3), (2, 2), (4, 2), (7, 3), (8, 1)])
def test_all_cores_are_given_out_evenly(cores, workers):
    shares = core_shares(list(range(cores)), workers)
    assert len(shares) == workers
    assert {core for share in shares for core in share} == set(range(cores))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    if workers <= cores:
        assert sum(map(len, shares)) == cores
