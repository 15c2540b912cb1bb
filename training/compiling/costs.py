"""What training programs cost: params, FLOPs and memory."""

import copy
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from data.spec import Spec
from models import Model
from models.accounting import Opaque, train_step_flops
from training import placement
from training.compiling.tracing import Job, trace_training
from training.step import State, build_model


class Costs(NamedTuple):
    """Of one member, but for the memory."""

    params: int
    forward_flops: int  # per image
    train_step_flops: int  # of a batch, forward and backward
    peak_memory_bytes: int  # of a training step of all members, on each device


def countable(model: Model, config: ConfigDict, spec: Spec) -> Model:
    """`model`, or one that computes the same without what hides FLOPs or repeats them."""
    plain = copy.deepcopy(config)
    plain.model.remat, plain.model.attention_kernel = False, 'xla'
    return model if plain == config else build_model(plain, spec)


def flops_of_a_step(job: Job, traced: jax.stages.Traced, counted: Model, state: State) -> int:
    """FLOPs that one member's step is worth: without what rematerialisation repeats, and through closed kernels.

    Args:
      traced: the job's program.
      counted: its model, as `countable` has it.
      state: one member's; may be abstract.
    """
    if not job.config.model.remat:
        try:
            return train_step_flops(traced, looped=job.dispatch > 1) // job.where.size
        except Opaque:
            pass
    where = placement.of_training(job.config)
    alone = job._replace(where=where, dispatch=1, resident=None)
    return train_step_flops(trace_training(alone, counted, state))
