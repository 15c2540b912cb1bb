"""Images per second of the whole training step, against eager and compiled PyTorch with the same model.

  make bench
  python -m benchmarks.train_step [--sizes=vit64,resnet32] [--peers=.venv-bench/bin/python] [--json=FILE]
  python -m benchmarks.train_step --sizes=vit384 --batch=512 --dtype=bfloat16 --kernel=cudnn --peers=    # a GPU

Forward, backward, clipping and AdamW, without augmentation. Weights are copied across first, and the logits must agree,
and then the losses of some steps of the programs that are timed. The arms take turns, round by round, with the same
batch, number of threads and precision; a ratio is the median of the arms' times in the same round, with its quartiles.
PyTorch lives in an environment of its own, and so in a process of its own (benchmarks/peers.py), which sleeps while
patchwise is timed.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import flags
from ml_collections import ConfigDict

import benchmarks
from benchmarks import options, timing
from configs import base
from configs.errors import ConfigError
from data.spec import Dataset
from experiment import command, environment
from machine.cores import cores_allowed
from models import Params
from models.fused import fallback
from training.optimiser import Rates
from training.programs import Programs, compile_programs
from training.saving.checkpoints import leaves
from training.step import build_model
from training.strategy import can_share, equal_shares

SIZES = flags.DEFINE_list('sizes', None, 'Which sizes; left out: all.')
PEERS = flags.DEFINE_string(
    'peers', '.venv-bench/bin/python', 'Python with requirements/bench.txt, on a CPU; empty: no peers.'
)
KERNEL = flags.DEFINE_enum('kernel', 'xla', ['xla', 'cudnn'], "patchwise's model.attention_kernel.")
DTYPE = flags.DEFINE_enum('dtype', 'float32', ['float32', 'bfloat16'], 'What matrix products are computed in.')

OURS = 'patchwise'
USUAL_PEERS = {'eager': 'PyTorch, eager', 'compiled': 'PyTorch, compiled'}  # what most users would pick
# Data parallelism, as several GPUs have it, is next to never used among the cores of one CPU.
ARMS = USUAL_PEERS | {'processes': 'PyTorch, eager, a process a core'}
FEWEST = 5  # rounds
USUAL = 30.0  # seconds for the rounds of a size
TOLERANCE = 1e-4  # between logits, in float32
LOW_PRECISION_TOLERANCE = 0.1  # between either, in bfloat16
STEPS = 3  # whose losses are compared
LOSS_TOLERANCE = 1e-3  # between their means; AdamW's first steps go by the signs of gradients that may be next to zero
NOISE = 0.02  # added to every weight before outputs are compared: nothing is zero, or one, by its initialisation


class Size(NamedTuple):
    """A model, its images and its batch; the rest is configs/base.py's."""

    label: str
    side: int  # pixels
    channels: int
    batch: int
    fields: dict[str, Any]


def vit(dim: int, depth: int, heads: int, patch: int) -> dict[str, Any]:
    return {'model.embed_dim': dim, 'model.depth': depth, 'model.num_heads': heads, 'model.patch_size': patch}


CONVOLUTION = {'model.mixer': 'conv', 'model.positions.name': 'none'}
ALL_SIZES = {
    'vit64': Size('ViT, embed 64, depth 6, 4 heads, 49 tokens', 28, 1, 128, vit(64, 6, 4, 4)),
    'vit192': Size('ViT, embed 192, depth 6, 3 heads, 49 tokens', 28, 1, 128, vit(192, 6, 3, 4)),
    'vit384': Size('ViT-S/16, embed 384, depth 12, 6 heads, 196 tokens', 224, 3, 16, vit(384, 12, 6, 16)),
    'conv64': Size('convolution 3 x 3, embed 64, depth 6, 49 tokens', 28, 1, 128, vit(64, 6, 4, 4) | CONVOLUTION),
    'resnet28': Size('ResNet-18 with GroupNorm, 28 x 28', 28, 1, 32, {'model.name': 'resnet'}),
    'resnet32': Size('ResNet-18 with GroupNorm, 32 x 32', 32, 3, 32, {'model.name': 'resnet'}),
}


class Peer:
    """The process of benchmarks/peers.py."""

    def __init__(self, python: str):
        try:
            self._process = subprocess.Popen(
                [python, str(environment.ROOT / 'benchmarks' / 'peers.py')],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        except OSError as error:
            raise ConfigError(f'--peers={python}: {error.strerror}; `make bench` makes that environment') from error

    def ask(self, **question: Any) -> Any:
        """What it answers. Raises RuntimeError if it died; its own words are on the terminal."""
        with contextlib.suppress(BrokenPipeError):  # it has died, of which the empty answer tells next
            self._process.stdin.write(json.dumps(question) + '\n')
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f'benchmarks/peers.py ended with status {self._process.wait()}')
        return json.loads(answer)

    def __enter__(self) -> 'Peer':
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


