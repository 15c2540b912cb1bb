"""The compiled programs of a run, or of a population of runs, shared by all that compile to the same ones."""

import copy
import functools
import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

import models
from data.spec import Dataset, Spec
from models import Model, Params
from models.accounting import Opaque, count_params, forward_flops, peak_memory_bytes, train_step_flops
from models.fused import fallback
from models.matching import matched
from training import placement, population
from training import step as steps
from training.batches import fed_examples, on_device
from training.numerics import first_bad_operation
from training.optimiser import Rates, relative_learning_rate
from training.placement import Placement
from training.program_cache import CacheCounts, counts
from training.strategy import longest_dispatch, parts_of_a_batch, steps_per_dispatch
from training.xla_options import compiled


class Programs(NamedTuple):
    """What the loop calls; each takes and returns what `size` members have, stacked when they are several."""

    initial_state: Callable[[jax.Array], steps.State]
    train_steps: Callable[..., steps.State]  # compiled; it donates the state
    dispatch: int  # steps that one call of it takes, at most
    evaluation_step: Callable[..., steps.Evaluation]  # compiled
    where: Placement  # of the arguments of the training steps
    learning_rates: Float[np.ndarray, 'steps']  # of every step, relative; on the host, since the log reads it
    params: int  # of a member, as are the next two
    forward_flops: int  # per image
    train_step_flops: int  # of a batch, forward and backward
    accumulate: int  # parts of a batch that are differentiated by themselves
    kernel_fallback: str  # why attention's kernel is not the one asked for; '': it is
    peak_memory_bytes: int  # of a training step of all members, on each device
    name: str  # what they follow from, as text
    cache: CacheCounts  # of them, found in the cache or compiled when they were made
    made_at: float  # time.perf_counter() when that began
    made_by: int  # threading.get_ident() of the thread that did it


# Where runs may differ and still share their programs: these are arguments of them.
ARGUMENTS = ('learning_rate', 'weight_decay', 'label_smoothing')


def program_fields(config: ConfigDict) -> dict[str, Any]:
    """What decides which programs a run needs, beside its data, its steps and how many of them a dispatch takes."""
    fields = {name: config[name].to_dict() for name in ('data', 'model', 'train')}
    fields['deterministic'] = config.deterministic
    for name in ARGUMENTS:
        del fields['train'][name]
    return fields


def compile_programs(
    config: ConfigDict,
    dataset: Dataset,
    total_steps: int,
    size: int = 1,
    only: Sequence[jax.Device] | None = None,
) -> Programs:
    """Compiles ahead of time, or finds what was compiled in this process before, for `size` runs like `config`.

    Args:
      only: the devices to train on; None: all among which the work divides (training.placement).
    """
    fields = json.dumps(program_fields(config), sort_keys=True)
    longest = longest_dispatch(config, total_steps)
    resident = len(dataset.train.labels) if on_device(dataset.train) else None
    where = placement.of_training(config, size, resident=resident is not None, only=only)
    with _finding:  # two threads at once would each make a slot
        slot = _slot(fields, dataset.spec, total_steps, longest, resident, where)
    with slot.lock:  # whoever comes while another thread compiles the same waits for it
        if slot.programs is None:
            slot.programs = _compile(fields, dataset.spec, total_steps, longest, resident, where)
        return slot.programs


class _Slot:
    """Where the programs of one configuration are kept."""

    def __init__(self) -> None:
        self.lock, self.programs = threading.Lock(), None


_finding = threading.Lock()


@functools.lru_cache(maxsize=8)
def _slot(*which: Any) -> _Slot:
    return _Slot()


def _compile(
    fields: str, spec: Spec, total_steps: int, longest: int, resident: int | None, where: Placement
) -> Programs:
    """`longest`: training.strategy's; `resident`: images that live on the device; None: a dispatch brings its own."""
    made_at, mark = time.perf_counter(), counts()
    config = _without_arguments(fields)
    model = _build(config, spec)
    plain = _plain(config)
    counted = model if plain == config else _build(plain, spec)
    flops = forward_flops(counted, spec)
    a_step = 3 * flops * config.train.batch_size  # nearly; it cannot be counted before the parts are chosen
    config.train.accumulate = parts_of_a_batch(config, where, a_step, total_steps)
    dispatch = steps_per_dispatch(config, longest, a_step)
    images = fed_examples(resident, dispatch * where.size * config.train.batch_size)
    state = steps.state_shapes(config, model)
    traced = _trace(config, spec, model, total_steps, dispatch, images, where, state)
    train_steps = compiled(traced.lower(), config)
    return Programs(
        initial_state=compile_drawing(functools.partial(steps.initial_state, config, model), where),
        train_steps=train_steps,
        dispatch=dispatch,
        evaluation_step=compile_evaluation(config, spec, model, state.params, where.size),
        where=where,
        learning_rates=_learning_rates(config, total_steps),
        params=count_params(state.params),
        forward_flops=flops,
        train_step_flops=_flops_of_a_step(dispatch, traced, config, spec, total_steps, where, state, counted),
        accumulate=config.train.accumulate,
        kernel_fallback=fallback(matched(config.model, spec), spec.image_shape, _dtype(config)),
        peak_memory_bytes=peak_memory_bytes(train_steps),
        name=f'{spec} {total_steps} {where.size} on {len(where.devices)} {dispatch} of {images} {fields}',
        cache=counts().since(mark),
        made_at=made_at,
        made_by=threading.get_ident(),
    )


