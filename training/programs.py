"""The compiled programs of a run, shared by all runs that compile to the same ones."""

import functools
import json
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

import models
from data.spec import Spec
from models import Model, Params
from models.accounting import count_params, forward_flops, peak_memory_bytes
from training import step as steps
from training.optimiser import build_optimiser, learning_rate_schedule


class Programs(NamedTuple):
    """What the loop calls. A run's seed enters as a key, so runs that differ in it alone share all of this."""

    initial_state: Callable[[jax.Array], steps.State]
    train_step: Callable[..., steps.State]  # compiled; donates the state
    evaluation_step: Callable[..., steps.Evaluation]  # compiled
    learning_rates: Float[np.ndarray, 'steps']  # of every step; on the host, since the log reads it
    params: int
    forward_flops: int  # per image
    peak_memory_bytes: int  # of a training step


def compile_programs(config: ConfigDict, spec: Spec, total_steps: int) -> Programs:
    """Compiles ahead of time, or finds what an earlier run of this process compiled for the same configuration."""
    fields = json.dumps({name: config[name].to_dict() for name in ('data', 'model', 'train')}, sort_keys=True)
    return _compile(fields, spec, total_steps)


@functools.lru_cache(maxsize=4)
def _compile(fields: str, spec: Spec, total_steps: int) -> Programs:
    config = ConfigDict(json.loads(fields))
    model = models.build(config.model, spec, np.dtype(config.train.compute_dtype))
    optimiser = build_optimiser(config.train, model, total_steps)
    key = jax.random.key(0)
    # The initial state itself is drawn operation by operation: compiled as one program it would take seconds for
    # something done once, and most of its pieces are shared between models.
    initial_state = functools.partial(steps.initial_state, model, optimiser)
    state = jax.eval_shape(initial_state, key)
    train_step = jax.jit(steps.make_train_step(config, model, optimiser), donate_argnums=0)
    train_step = train_step.lower(state, key, *_batch(spec, config.train.batch_size)).compile()
    return Programs(
        initial_state,
        train_step,
        compile_evaluation(config, spec, model, state.params),
        np.asarray(jax.vmap(learning_rate_schedule(config.train, total_steps))(np.arange(total_steps))),
        count_params(state.params),
        forward_flops(model, spec),
        peak_memory_bytes(train_step),
    )


def compile_evaluation(config: ConfigDict, spec: Spec, model: Model, params: Params) -> Callable[..., steps.Evaluation]:
    """training.step.make_evaluation_step, compiled for batches of `train.eval_batch_size`; `params` may be abstract."""
    size = config.train.eval_batch_size
    step = jax.jit(steps.make_evaluation_step(model))
    mask = jax.ShapeDtypeStruct((size,), bool)
    return step.lower(params, steps.no_evaluation(spec.num_classes), *_batch(spec, size), mask).compile()


def _batch(spec: Spec, size: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    return jax.ShapeDtypeStruct((size, *spec.image_shape), np.uint8), jax.ShapeDtypeStruct((size,), np.int32)
