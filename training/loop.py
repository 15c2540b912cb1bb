"""The training loop: one for every model, and for one run or a population of runs."""

import contextlib
import functools
import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from data.spec import Dataset
from training import interruption, population
from training.batches import AHEAD, Fed, batch_rows, fed_to_one, make_feed, on_device
from training.interruption import Interrupted
from training.optimiser import Rates
from training.plan import milestones, total_steps
from training.programs import compile_programs, find_bad_operation
from training.progress import Spent
from training.recording.lagged_rows import LaggedRows
from training.recording.profile import Profile
from training.results import results
from training.run import Run, score
from training.saving.resume import common_start
from training.start import Start
from training.step import State, Sums, run_keys
from training.track import Member, Track

logger = logging.getLogger(__name__)


def train(
    members: Sequence[Member], dataset: Dataset, *, processes: int = 1, profiled: bool = False
) -> list[dict[str, Any]]:
    """Trains and tests members that share their programs, going on from the newest checkpoint that all of them have.

    They differ in seed and Rates alone (training.programs.program_fields tells). Each one's results are those of its
    run alone, within float error; an interrupted population that goes on as it was comes to the same, bit for bit.

    Args:
      processes: how many train on this machine at the same time, this one included.
      profiled: whether to leave a trace of a few steps in the first one's folder (training.recording.profile).
    Returns:
      What result.json says of training, one a member: {'status': 'finished'} with sizes, scores, selection, steps and
      times, or {'status': 'diverged', 'diverged_step': the step by which its loss or gradients were not finite}.
    Raises:
      Interrupted: a signal came (training.interruption), and every member is saved at the step where it was.
      StorageError: a file could not be written, or W&B took no rows.
    """
    config, size = members[0].config, len(members)
    if profiled:
        config = _by_one_process(config)
    steps = total_steps(config, len(dataset.train.labels))
    clock, begun = time.perf_counter(), Start()
    with contextlib.ExitStack() as stack:
        programs = compile_programs(config, dataset, steps, size, processes=processes)
        stack.enter_context(programs.team)
        init_keys, train_keys = map(population.together, zip(*(run_keys(m.config.seed) for m in members), strict=True))
        state = programs.initial_state(init_keys)
        rates = population.together([Rates.of(member.config.train) for member in members])
        train_keys, rates = jax.device_put((train_keys, rates), programs.where.members)
        feed = make_feed(dataset.train, programs.where)
        compile_seconds = time.perf_counter() - clock
        if programs.kernel_fallback:
            asked = config.model.attention_kernel
            logger.warning("model.attention_kernel=%r falls back to 'xla': %s", asked, programs.kernel_fallback)

        stack.enter_context(interruption.deferred())
        start, progress = common_start([member.folder for member in members], config.checkpoint.select)
        by = {'division': programs.division}
        tracks = [
            stack.enter_context(Track(member._replace(maker=member.maker | by), steps, compile_seconds, start, before))
            for member, before in zip(members, progress, strict=True)
        ]
        profile = stack.enter_context(Profile(members[0].folder if profiled else None, steps))
        run = Run(config, dataset, programs, feed, train_keys, rates, tracks, steps, begun, profile)
        if start:
            state = _restored(run, state, [start] * size)
        for milestone in milestones(steps, config.checkpoint.count):
            if milestone > start:
                state = _train_until(milestone, run, state, start)
                start = milestone
            if all(track.diverged for track in tracks):
                break
        counting = [None if track.keeps_last else track.selected() for track in tracks]
        return results(run, _restored(run, state, counting))


def _by_one_process(config: ConfigDict) -> ConfigDict:
    """`config`, for this process to compute all of it: a trace shows no other."""
    config = config.copy_and_resolve_references()
    config.train.shares = 1
    return config


def _train_until(milestone: int, run: Run, state: State, start: int) -> State:
    """Steps from `start` to `milestone`, then validates and saves; or saves as soon as a signal asks for it."""
    clock = time.perf_counter()
    state, step, idle = _run_steps(run, state, start, milestone)
    jax.block_until_ready(state)
    spent = Spent(time.perf_counter() - clock, idle, len(run.programs.where.devices))
    on_host = state if run.size == 1 else jax.device_get(state)
    states = [population.member(on_host, index, run.size) for index in range(run.size)]
    if step == milestone:
        for track, scores, own in zip(run.tracks, score(run, state, 'validation'), states, strict=True):
            track.validated(step, spent, scores, own)
    signum = interruption.requested()
    if signum is not None:
        for track, own in zip(run.tracks, states, strict=True):
            track.heard(int(own.sums.diverged))
            track.interrupted(step, spent, own)
        raise Interrupted(signum, f'saved at step {step:,} of {run.steps:,}')
    return state


