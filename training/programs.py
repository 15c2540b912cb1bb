"""The compiled programs of a run, or of a population of runs, shared by all that compile to the same ones."""

import contextlib
import functools
import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from data.spec import Dataset, Spec
from models.accounting import count_params, forward_flops, peak_memory_bytes
from models.fused import fallback
from models.matching import matched
from training import placement, population
from training import step as steps
from training.batches import on_device
from training.compiling.costs import Costs, countable, flops_of_a_step
from training.compiling.program_cache import CacheCounts, counts
from training.compiling.tracing import Job, trace_training
from training.compiling.xla_options import compiled
from training.evaluate import compile_evaluation
from training.numerics import first_bad_operation
from training.optimiser import Rates, relative_learning_rate
from training.placement import Placement
from training.sharing.team import Team
from training.strategy import longest_dispatch, parts_of_a_share, shares_of_a_batch, steps_per_dispatch


class Made(NamedTuple):
    """How programs came to be."""

    name: str  # what they follow from, as text
    cache: CacheCounts  # of them, found in the cache or compiled
    at: float  # time.perf_counter() when that began
    by: int  # threading.get_ident() of the thread that did it


class Programs(NamedTuple):
    """What the loop calls. Of several members, what each has is stacked along a leading axis."""

    initial_state: Callable[[jax.Array], steps.State]
    train_steps: Callable[..., steps.State]  # compiled; it donates the state, and is to be called inside `team`
    team: contextlib.AbstractContextManager  # the processes that share a batch, if any do
    evaluation_step: Callable[..., steps.Evaluation]  # compiled
    where: Placement  # of the arguments of the training steps
    dispatch: int  # steps that one call of `train_steps` takes, at most
    shares: int  # of a batch, as many as there are processes that compute gradients
    accumulate: int  # parts of a share that are differentiated by themselves
    kernel_fallback: str  # why attention's kernel is not the one asked for; '': it is
    learning_rates: Float[np.ndarray, 'steps']  # of every step, relative; on the host, since the log reads it
    costs: Costs
    made: Made

    @property
    def division(self) -> dict[str, int]:
        """How many share a batch, in how many parts each, and beside how many runs: by it sums are rounded."""
        return {'shares': self.shares, 'accumulate': self.accumulate, 'runs': self.where.size}


MOST_KEPT = 16  # configurations whose programs a process keeps; a group that does not fit is halved, and needs more


def program_fields(config: ConfigDict) -> dict[str, Any]:
    """What decides which programs a run needs, beside its data, its steps and how many of them a dispatch takes."""
    fields = {name: config[name].to_dict() for name in ('data', 'model', 'train')}
    fields['deterministic'] = config.deterministic
    for name in Rates._fields:  # which are arguments of the programs
        del fields['train'][name]
    return fields


def compile_programs(
    config: ConfigDict,
    dataset: Dataset,
    total_steps: int,
    size: int = 1,
    only: Sequence[jax.Device] | None = None,
    processes: int = 1,
) -> Programs:
    """Compiles ahead of time, or finds what was compiled in this process before, for `size` runs like `config`.

    Args:
      only: the devices to train on; None: all among which the work divides (training.placement).
      processes: how many train on this machine at the same time, this one included.
    """
    wanted = _Wanted(
        fields=json.dumps(program_fields(config), sort_keys=True),
        spec=dataset.spec,
        total_steps=total_steps,
        longest=longest_dispatch(config, total_steps),
        resident=len(dataset.train.labels) if on_device(dataset.train) else None,
        where=placement.of_training(config, size, only=only),
        processes=processes,
    )
    with _finding:  # two threads at once would each make a slot
        slot = _slot(wanted)
    with slot.lock:  # whoever comes while another thread compiles the same waits for it
        if slot.programs is None:
            slot.programs = _compile(wanted)
        return slot.programs


