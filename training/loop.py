"""The training loop: one for every model."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from data.spec import Dataset
from models.matching import width
from training import checkpoints
from training.batches import Take, batch_rows, make_batches
from training.checkpoints import Progress
from training.evaluate import evaluate
from training.log import MetricsLog, Row
from training.programs import Programs, compile_programs
from training.step import State, Sums

Emit = Callable[[Row], None]

LAG = 3  # steps that a row's sums have to arrive in before the host waits for them


class Diverged(Exception):
    """The loss became NaN or infinite."""

    def __init__(self, step: int):
        super().__init__(f'the loss is not finite at step {step}')
        self.step = step


class Run(NamedTuple):
    """What stays the same while a run trains."""

    config: ConfigDict
    dataset: Dataset
    programs: Programs
    take: Take
    key: jax.Array
    steps: int


def total_steps(config: ConfigDict, examples: int) -> int:
    """Steps of a run on `examples` training images: `train.steps`, else `train.epochs` in whole steps."""
    train = config.train
    return train.steps if train.steps is not None else max(1, round(train.epochs * examples / train.batch_size))


def milestones(steps: int, count: int) -> list[int]:
    """The steps after which a run validates and saves: at most `count`, evenly spread, the last at the end."""
    return sorted({max(1, round(steps * index / count)) for index in range(1, count + 1)})


def train(config: ConfigDict, dataset: Dataset, folder: Path, report: Callable[[Row, int], None]) -> dict[str, Any]:
    """Trains and tests the model of `config`, going on from the newest checkpoint in `folder` if there is one.

    Args:
      report: called with each row of metrics, and the number of steps in the run.
    Returns:
      What result.json says of training: sizes, scores, selection, steps, times.
    Raises:
      Diverged: the loss is not finite.
    """
    steps = total_steps(config, len(dataset.train.labels))
    clock = time.perf_counter()
    programs = compile_programs(config, dataset.spec, steps)
    init_key, train_key = jax.random.split(jax.random.key(config.seed))
    run = Run(config, dataset, programs, make_batches(dataset.train), train_key, steps)
    state = programs.initial_state(init_key)
    # The first batch compiles its gathering, which is no training time either.
    jax.block_until_ready(run.take(batch_rows(config.seed, 0, config.train.batch_size, len(dataset.train.labels))))
    compile_seconds = time.perf_counter() - clock

    with checkpoints.open_checkpoints(folder, config.checkpoint.keep) as manager:
        start = manager.latest_step() or 0
        if start:
            state, progress = checkpoints.restore(manager, start, state)
            progress = progress._replace(compile_seconds=progress.compile_seconds + compile_seconds)
        else:
            progress = Progress(compile_seconds=compile_seconds)
        with MetricsLog(folder, start, config.log.tensorboard) as log:

            def emit(row: Row) -> None:
                log.write(row)
                report(row, steps)

            for milestone in milestones(steps, config.checkpoint.count):
                if milestone > start:
                    state, progress = _train_until(milestone, run, state, start, progress, emit)
                    checkpoints.save(manager, milestone, state, progress)
                    start = milestone
        manager.wait_until_finished()
        selected = progress.selected(config.checkpoint.select, steps)
        if selected != steps:
            state, _ = checkpoints.restore(manager, selected, state)
    return _result(run, state, progress, selected)


def _train_until(
    milestone: int, run: Run, state: State, start: int, progress: Progress, emit: Emit
) -> tuple[State, Progress]:
    """Steps from `start` to `milestone`, then validates."""
    clock = time.perf_counter()
    state = _run_steps(run, state, start, milestone, emit)
    jax.block_until_ready(state)
    seconds = time.perf_counter() - clock
    scores = _score(run, state, 'validation')
    if not math.isfinite(scores['loss']):
        raise Diverged(milestone)
    emit({'step': milestone, 'validation_accuracy': scores['accuracy'], 'validation_loss': scores['loss']})
    return state, progress.after(milestone, seconds, scores)


def _run_steps(run: Run, state: State, start: int, stop: int, emit: Emit) -> State:
    """Steps from `start` to `stop`. The host runs ahead of the device, and waits for a row `LAG` steps after it."""
    config, every = run.config, run.config.log.every
    batch_size, examples = config.train.batch_size, len(run.dataset.train.labels)
    clock, last, pending = time.perf_counter(), start, None
    for step in range(start + 1, stop + 1):
        rows = batch_rows(config.seed, step - 1, batch_size, examples)
        state = run.programs.train_step(state, run.key, *run.take(rows))
        if pending and (step == pending[0] + LAG or step == stop):
            clock, pending = _emit_row(run, *pending, clock, emit), None
        if step % every == 0 or step == stop:
            if pending:
                clock = _emit_row(run, *pending, clock, emit)
            # The sums leave the state here, so the next step's donation cannot take them from under the log.
            pending, last = (step, step - last, state.sums), step
            state = state._replace(sums=Sums.zeros())
    if pending:
        _emit_row(run, *pending, clock, emit)
    return state


def _emit_row(run: Run, step: int, count: int, sums: Sums, clock: float, emit: Emit) -> float:
    """Waits for the sums of the `count` steps up to `step`, and logs their means; returns the time then."""
    loss, correct, examples = (float(value) for value in jax.device_get(sums))
    if not math.isfinite(loss):
        raise Diverged(step)
    now = time.perf_counter()
    batch_size = run.config.train.batch_size
    emit(
        {
            'step': step,
            'epoch': step * batch_size / len(run.dataset.train.labels),
            'train_loss': loss / examples,
            'train_accuracy': correct / examples,
            'learning_rate': float(run.programs.learning_rates[step - 1]),
            'images_per_second': count * batch_size / (now - clock),
        }
    )
    return now


def _score(run: Run, state: State, split: str) -> dict[str, Any]:
    size, classes = run.config.train.eval_batch_size, run.dataset.spec.num_classes
    return evaluate(run.programs.evaluation_step, state.params, getattr(run.dataset, split), size, classes)


def _result(run: Run, state: State, progress: Progress, selected: int) -> dict[str, Any]:
    """Everything that is known at the end; the test split is looked at here, and nowhere before."""
    config, steps = run.config, run.steps
    scores = {}
    for split in ('train', 'validation', 'test'):
        scores[split] = _score(run, state, split)
        del scores[split]['confusion']
    images, share = steps * config.train.batch_size, 100 * config.data.validation_fraction
    chosen = width(config.model, run.dataset.spec)
    return scores | {
        'params': run.programs.params,
        'forward_flops': run.programs.forward_flops,
        'width': chosen.fields,
        'reference': None if chosen.reference is None else {config.model.match: chosen.reference},
        'peak_memory_bytes': run.programs.peak_memory_bytes,
        'selection': {
            'split': f'validation: {share:g}% of train, stratified, the same for every seed',
            'rule': config.checkpoint.select,
            'step': selected,
        },
        'steps': steps,
        'images_seen': images,
        'compile_seconds': progress.compile_seconds,
        'train_seconds': progress.train_seconds,
        'images_per_second': images / progress.train_seconds,
    }