def _learning_rates(config: ConfigDict, total_steps: int) -> np.ndarray:
    """Of every step, relative to `train.learning_rate`; by one program, not one for each operation of the schedule."""
    return np.asarray(jax.jit(jax.vmap(relative_learning_rate(config.train, total_steps)))(np.arange(total_steps)))


def _without_arguments(fields: str) -> ConfigDict:
    config = ConfigDict(json.loads(fields))
    for name in ARGUMENTS:
        config.train[name] = 0.0  # an argument of the program: this value is never read
    return config


def _build(config: ConfigDict, spec: Spec) -> Model:
    return models.build(config.model, spec, _dtype(config))


def _dtype(config: ConfigDict) -> np.dtype:
    return np.dtype(config.train.compute_dtype)


def compile_drawing(
    initial_state: Callable[[jax.Array], steps.State], where: Placement
) -> Callable[[jax.Array], steps.State]:
    """What draws the initial state of members from their keys, one after the other.

    Not as a batch: on a CPU jaxlib shares a batch of QR factorisations out among the threads that compute them, and two
    such batches (orthogonal kernels of two GRUs) wait for each other's threads for ever.
    """
    keys = jax.eval_shape(lambda: population.together([jax.random.key(0)] * where.size))
    one_by_one = initial_state if where.size == 1 else functools.partial(jax.lax.map, initial_state)
    draw = jax.jit(one_by_one).lower(keys).compile()
    return lambda keys: jax.device_put(draw(keys), where.members)


def _trace(
    config: ConfigDict,
    spec: Spec,
    model: Model,
    total_steps: int,
    dispatch: int,
    images: int,
    where: Placement,
    state: steps.State,
) -> jax.stages.Traced:
    """The training program of `where.size` members and up to `dispatch` steps, which is handed `images` images."""
    images_and_labels = population.abstract(_batch(spec, images), where.images)
    key = jax.eval_shape(lambda: jax.random.key(0))
    rates = jax.eval_shape(lambda: Rates.of(config.train))
    rows = jax.ShapeDtypeStruct((dispatch, config.train.batch_size), np.int32)
    train_steps = steps.make_train_steps(config, _sharing(model, where), total_steps)
    train_steps = population.vectorised(train_steps, where.size, [0, 0, 0, None, None, 0, None])
    state, key, rates = population.abstract((state, key, rates), where.members, where.size)
    rows = population.abstract(rows, where.rows, where.size)
    # Where the state comes out it goes in again, and donation needs it to.
    train_steps = jax.jit(train_steps, donate_argnums=0, out_shardings=where.members)
    return train_steps.trace(state, key, rates, *images_and_labels, rows, jax.ShapeDtypeStruct((), np.int32))


def _sharing(model: Model, where: Placement) -> Model:
    """`model` of images that devices share, if they do; said here, it holds for every part of a batch."""
    if where.batch is None:
        return model

    def apply(params, images, **options):
        return model.apply(params, jax.lax.with_sharding_constraint(images, where.batch), **options)

    return model._replace(apply=apply)


def _flops_of_a_step(
    dispatch: int,
    traced: jax.stages.Traced,
    config: ConfigDict,
    spec: Spec,
    total_steps: int,
    where: Placement,
    state: steps.State,
    counted: Model,
) -> int:
    """FLOPs that one member's step is worth: without what rematerialisation repeats, and through closed kernels.

    `traced` is the program of up to `dispatch` steps of `where.size` members; `counted` is the model of `_plain`.
    """
    if not config.model.remat:
        try:
            return train_step_flops(traced, looped=dispatch > 1) // where.size
        except Opaque:
            pass
    alone = placement.of_training(config)
    return train_step_flops(_trace(config, spec, counted, total_steps, 1, config.train.batch_size, alone, state))


def _plain(config: ConfigDict) -> ConfigDict:
    """The same computation without what hides FLOPs or repeats them."""
    plain = copy.deepcopy(config)
    plain.model.remat, plain.model.attention_kernel = False, 'xla'
    return plain


def find_bad_operation(config: ConfigDict, spec: Spec, total_steps: int, *arguments: Any) -> str | None:
    """training.numerics.first_bad_operation of a training program, whose `arguments` are one member's."""
    return first_bad_operation(steps.make_train_steps(config, _build(config, spec), total_steps), *arguments)


def compile_evaluation(
    config: ConfigDict, spec: Spec, model: Model, params: Params, size: int = 1
) -> Callable[..., steps.Evaluation]:
    """training.step.make_evaluation_step, compiled for batches of `train.eval_batch_size`.

    `params` are one member's, and may be abstract; the program takes those of `size` members.
    """
    batch = config.train.eval_batch_size
    where = placement.of(size, batch)
    images = *_batch(spec, batch), jax.ShapeDtypeStruct((batch,), bool)
    sums = steps.no_evaluation(spec.num_classes)
    step = population.vectorised(steps.make_evaluation_step(_sharing(model, where)), size, [0, 0, None, None, None])
    own, shared = population.abstract((params, sums), where.members, size), population.abstract(images, where.images)
    return compiled(jax.jit(step, out_shardings=where.members).lower(*own, *shared), config)


def _batch(spec: Spec, size: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    return jax.ShapeDtypeStruct((size, *spec.image_shape), np.uint8), jax.ShapeDtypeStruct((size,), np.int32)
