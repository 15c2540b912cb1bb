"""What tests/reliability/test_topology.py asks of a process with eight devices: prints it as JSON.

Eight devices of a CPU are one CPU, told to be eight: `only` and `placement.devices` choose how many of them are used.
"""

import contextlib
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

import data
import models
from data.rows import Rows
from models import convolve
from models.accounting import train_step_flops
from tests.experiments import small
from training import batches, evaluate, loop, placement, step
from training.compiling import tracing, xla_options
from training.optimiser import Rates
from training.progress import Progress
from training.recording.log import read_rows
from training.saving import checkpoints
from training.track import Member

COUNTS = (1, 2, 8)
STEPS = 6
COUNTS_OF = {'conv': COUNTS, 'gru': (1, 8), 'resnet': (1, 8)}  # the attention's are in `moved`; compiling takes seconds

MODELS = {
    'attention': {'train.accumulate': 2},
    'conv': {'model.mixer': 'conv', 'model.positions.name': 'none'},
    'gru': {'model.mixer': 'gru', 'model.positions.name': 'rnn'},
    'resnet': {'model.name': 'resnet', 'model.resnet_width': 4},
}


def experiment(**fields):
    """An experiment that draws in every way: of params, order, crops and dropout."""
    config = small()
    # Eight devices share a batch of 16, and one of 10 that is padded.
    config.model.embed_dim, config.train.steps, config.train.eval_batch_size = 8, STEPS, 10
    config.log.every, config.checkpoint.count = 1, 3
    config.update_from_flattened_dict(fields)
    return config


def stepped(config, dataset, count, dispatch=1):
    """The loss of each dispatch of `dispatch` steps on `count` devices, the state at the end, and the program."""
    model, train = models.build(config.model, dataset.spec), dataset.train
    resident = len(train.labels) if batches.on_device(train) else None
    where = placement.of_training(config, only=jax.devices()[:count])
    shape = step.state_shapes(config, model)
    job = tracing.Job(config, dataset.spec, STEPS, where, dispatch, resident)
    traced = tracing.trace_training(job, model, shape)
    program = xla_options.compiled(traced.lower(), config)
    state = jax.device_put(step.initial_state(config, model, jax.random.key(0)), where.members)
    key, rates = jax.device_put((jax.random.key(1), Rates.of(config.train)), where.members)
    feed, sums, losses = batches.make_feed(train, where), jax.device_get(state.sums), []
    for first in range(0, STEPS, dispatch):
        rows = batches.batch_rows(0, first, config.train.batch_size, len(train.labels), dispatch)
        state = program(state, key, rates, *feed(rows), np.int32(dispatch))
        before, sums = sums, jax.device_get(state.sums)
        losses.append(float(sums.loss - before.loss) / int(sums.examples - before.examples))
    return losses, state, program


def of_models():
    """Each model's losses and FLOPs by the number of devices, and the conv's states."""
    answer, states = {}, {}
    for name, counts in COUNTS_OF.items():
        config = experiment(**MODELS[name])
        taken = {count: stepped(config, data.load(config.data), count) for count in counts}
        answer[name] = {
            count: {'losses': losses, 'flops': program.cost_analysis()['flops']}
            for count, (losses, _, program) in taken.items()
        }
        states = states or {count: state for count, (_, state, _) in taken.items()}
    return answer, states


def streamed():
    """Losses of images that are handed in dispatch by dispatch, three steps each."""
    config = experiment(**{'model.mixer': 'identity', 'data.augment.crop': 0})
    dataset = data.load(config.data)
    losses, _, program = stepped(config, handed_in(dataset), 8, 3)
    exchanged = re.findall(r'= u8\S* (?:all-|collective-)\S+', program.as_text())
    return {'resident': stepped(config, dataset, 1, 3)[0], 'streamed': losses, 'exchanged': exchanged}


def handed_in(dataset):
    """The dataset as if its training images did not fit in memory."""
    images = Rows(dataset.train.images, np.arange(len(dataset.train.labels)))
    return dataset._replace(train=dataset.train._replace(images=images))


