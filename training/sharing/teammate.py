"""The program of a process that computes the gradients of its share of every batch, for training.sharing.team.Team."""

import contextlib
import json
import os
import traceback
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from ml_collections import ConfigDict

from data.spec import Spec
from machine.cores import keep_to
from models.accounting import peak_memory_bytes
from training.compiling import program_cache
from training.compiling.xla_options import compiled
from training.optimiser import Rates
from training.sharing.allocator import keep_memory, was_refused
from training.sharing.shared_memory import Memory
from training.step import build_model, make_gradients


class Assignment(NamedTuple):
    """What one of the processes computes, and how."""

    fields: str  # of the config, as JSON
    spec: Spec
    index: int
    shares: int
    cores: list[int]
    params: int  # how many
    settings: dict[str, Any]  # of JAX, by name
    cached: bool  # whether compiled programs are kept on disk


class Failed(NamedTuple):
    """The last word of a process."""

    of_memory: bool
    told: str


def serve(pipe: int, file: int) -> NoReturn:
    """The program of a process: computes its share of each step's gradients whenever it is asked, to the pipe's end.

    Args:
      pipe, file: descriptors; the first thing that comes through the pipe is an Assignment.
    """
    with contextlib.suppress(EOFError, OSError):  # the run is over, or nobody is there any more
        _serve(Connection(pipe), file)
    os._exit(0)


def _serve(pipe: Connection, file: int) -> None:
    assignment = pipe.recv()
    try:
        _begin(assignment)
        program, examples = _compile(assignment), json.loads(assignment.fields)['train']['batch_size']
        memory = Memory.of(file, assignment.params, assignment.shares, examples, assignment.spec)
        answer = peak_memory_bytes(program), program_cache.counts()
    except Exception as error:
        pipe.send(_failed(error))
        return
    while True:
        pipe.send(answer)
        step, key, rates = pipe.recv()
        batch = memory.images, memory.labels
        try:
            gradients, *sums = program(memory.params, np.int32(step), key, rates, *batch, np.int32(assignment.index))
            np.copyto(memory.gradients[assignment.index], gradients)
            answer = tuple(map(np.asarray, sums))
        except Exception as error:
            answer = _failed(error)


def _failed(error: Exception) -> Failed:
    refused = was_refused(error)
    return Failed(refused, str(error) if refused else traceback.format_exc())


def _begin(assignment: Assignment) -> None:
    """Sets this process up as its run is; before JAX starts its backend, which counts the cores."""
    keep_to(assignment.cores)
    jax.config.update('jax_platforms', 'cpu')
    for name, value in assignment.settings.items():
        jax.config.update(name, value)
    keep_memory()
    if assignment.cached:
        program_cache.use_cache()


def _compile(assignment: Assignment) -> jax.stages.Compiled:
    """program(params, step, key, rates, images, labels, index) -> gradients, loss, correct; trees as vectors."""
    config = ConfigDict(json.loads(assignment.fields))
    model = build_model(config, assignment.spec)
    gradients_of = make_gradients(config, model, assignment.shares)
    key_data = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))

    def computed(vector, step, key, rates, images, labels, index):
        unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), model.shapes))[1]
        key = jax.random.wrap_key_data(key)
        gradients, sums = gradients_of(unravel(vector), step, key, Rates(*rates), images, labels, index)
        return ravel_pytree(gradients)[0], sums.loss, sums.correct

    batch = config.train.batch_size
    number, count = (jax.ShapeDtypeStruct((), kind) for kind in ('f4', 'i4'))
    lowered = jax.jit(computed).lower(
        jax.ShapeDtypeStruct((assignment.params,), 'f4'),
        count,
        key_data,
        (number,) * len(Rates._fields),
        jax.ShapeDtypeStruct((batch, *assignment.spec.image_shape), 'u1'),
        jax.ShapeDtypeStruct((batch,), 'i4'),
        count,
    )
    return compiled(lowered, config)
