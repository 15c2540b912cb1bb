"""Trains the runs of a sweep: on accelerators in populations, on a CPU of several cores in as many processes."""

import concurrent.futures
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

import data
from configs.errors import ConfigError
from experiment import folder
from experiment.display import Display
from experiment.lock import locked
from experiment.run import execute_together
from experiment.sweeping.groups import Group, grouped, label
from experiment.sweeping.sweeps import Planned
from experiment.sweeping.worker import Reporter
from experiment.sweeping.workers import in_processes
from files.writing import StorageError, write_json
from machine import limits
from machine.cores import cores_allowed
from models.accounting import peak_memory_bytes
from models.traits import traits
from training.plan import total_steps
from training.programs import MOST_KEPT, Programs, compile_programs
from training.recording.log import Row
from training.track import Member

LARGEST_SHARE = 0.9  # of the device's memory that the plan of a population may take
OF_A_PROCESS = 2**30  # bytes: about what one takes that trains the demo, JAX and what it compiles included
FEWEST_AHEAD = 3  # groups whose programs are compiled while others train, however few cores there are


def run_all(runs: Sequence[Planned], workdir: Path, *, workers: int, at_most: int | None = None) -> dict[str, str]:
    """Trains what is not finished; a run that fails does not stop the others.

    Args:
      workers: processes that train at the same time, of `processes`.
      at_most: runs that train together in one; None: as many as pays (training.strategy).
    Returns:
      By run name, one line on each run that failed or diverged.
    """
    results = {run.name: folder.read_result(workdir / run.name) for run in runs}
    troubles = {name: line for name, result in results.items() if result and (line := _diverged(result))}
    waiting = [run for run in runs if results[run.name] is None]
    groups = grouped(waiting, workdir, at_most, [run for run in runs if results[run.name]])
    on_cpu = jax.default_backend() == 'cpu'
    # As many as for the whole sweep, so that a run has the same cores when an interrupted sweep goes on.
    workers = min(workers, len(groups if len(waiting) == len(runs) else grouped(runs, workdir, at_most)))
    with Display(sum(map(len, groups)), sum(run.steps for group in groups for run in group)) as display:
        if len(waiting) < len(runs):
            display.note(f'{len(runs) - len(waiting)} of {len(runs)} runs were finished before')
        for group in groups:
            if at_most is not None and len(group) > at_most:
                display.note(
                    f'{label(group)}: they resume as they began, whatever --together={at_most}; without '
                    f'{folder.POPULATION} in their folders they would part'
                )
        for run in runs:
            if run.name in troubles:
                display.note(f'{label([run])}: {troubles[run.name]}')
        if workers > 1 and groups:
            done, lost = in_processes(run_group, workdir, slowest_first(groups), workers, display)
            troubles |= done
            for run in lost:
                display.of(0).end(1, run.steps)
                troubles |= _failed(run, workdir, 'its process died (out of memory?)', '', display.of(0))
        else:
            troubles |= one_by_one(groups, workdir, display, 0 if on_cpu else compiled_ahead())
    return troubles


def processes(asked: int | None) -> int:
    """The processes that may train at the same time: as `asked` for, else one a core as long as memory suffices.

    Raises ConfigError: several would share an accelerator.
    """
    on_cpu = jax.default_backend() == 'cpu'
    if asked is None:
        return min(len(cores_allowed()), max(1, round(limits.memory() / OF_A_PROCESS))) if on_cpu else 1
    if asked > 1 and not on_cpu:
        raise ConfigError(f'--workers={asked}: one process takes all of an accelerator; 1 would do')
    return asked