class _Wanted(NamedTuple):
    """All that programs follow from; two runs of which it is equal share theirs."""

    fields: str  # `program_fields`, as JSON, which can be hashed
    spec: Spec
    total_steps: int
    longest: int  # steps of a dispatch, at most (training.strategy.longest_dispatch)
    resident: int | None  # training images, where they live on the device; None: a dispatch brings its own
    where: Placement
    processes: int


class _Slot:
    """Where the programs of one configuration are kept."""

    def __init__(self) -> None:
        self.lock, self.programs = threading.Lock(), None


_finding = threading.Lock()


@functools.lru_cache(maxsize=MOST_KEPT)
def _slot(wanted: _Wanted) -> _Slot:
    return _Slot()


def _compile(wanted: _Wanted) -> Programs:
    fields, spec, total_steps, longest, resident, where, processes = wanted
    began, mark = time.perf_counter(), counts()
    config = _without_arguments(fields)
    model = steps.build_model(config, spec)
    counted = countable(model, config, spec)
    flops = forward_flops(counted, spec)
    about = 3 * flops * config.train.batch_size  # of a step, which cannot be counted before the parts are chosen
    shares = shares_of_a_batch(config, where, about, total_steps, processes)
    config.train.accumulate = parts_of_a_share(config, where, spec.image_shape, about, total_steps, shares)
    team = Team(config, spec, model, total_steps, shares) if shares > 1 else None
    with contextlib.ExitStack() as unless_made:
        if team:
            unless_made.callback(team.close)
            team.start()  # they compile meanwhile
        batches = where.size * config.train.batch_size
        brought = 0 if resident is not None else batches * math.prod(spec.image_shape)
        dispatch = steps_per_dispatch(config, longest, about, brought)
        job, state = Job(config, spec, total_steps, where, dispatch, resident), steps.state_shapes(config, model)
        traced = trace_training(job, model, state)
        step_flops = flops_of_a_step(job, traced, counted, state)
        draw = compile_drawing(functools.partial(steps.initial_state, config, model), where)
        evaluation_step = compile_evaluation(config, spec, model, state.params, where.size)
        if team:
            train_steps, peak = team.step, team.compile()
        else:
            train_steps = compiled(traced.lower(), config)
            peak = peak_memory_bytes(train_steps)
        dtype = np.dtype(config.train.compute_dtype)
        name = f'{spec} {total_steps} {where.size} on {len(where.devices)} {dispatch} of {resident} {fields}'
        made = Programs(
            initial_state=draw,
            train_steps=train_steps,
            team=team or contextlib.nullcontext(),
            evaluation_step=evaluation_step,
            where=where,
            dispatch=dispatch,
            shares=shares,
            accumulate=config.train.accumulate,
            kernel_fallback=fallback(matched(config.model, spec), spec.image_shape, dtype),
            learning_rates=_learning_rates(config, total_steps),
            costs=Costs(count_params(state.params), flops, step_flops, peak),
            made=Made(name, counts().since(mark), began, threading.get_ident()),
        )
        unless_made.pop_all()
    return made


def _learning_rates(config: ConfigDict, total_steps: int) -> np.ndarray:
    """Of every step, relative to `train.learning_rate`; by one program, not one for each operation of the schedule."""
    return np.asarray(jax.jit(jax.vmap(relative_learning_rate(config.train, total_steps)))(np.arange(total_steps)))


def _without_arguments(fields: str) -> ConfigDict:
    config = ConfigDict(json.loads(fields))
    for name in Rates._fields:
        config.train[name] = 0.0  # an argument of the program: this value is never read
    return config


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


def find_bad_operation(config: ConfigDict, spec: Spec, total_steps: int, *arguments: Any) -> str | None:
    """training.numerics.first_bad_operation of a training program, whose `arguments` are one member's."""
    return first_bad_operation(steps.make_train_steps(config, steps.build_model(config, spec), total_steps), *arguments)
