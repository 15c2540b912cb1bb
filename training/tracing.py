"""Programs before XLA compiles them: for abstract arguments, each in its place."""

from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from data.spec import Spec
from models import Model
from training import population, step
from training.optimiser import Rates
from training.placement import Placement


class Job(NamedTuple):
    """What a training program is for."""

    config: ConfigDict  # of an experiment; its Rates are arguments of the program, and not read
    spec: Spec
    total_steps: int
    where: Placement  # of its members
    dispatch: int  # steps that a call takes, at most
    images: int  # that it is handed


def trace_training(job: Job, model: Model, state: step.State) -> jax.stages.Traced:
    """The training program of a job: training.step.make_train_steps of `model`, for all members.

    Args:
      state: one member's; may be abstract.
    """
    config, where = job.config, job.where
    images_and_labels = population.abstract(batch_shapes(job.spec, job.images), where.images)
    key = jax.eval_shape(lambda: jax.random.key(0))
    rates = jax.eval_shape(lambda: Rates.of(config.train))
    rows = jax.ShapeDtypeStruct((job.dispatch, config.train.batch_size), np.int32)
    train_steps = step.make_train_steps(config, sharing(model, where), job.total_steps)
    train_steps = population.vectorised(train_steps, where.size, [0, 0, 0, None, None, 0, None])
    state, key, rates = population.abstract((state, key, rates), where.members, where.size)
    rows = population.abstract(rows, where.rows, where.size)
    # Where the state comes out it goes in again, and donation needs it to.
    train_steps = jax.jit(train_steps, donate_argnums=0, out_shardings=where.members)
    return train_steps.trace(state, key, rates, *images_and_labels, rows, jax.ShapeDtypeStruct((), np.int32))


def sharing(model: Model, where: Placement) -> Model:
    """`model` of images that devices share, if they do; said here, it holds for every part of a batch."""
    if where.batch is None:
        return model

    def apply(params, images, **options):
        return model.apply(params, jax.lax.with_sharding_constraint(images, where.batch), **options)

    return model._replace(apply=apply)


def batch_shapes(spec: Spec, size: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """Of `size` images and their labels."""
    return jax.ShapeDtypeStruct((size, *spec.image_shape), np.uint8), jax.ShapeDtypeStruct((size,), np.int32)