def compiled_ahead() -> int:
    """Groups whose programs are compiled while others train on an accelerator: a small group trains for a second."""
    return min(max(FEWEST_AHEAD, len(cores_allowed()) // 2), MOST_KEPT // 2)


def slowest_first(groups: Sequence[Group]) -> list[Group]:
    """Those that convolve, then the others: they take longest, and whoever took one last would keep others waiting."""
    return sorted(groups, key=lambda group: not traits(group[0].config.model).convolves)


def one_by_one(groups: Sequence[Group], workdir: Path, display: Display, ahead: int) -> dict[str, str]:
    """Group after group in this process, while the programs of the next `ahead` ones compile in threads beside it."""
    troubles: dict[str, str] = {}
    pool, begun = concurrent.futures.ThreadPoolExecutor(max(1, ahead)), 1  # the first compiles where it trains
    try:
        for index, group in enumerate(groups):
            for later in groups[max(index + 1, begun) : index + 1 + ahead]:
                # What goes wrong there goes wrong again, and is reported, when the group's turn comes.
                pool.submit(_compile, later)
            begun = max(begun, index + 1 + ahead)
            troubles |= run_group(group, workdir, display.of(0))
    finally:
        # What still compiles after a signal is for runs that will not train now: nobody waits for it.
        pool.shutdown(wait=False, cancel_futures=True)
    return troubles


def _compile(group: Group) -> Programs:
    config = group[0].config
    dataset = data.load_once(config.data)
    return compile_programs(config, dataset, total_steps(config, len(dataset.train.labels)), len(group))


def run_group(group: Group, workdir: Path, reporter: Reporter, processes: int = 1) -> dict[str, str]:
    """Trains the runs of a group as one population; by name, what went wrong with those that failed or diverged.

    A population that does not fit the device's memory, or that fails, is halved, so that what one of its runs does
    wrong costs the others nothing but time.

    Args:
      processes: how many train on this machine at the same time, this one included.
    """
    reporter.begin(label(group), len(group), group[0].steps)
    report = foremost(reporter.row)
    members = [Member(run.config, workdir / run.name, report) for run in group]
    results = line = trace = None
    try:
        if len(group) == 1 or _fits(group):
            results = execute_together(members, processes=processes)
    except Exception as error:  # whatever it is, the other runs should go on; it is kept whole in the run's folder
        if isinstance(error, StorageError) and error.everywhere:
            raise
        line, trace = f'{type(error).__name__}: {" ".join(str(error).split())}', traceback.format_exc()
    # From here on nothing holds the arrays of what failed.
    if results is None and len(group) > 1:
        reporter.end(0)
        half = len(group) // 2
        troubles = run_group(group[:half], workdir, reporter, processes)
        return troubles | run_group(group[half:], workdir, reporter, processes)
    reporter.end(len(group))
    if results is None:
        return _failed(group[0], workdir, line, trace, reporter)
    troubles = {run.name: line for run, result in zip(group, results, strict=True) if (line := _diverged(result))}
    for run in group:
        if run.name in troubles:
            reporter.note(f'{label([run])}: {troubles[run.name]}')
    return troubles


def _fits(group: Group) -> bool:
    """Whether a device's memory holds its part of the group, as it trains and as it is validated between steps."""
    limit = memory_limit()
    return limit is None or memory_needed(_compile(group)) < LARGEST_SHARE * limit


def memory_needed(programs: Programs) -> int:
    """Bytes that training takes on each device, or validation beside the state that goes on training: it may be more.

    Of programs for a device or several; where processes share a batch, each plans its own.
    """
    state_and_images = programs.train_steps.memory_analysis().argument_size_in_bytes
    members = programs.where.size // len(programs.where.devices) or 1
    params = 4 * programs.costs.params * members  # which both programs are given
    validating = state_and_images + peak_memory_bytes(programs.evaluation_step) - params
    return max(programs.costs.peak_memory_bytes, validating)


def memory_limit() -> int | None:
    """Bytes of a device's memory that JAX may take; None: nobody tells, or a CPU's, whose groups are small."""
    stats = None if jax.default_backend() == 'cpu' else jax.devices()[0].memory_stats()
    return stats.get('bytes_limit') if stats else None


def _failed(run: Planned, workdir: Path, line: str, trace: str, reporter: Reporter) -> dict[str, str]:
    try:
        folder.make_folder(workdir / run.name)
        with locked(workdir / run.name):
            write_json(workdir / run.name / folder.FAILED, {'error': line, 'traceback': trace})
    except (ConfigError, StorageError, OSError) as error:
        # Where there can be no note, or another process trains the run by now, its line at the end will do.
        if isinstance(error, StorageError) and error.everywhere:
            raise
    reporter.note(f'{label([run])}: failed: {line}')
    return {run.name: f'failed: {line}'}


def _diverged(result: dict[str, Any]) -> str | None:
    return f'diverged by step {result["diverged_step"]:,}' if result['status'] == 'diverged' else None


def foremost(report: Callable[[Row, int], None]) -> Callable[[Row, int], None]:
    """`report` of the first row of a kind that any member has of a step: they all are equally far, or have diverged."""
    latest: dict[bool, int] = {}

    def told(row: Row, steps: int) -> None:
        of_validation, step = 'validation_loss' in row, int(row['step'])
        if step > latest.get(of_validation, 0):
            latest[of_validation] = step
            report(row, steps)

    return told