def _run_steps(run: Run, state: State, start: int, stop: int) -> tuple[State, int, float]:
    """The state after the steps from `start` to `stop`, the last step, and the seconds that the device idled, at most.

    It is the last before `stop` when all members diverged or a signal came. The host runs ahead of an accelerator: it
    waits for a row's sums a little later (training.recording.lagged_rows), and hears of a divergence without waiting.
    """
    every, dispatch, resident = run.config.log.every, run.programs.dispatch, on_device(run.dataset.train)
    rows, unheard = LaggedRows(functools.partial(_log_row, run), start), deque()
    step, idle, returned = start, 0.0, None
    while step < stop and not _ended(run, unheard):
        count = min(dispatch, stop - step, every - step % every)
        if not resident and len(unheard) >= AHEAD:
            unheard[0].block_until_ready()  # else their images fill the device's memory
        arguments = run.feed(_examples(run, step, dispatch))  # as many as the program has room for
        if returned and state.step.is_ready():
            idle += time.perf_counter() - returned
        run.profile.before(step + count, state)
        before = jax.tree.map(jnp.copy, state) if run.config.debug.check_numerics else None
        state = run.programs.train_steps(state, run.keys, run.rates, *arguments, np.int32(count))
        step, returned = step + count, time.perf_counter()
        run.profile.after(step, state)
        run.begun.stepped(run.programs)
        unheard.append(state.sums.diverged + 0)  # a copy, which the next step's donation cannot take
        if before is not None:
            _check_numerics(run, before, state, arguments)
        rows.dispatched()
        if step % every == 0 or step == stop:
            rows.ask(step, state.sums)
            # They leave the state here, so the next step's donation cannot take them from under the log.
            state = state._replace(sums=_cleared(run, state.sums))
    rows.write()
    return state, step, idle


def _ended(run: Run, unheard: deque[jax.Array]) -> bool:
    """Whether nothing is left to train for; takes from `unheard` what the device has told, without waiting for it."""
    while unheard and unheard[0].is_ready():
        for track, diverged in zip(run.tracks, np.atleast_1d(unheard.popleft()), strict=True):
            track.heard(int(diverged))
    return interruption.requested() is not None or all(track.diverged for track in run.tracks)


def _check_numerics(run: Run, before: State, after: State, arguments: Fed) -> None:
    """Waits for a step, and where a member diverged in it looks for the operation that did it."""
    for index, diverged in enumerate(np.atleast_1d(after.sums.diverged)):
        track = run.tracks[index]
        if diverged and not track.diverged and track.first_bad_operation is None:
            own = population.member((before, run.keys, run.rates), index, run.size)
            fed = fed_to_one(arguments, index, run.size)
            track.first_bad_operation = find_bad_operation(run.config, run.dataset.spec, run.steps, *own, *fed)


def _cleared(run: Run, sums: Sums) -> Sums:
    # Made by NumPy: to stack the members' took JAX as long as several steps of a small model.
    return jax.device_put(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), sums), run.programs.where.members)


def _examples(run: Run, step: int, count: int) -> np.ndarray:
    """Which ones the `count` steps from `step` see, of each member where they are several."""
    batch_size, examples = run.config.train.batch_size, len(run.dataset.train.labels)
    rows = [batch_rows(track.config.seed, step, batch_size, examples, count) for track in run.tracks]
    return rows[0] if run.size == 1 else np.stack(rows)


def _log_row(run: Run, step: int, count: int, sums: Sums, clock: float) -> float:
    """Waits for the sums of the `count` steps up to `step`, and logs each member's means; returns the time then."""
    sums = jax.device_get(sums)
    now = time.perf_counter()
    batch_size = run.config.train.batch_size
    row = {
        'step': step,
        'epoch': step * batch_size / len(run.dataset.train.labels),
        'learning_rate': float(run.programs.learning_rates[step - 1]),
        'images_per_second': count * batch_size / (now - clock),
    }
    for index, track in enumerate(run.tracks):
        track.train_row(population.member(sums, index, run.size), row)
    return now


def _restored(run: Run, state: State, saved: Sequence[int | None]) -> State:
    """`state`, with each member as it was when that step was saved; None: as it is."""
    if not any(saved):
        return state
    one = jax.eval_shape(lambda state: population.member(state, 0, run.size), state)
    on_host = jax.device_get(state) if None in saved else None
    states = [
        population.member(on_host, index, run.size) if step is None else track.restore(step, one)
        for index, (track, step) in enumerate(zip(run.tracks, saved, strict=True))
    ]
    return jax.device_put(population.together(states), run.programs.where.members)
