"""Processes beside each other; what they do here is small and needs no training."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time

import pytest

from experiment.display import Display
from experiment.sweeping import sweeps, workers
from experiment.sweeping.workers import following, in_processes
from machine.cores import core_shares


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


def tell_until_killed(group, workdir, reporter, processes):
    """Is killed while it tells, when it is tried the first time, so that some of what it told is cut in two."""
    killed = workdir / group[0].name
    reporter.begin('a group', len(group))
    if not killed.exists():
        killed.touch()
        seconds = 0.02 * (1 + group[0].config.seed)
        threading.Timer(seconds, os.kill, [os.getpid(), signal.SIGKILL]).start()
        while True:
            reporter.note('much to say ' * 10_000)
    reporter.end(len(group))
    return {group[0].name: 'ended'}


def test_processes_that_are_killed_while_they_tell_are_tried_again(groups, tmp_path, capsys):
    with Display(6) as display:
        troubles, lost = in_processes(tell_until_killed, tmp_path, groups[:4], 2, display)
    assert troubles == {group[0].name: 'ended' for group in groups[:4]}
    assert lost == []
    assert display.done == 4
    told = {line for line in capsys.readouterr().err.splitlines() if not line.startswith('ETA ')}
    assert told == {'much to say ' * 10_000}


def outlast(group, workdir, reporter, processes):
    """Of the first seed, works until the process of the second one has ended; of others, says who it is."""
    if group[0].config.seed > 0:
        (workdir / 'other').write_text(str(os.getpid()))
        return {}
    by = time.monotonic() + 60
    while time.monotonic() < by:
        time.sleep(0.01)
        with contextlib.suppress(FileNotFoundError, ValueError):
            try:
                os.kill(int((workdir / 'other').read_text()), 0)
            except ProcessLookupError:
                return {group[0].name: 'alone'}
    return {}


def test_a_process_with_nothing_to_do_does_not_wait_for_the_others(groups, tmp_path):
    """It would keep the memory of its programs."""
    with Display(2) as display:
        found = in_processes(outlast, tmp_path, groups[:2], 2, display)
    assert found == ({groups[0][0].name: 'alone'}, [])


class OfALibrary(Exception):
    """Cannot be made again from its args, which pickle would do."""

    def __init__(self, one, other):
        super().__init__(f'{one} and {other}')


def raises_what_no_pipe_takes(group, workdir, reporter, processes):
    raise OfALibrary('this', 'that')


def test_what_a_worker_raises_is_told_where_no_pipe_takes_it(tmp_path, groups):
    with Display(6) as display, pytest.raises(RuntimeError, match='OfALibrary: this and that') as raised:
        in_processes(raises_what_no_pipe_takes, tmp_path, groups, 2, display)
    assert 'raises_what_no_pipe_takes' in ''.join(raised.value.__notes__)


def raises(group, workdir, reporter, processes):
    raise RuntimeError('a defect')


def test_a_defect_ends_all_processes(groups, tmp_path):
    with Display(6) as display, pytest.raises(RuntimeError, match='a defect') as raised:
        in_processes(raises, tmp_path, groups, 2, display)
    assert "raise RuntimeError('a defect')" in '\n'.join(raised.value.__notes__)  # where it was, in that process
    assert multiprocessing.active_children() == []


def test_a_group_is_tried_again_on_as_many_cores_as_the_others_had(groups, tmp_path, monkeypatch):
    """On more of them its sums would be rounded in another order."""
    given = []

    def work_on(groups, shares, serve, display):
        given.append([len(share) for share in shares])
        return {}, list(groups)

    monkeypatch.setattr(workers, 'cores_allowed', lambda: list(range(6)))
    monkeypatch.setattr(workers, '_work_on', work_on)
    with Display(2) as display:
        in_processes(work, tmp_path, groups[:2], 3, display)
    assert given == [[2, 2, 2], [2], [2]]
