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
    resident: int | None  # images that live on the device; None: a call brings those of its steps, to each member


def trace_training(job: Job, model: Model, state: step.State) -> jax.stages.Traced:
    """The training program of a job: training.step.make_train_steps of `model`, for all members.

    Args:
      state: one member's; may be abstract.
    """
    config, where = job.config, job.where
    key = jax.eval_shape(lambda: jax.random.key(0))
    rates = jax.eval_shape(lambda: Rates.of(config.train))
    shared_and_brought = where.batch is not None and job.resident is None
    train_steps = step.make_train_steps(config, sharing(model, where), job.total_steps, in_order=shared_and_brought)
    fed, axes = _fed(job)
    train_steps = population.vectorised(train_steps, where, [0, 0, 0, *axes, None])
    state, key, rates = population.abstract((state, key, rates), where.members, where.size)
    # Where the state comes out it goes in again, and donation needs it to.
    train_steps = jax.jit(train_steps, donate_argnums=0, out_shardings=where.members)
    return train_steps.trace(state, key, rates, *fed, jax.ShapeDtypeStruct((), np.int32))


def _fed(job: Job) -> tuple[tuple, tuple[int | None, int | None, int]]:
    """What training.batches.make_feed gives: abstract images, labels and rows; and where they have their members."""
    by_step, where = (job.dispatch, job.config.train.batch_size), job.where
    rows = population.abstract(jax.ShapeDtypeStruct(by_step, np.int32), where.rows, where.size)
    if job.resident is None:
        own = population.abstract(batch_shapes(job.spec, *by_step), where.rows, where.size)
        return (*own, rows), (0, 0, 0)
    return (*population.abstract(batch_shapes(job.spec, job.resident), where.images), rows), (None, None, 0)


def sharing(model: Model, where: Placement) -> Model:
    """`model` of images that devices share, if they do; said here, it holds for every part of a batch."""
    if where.batch is None:
        return model

    def apply(params, images, **options):
        return model.apply(params, jax.lax.with_sharding_constraint(images, where.batch), **options)

    return model._replace(apply=apply)


def batch_shapes(spec: Spec, *sizes: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """Of images and their labels, in an array of these sizes."""
    return jax.ShapeDtypeStruct((*sizes, *spec.image_shape), np.uint8), jax.ShapeDtypeStruct(sizes, np.int32)