def main() -> None:
    unknown = sorted(set(SIZES.value or ()) - set(ALL_SIZES))
    if unknown:
        raise ConfigError(f'--sizes={unknown[0]} is unknown; some of {", ".join(ALL_SIZES)} would do')
    options.make_folder_of_json()
    with Peer(_peers()) if _peers() else contextlib.nullcontext() as peer:
        machine, precision = benchmarks.machine(), DTYPE.value
        if peer:
            machine['versions'] |= {'torch': peer.ask(ask='versions')['torch']}
            precision = f'{peer.ask(ask="threads", threads=len(cores_allowed()))} threads, {precision}'
        print(f'{benchmarks.describe(machine)}\n- {precision}, attention by {KERNEL.value}\n')
        rows = []
        for name in SIZES.value or ALL_SIZES:
            size = ALL_SIZES[name]
            size = size._replace(
                batch=options.BATCH.value or size.batch, fields=size.fields | {'model.attention_kernel': KERNEL.value}
            )
            print(f'measuring {size.label} ...', file=sys.stderr, flush=True)
            rows.append(measure(size, peer, DTYPE.value, seconds=options.seconds(USUAL), fewest=FEWEST))
            rows[-1]['size'] = name
            print(to_markdown(rows[-1:]), file=sys.stderr, flush=True)
    print(to_markdown(rows))
    options.write(list(to_records(rows)))


def _peers() -> str:
    """The peers' Python; '' where there are none, as on an accelerator: theirs computes on the CPU alone."""
    if jax.default_backend() == 'cpu':
        return PEERS.value
    if PEERS.present and PEERS.value:
        raise ConfigError(
            f'--peers={PEERS.value}: they compute on the CPU, and patchwise on the {jax.default_backend()}; '
            'JAX_PLATFORMS=cpu, or --peers=, would do'
        )
    return ''


def measure(
    size: Size, peer: Peer | None, dtype: str, *, seconds: float, fewest: int, arms: Sequence[str] = tuple(ARMS)
) -> dict[str, Any]:
    """A row: of each arm images/s; and, where there is a peer, how many times as fast as each patchwise is.

    Args:
      arms: those of the peer; its processes are left out where the cores cannot share the batch equally.
    Raises:
      RuntimeError: patchwise and the peer do not compute the same.
    """
    config, dataset = experiment(size, dtype)
    program, params = compiled(config, dataset), weights(config, dataset)
    arms = [name for name in arms if name != 'processes' or _processes(size.batch) > 1]
    row = {'label': size.label, 'batch': size.batch}
    if peer is not None:
        row['difference'] = build_peer(config, dataset, params, peer, arms)
        _refuse(size, 'logits', row['difference'], TOLERANCE, dtype)
    with program.team:
        step, loss = runner(program, config, dataset, params)
        programs = {OURS: step}
        if peer is not None:
            programs |= {name: lambda name=name: peer.ask(ask='step', arm=name) for name in arms}
            row['losses'] = _losses_apart(programs, loss)
            _refuse(size, 'losses', max(row['losses'].values()), LOSS_TOLERANCE, dtype)
        times = timing.time_in_turns(programs, seconds=seconds, fewest=fewest)
    row['rounds'] = len(times[OURS])
    row['images_per_second'] = {name: 1e3 * size.batch / float(np.median(taken)) for name, taken in times.items()}
    if peer is not None:
        row['ratios'] = {name: timing.ratio(times[name], times[OURS])._asdict() for name in arms}
        # Of each round, against whichever of them was faster in it.
        usual = [times[name] for name in arms if name in USUAL_PEERS]
        row['best'] = timing.ratio(np.min(usual, axis=0), times[OURS])._asdict()
    return row


def _losses_apart(programs: Mapping[str, Callable[[], Any]], loss: Callable[[], float]) -> dict[str, float]:
    """How far the mean loss of the first steps of each of the peer's programs is from ours, as a share of that."""
    for _ in range(STEPS):
        programs[OURS]()
    ours, theirs = loss(), {name: program for name, program in programs.items() if name != OURS}
    means = {name: float(np.mean([program() for _ in range(STEPS)])) for name, program in theirs.items()}
    return {name: abs(mean - ours) / ours for name, mean in means.items()}


def _processes(batch: int) -> int:
    """As many as the peer can have that share a batch equally, with equally many cores each; 1: none."""
    return equal_shares(len(cores_allowed()), batch) if can_share() else 1


def _refuse(size: Size, what: str, difference: float, tolerance: float, dtype: str) -> None:
    """Raises RuntimeError where a difference is more than `tolerance`, or than bfloat16 makes: it has 8 bits, and
    products in another order differ in the last of them."""
    if not difference <= (tolerance if dtype == 'float32' else LOW_PRECISION_TOLERANCE):
        raise RuntimeError(f'{size.label}: {what} of patchwise and PyTorch differ by {difference}')