def together(folder):
    """Three seeds as a population on three of eight devices, of images that lie there and not; and each by itself."""
    configs = [experiment(**{'model.mixer': 'identity', 'seed': seed}) for seed in range(3)]
    dataset, answer = data.load(configs[0].data), {}
    placement.devices = jax.devices
    ways = {'resident': dataset, 'streamed': handed_in(dataset)}
    for name, given in ways.items():
        members = [Member(config, folder / f'{name} {config.seed}', lambda *row: None) for config in configs]
        for member in members:
            member.folder.mkdir()
        answer[name] = [result['test']['loss'] for result in loop.train(members, given)]
    placement.devices = lambda: jax.devices()[:1]
    answer['alone'] = [run(config, folder / f'alone {config.seed}', 1)['test'] for config in configs]
    where = placement.of(3, 16, only=jax.devices())
    images, *_ = batches.make_feed(ways['streamed'].train, where)(np.arange(24, dtype=np.int32).reshape(3, 2, 4))
    held = {shard.device.id: shard.data.nbytes for shard in images.addressable_shards}
    return answer | {'bytes': images.nbytes, 'held': held}


def divided():
    """What devices send each other in programs of two members on two of them, and their FLOPs to those of one member.

    With convolutions as an accelerator has them.
    """
    config = experiment(**MODELS['conv'])
    dataset = data.load(config.data)
    model, flops = models.build(config.model, dataset.spec), []
    shape, found = step.state_shapes(config, model), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolve, '_on_cpu', lambda there, elsewhere, **options: elsewhere)
        for size in (1, 2):
            where = placement.of_training(config, size, only=jax.devices()[:size])
            job = tracing.Job(config, dataset.spec, STEPS, where, 3, len(dataset.train.labels))
            traced = tracing.trace_training(job, model, shape)
            flops.append(train_step_flops(traced, looped=True))
        placement.devices = lambda: jax.devices()[:2]
        evaluation = evaluate.compile_evaluation(config, dataset.spec, model, shape.params, 2)
        for name, program in (('training', traced.lower().compile()), ('evaluation', evaluation)):
            assert 'convolution' in program.as_text()
            found[name] = re.findall(r'(?:all-|collective-|reduce-scatter)\S+', program.as_text())
    return found | {'flops': flops}


def differing(states, folder):
    """The names of leaves that came back changed, by where they were saved and where they went."""
    wrong = []
    for saved, state in states.items():
        with contextlib.closing(checkpoints.Checkpoints(folder / str(saved), keep=1)) as saver:
            saver.save(STEPS, state, Progress(compile_seconds=0.0).validated(STEPS, {'accuracy': 0.5, 'loss': 1.0}))
        back, _ = checkpoints.read(folder / str(saved), STEPS, state)
        for there in COUNTS:
            placed = jax.device_put(back, placement.of(1, 16, only=jax.devices()[:there]).members)
            leaves = jax.tree_util.tree_leaves_with_path(state)
            for (path, leaf), other in zip(leaves, jax.tree.leaves(placed), strict=True):
                copies = [np.asarray(shard.data) for shard in other.addressable_shards]
                same = all(copy.tobytes() == np.asarray(leaf).tobytes() for copy in copies)
                if not same or len(copies) != there or leaf.dtype != other.dtype:
                    wrong.append(f'{saved} to {there}: {jax.tree_util.keystr(path)}')
    return wrong


class Interrupted(Exception):
    pass


def run(config, folder, count, until=None):
    """Trains on `count` devices; with `until`, it is cut off when it reports that step."""

    def report(row, steps):
        if until is not None and row['step'] >= until:
            raise Interrupted

    placement.devices = lambda: jax.devices()[:count]
    folder.mkdir(exist_ok=True)
    (result,) = loop.train([Member(config, folder, report)], data.load(config.data))
    rows = read_rows(folder / 'metrics.jsonl')
    kept = ('step', 'train_loss', 'validation_loss')
    rows = [{name: row[name] for name in kept if name in row} for row in rows]
    return {'rows': rows, 'test': result['test']['loss']}


def moved(folder):
    """A run on one device, and one that was cut off on two and went on elsewhere."""
    config = experiment(**MODELS['attention'])
    answer = {'1': run(config, folder / 'whole', 1)}
    try:
        run(config, folder / 'cut', 2, until=5)
    except Interrupted:
        answer['left'] = checkpoints.latest_step(folder / 'cut')
    shutil.copytree(folder / 'cut', folder / 'again')
    return answer | {'2 to 8': run(config, folder / 'cut', 8), '2 to 1': run(config, folder / 'again', 1)}


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        losses, states = of_models()
        answer = {
            'models': losses,
            'changed': differing(states, folder),
            'streamed': streamed(),
            'together': together(folder),
            'divided': divided(),
            'moved': moved(folder),
        }
    json.dump(answer, sys.stdout)


if __name__ == '__main__':
    main()