def experiment(size: Size, dtype: str) -> tuple[ConfigDict, Dataset]:
    """The config, and random images for it."""
    config = base.get_config()
    config.train.batch_size, config.train.compute_dtype = size.batch, dtype
    config.train.steps_per_dispatch, config.train.warmup = 1, 0.0  # the peers' learning rate is one number
    config.update_from_flattened_dict(size.fields)
    return config, benchmarks.random_dataset((size.side, size.side, size.channels), size.batch)


def compiled(config: ConfigDict, dataset: Dataset) -> Programs:
    """The programs of a long run. Raises ConfigError: attention's kernel cannot compute its attention."""
    reason = fallback(config.model, dataset.spec.image_shape, np.dtype(config.train.compute_dtype))
    if reason:
        raise ConfigError(f'--kernel={config.model.attention_kernel}: {reason}; --kernel=xla would do')
    return compile_programs(config, dataset, 10_000, only=jax.devices()[:1])  # as many as the peer has


def weights(config: ConfigDict, dataset: Dataset) -> Params:
    """What all arms start from."""
    return jiggled(build_model(config, dataset.spec).init(jax.random.key(0)))


def runner(
    program: Programs, config: ConfigDict, dataset: Dataset, params: Params
) -> tuple[Callable[[], Any], Callable[[], float]]:
    """A training step, each call from where the last one ended, and the mean loss of all steps until then."""
    key = jax.random.key(0)
    state, rates = program.initial_state(key), Rates.of(config.train)
    state = state._replace(params=jax.tree.map(jnp.copy, params))  # a step takes its state's memory
    images, labels = jax.device_put(tuple(dataset.train))
    rows = np.arange(config.train.batch_size, dtype=np.int32)[None]

    def step() -> Any:
        nonlocal state
        state = program.train_steps(state, key, rates, images, labels, rows, np.int32(1))
        return state.step

    return step, lambda: float(state.sums.loss / state.sums.examples)


def build_peer(config: ConfigDict, dataset: Dataset, params: Params, peer: Peer, arms: Sequence[str]) -> float:
    """Makes the peer's arms from patchwise's weights; returns the largest difference between their logits."""
    model = build_model(config, dataset.spec)
    ours = jax.jit(lambda params, images: model.apply(params, images).logits)(params, dataset.train.images)
    case = {
        'model': {
            name: value['name'] if name == 'positions' else value for name, value in config.model.to_dict().items()
        },
        'image_shape': dataset.spec.image_shape,
        'classes': dataset.spec.num_classes,
        'dtype': config.train.compute_dtype,
        'recipe': {
            name: config.train[name] for name in ('learning_rate', 'weight_decay', 'label_smoothing', 'clip_norm')
        },
    }
    with tempfile.TemporaryDirectory() as scratch:
        arrays, logits = Path(scratch) / 'arrays.npz', Path(scratch) / 'logits.npy'
        named = {f'params.{name}': np.asarray(leaf) for name, leaf in leaves(params).items()}
        np.savez(arrays, images=dataset.train.images, labels=dataset.train.labels, **named)
        processes = _processes(config.train.batch_size)
        peer.ask(ask='build', case=case, arms=list(arms), arrays=str(arrays), logits=str(logits), processes=processes)
        return float(np.max(np.abs(np.load(logits, allow_pickle=False) - np.asarray(ours))))


def jiggled(params: Params) -> Params:
    """`params` with noise on every one."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [leaf + NOISE * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, noisy)


def to_records(rows: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """One record a size and arm, with which later runs can be compared."""
    for row in rows:
        speeds = row['images_per_second']
        for arm, speed in speeds.items():
            # Of the peers' own arms, the ratio of the medians.
            peers = [speeds[name] for name in speeds if name in USUAL_PEERS]
            best = (row['best']['median'] if arm == OURS else speed / max(peers)) if peers else None
            yield {'size': row['size'], 'arm': arm, 'images_per_second': speed, 'ratio_to_best_peer': best}


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table."""

    table = pd.DataFrame(
        [
            {'model': row['label'], 'batch': row['batch'], 'rounds': row['rounds']}
            | {
                f'{name}, images/s': f'{row["images_per_second"][arm]:,.1f}'
                for arm, name in ({OURS: OURS} | ARMS).items()
                if arm in row['images_per_second']
            }
            | {f'patchwise / {arm}': timing.in_words(of) for arm, of in row.get('ratios', {}).items()}
            | ({'patchwise / faster': timing.in_words(row['best'])} if 'best' in row else {})
            | ({'logits differ by': f'{row["difference"]:.0e}'} if 'difference' in row else {})
            | ({'losses differ by': f'{max(row["losses"].values()):.0e}'} if 'losses' in row else {})
            for row in rows
        ]
    )
    return benchmarks.markdown(table, texts=1)


if __name__ == '__main__':
    command.run(main)
