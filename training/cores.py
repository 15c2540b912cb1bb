"""A batch shared among a CPU's cores: a process for each computes the gradients of its share of every step.

XLA divides each operation among its threads, so that what one core writes another reads, and products too small to
divide leave all but one idle. A process that has a core to itself finds its share's arrays in that core's caches, and
waits for nobody within a step (benchmarks/NOTES.md has what that gains).

The process that trains keeps the state. It writes params and images into memory that all of them have, adds up the
gradients that come back, in the order of the shares, and takes the step; the others know nothing of a run, and have
nothing to save.
"""

import contextlib
import ctypes
import functools
import json
import multiprocessing
import os
import signal
import traceback
import weakref
from collections.abc import Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, Int32, UInt8
from ml_collections import ConfigDict

from data.spec import Spec
from models.accounting import peak_memory_bytes
from training import interruption, program_cache
from training.allocator import keep_memory
from training.optimiser import Rates
from training.placement import cores_allowed
from training.step import State, Sums, build_model, make_gradients, make_update, state_shapes
from training.xla_options import compiled

READY, DONE, FAILED = 'ready', 'done', 'failed'  # what a process says first, after every step, and last


class Share(NamedTuple):
    """What one of the processes computes."""

    fields: str  # of the config, as JSON
    spec: Spec
    index: int
    shares: int


class Memory(NamedTuple):
    """What they have in common, as ctypes arrays of `multiprocessing`."""

    params: ctypes.Array
    gradients: list[ctypes.Array]  # of each share its own
    images: ctypes.Array
    labels: ctypes.Array

    @classmethod
    def of(cls, params: int, shares: int, batch: int, spec: Spec) -> 'Memory':
        """For so many params, and batches of so many images. No file is left of it, whatever ends the processes."""
        return cls(
            _shared(ctypes.c_float, params),
            [_shared(ctypes.c_float, params) for _ in range(shares)],
            _shared(ctypes.c_uint8, batch * int(np.prod(spec.image_shape))),
            _shared(ctypes.c_int32, batch),
        )

    def batch(self, spec: Spec) -> tuple[UInt8[np.ndarray, 'batch h w c'], Int32[np.ndarray, 'batch']]:
        """Images and labels, to be read or written."""
        return np.frombuffer(self.images, np.uint8).reshape(-1, *spec.image_shape), np.frombuffer(self.labels, np.int32)


def _shared(kind: type, size: int) -> ctypes.Array:
    return multiprocessing.get_context('spawn').RawArray(kind, size)


class Team:
    """The processes that share a run's batches. Inside `with` they are there; between runs they take no memory.

    Args:
      config: of an experiment; `train.accumulate` is the parts of a share, and its Rates are not read.
      shares: as many as there are processes; they divide `train.batch_size`.
    """

    def __init__(self, config: ConfigDict, spec: Spec, total_steps: int, shares: int):
        self.config, self.spec, self.total_steps, self.shares = config, spec, total_steps, shares
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []
        self._memory: Memory | None = None
        self._ready = False
        self._params: tuple[Any, Any] = (None, None)  # of the last step's state, and the same as one vector
        self.peak_memory_bytes = 0  # of all the processes' steps; known once they are ready

    def start(self) -> None:
        """Starts the processes, unless they run; they compile while this one does something else."""
        if self._processes:
            return
        cores, context = cores_allowed(), multiprocessing.get_context('spawn')  # a fork would copy JAX's threads
        params = sum(leaf.size for leaf in jax.tree.leaves(build_model(self.config, self.spec).shapes))
        self._memory = Memory.of(params, self.shares, self.config.train.batch_size, self.spec)
        resource_tracker.ensure_running()  # with the first process it would start too late: see experiment.workers
        with interruption.kept_from_children(signal.SIGINT):  # one that starts would print a traceback
            for index in range(self.shares):
                ours, theirs = context.Pipe()
                share = Share(self.config.to_json(), self.spec, index, self.shares)
                process = context.Process(
                    target=_serve, args=(share, cores[index :: self.shares], self._memory, theirs), daemon=True
                )
                process.start()
                theirs.close()  # so that its end is the pipe's
                self._processes.append(process)
                self._pipes.append(ours)
        # Whatever becomes of this object, and of this process: at its end, too, before Python waits for them.
        self._end = weakref.finalize(self, _end, self._processes, self._pipes)

    def wait(self) -> None:
        """Until all have compiled their program."""
        if self._ready:
            return
        peaks, counts = zip(*(self._answer(index) for index in range(self.shares)), strict=True)
        self.peak_memory_bytes = sum(peaks)
        for counted in counts:
            program_cache.add(counted)
        self._ready = True

    def close(self) -> None:
        """Ends them at once: nothing is lost with them."""
        if self._processes:
            self._end()
        self._processes, self._pipes, self._memory, self._ready = [], [], None, False

    def __enter__(self) -> 'Team':
        self.start()
        self.wait()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @functools.cached_property
    def _update(self) -> jax.stages.Compiled:
        model = build_model(self.config, self.spec)
        update = make_update(self.config, model, self.total_steps)
        state, rates = state_shapes(self.config, model), jax.eval_shape(lambda: Rates.of(self.config.train))
        params = sum(leaf.size for leaf in jax.tree.leaves(state.params))

        def all_added(state, rates, gradients, losses, correct):
            unravel = ravel_pytree(state.params)[1]
            gradients = unravel(functools.reduce(jnp.add, gradients))
            batch = jnp.int32(self.config.train.batch_size)
            sums = Sums(functools.reduce(jnp.add, losses), sum(correct), batch, jnp.int32(0))
            state = update(state, rates, gradients, sums)
            return state, ravel_pytree(state.params)[0]

        each = [jax.ShapeDtypeStruct(shape, kind) for shape, kind in (((params,), 'f4'), ((), 'f4'), ((), 'i4'))]
        arguments = ([one] * self.shares for one in each)
        return compiled(jax.jit(all_added, donate_argnums=0).lower(state, rates, *arguments), self.config)

    def compile(self) -> int:
        """Compiles what this process does of a step; the bytes that all of it takes at most, here and in the others."""
        update = self._update
        self.wait()
        return peak_memory_bytes(update) + self.peak_memory_bytes

    def step(
        self,
        state: State,
        key: jax.Array,
        rates: Rates,
        images: Any,
        labels: Any,
        rows: Any,
        count: int | np.integer = 1,
    ) -> State:
        """What training.step.make_train_steps does, by all of them.

        Raises:
          MemoryError: one was refused memory, or was killed, as systems do for want of it.
          RuntimeError: one ended otherwise.
        """
        by_step, images, labels = np.ndim(labels) == np.ndim(rows), np.asarray(images), np.asarray(labels)
        for index in range(int(count)):
            batch = (images[index], labels[index]) if by_step else (images, labels)
            for array, shared in zip(batch, self._memory.batch(self.spec), strict=True):
                np.take(array, rows[index], axis=0, out=shared)
            state = self._one(state, key, rates)
        return state

    def _one(self, state: State, key: jax.Array, rates: Rates) -> State:
        """A step on the batch that is in the shared memory."""
        np.copyto(np.frombuffer(self._memory.params, np.float32), self._as_vector(state.params))
        told = int(state.step), np.asarray(jax.random.key_data(key)), tuple(map(np.float32, rates))
        for pipe in self._pipes:
            with contextlib.suppress(OSError):  # it has died, of which the pipe tells next
                pipe.send(told)
        losses, correct = zip(*(self._answer(index) for index in range(self.shares)), strict=True)
        gradients = [np.frombuffer(array, np.float32) for array in self._memory.gradients]
        state, vector = self._update(state, rates, gradients, list(losses), list(correct))
        self._params = state.params, np.asarray(vector)
        return state

    def _as_vector(self, params: Any) -> Float[np.ndarray, 'params']:
        """Of the last step they are there; a state that was drawn, or restored, has others."""
        known, vector = self._params
        return vector if params is known else np.asarray(ravel_pytree(params)[0])

    def _answer(self, index: int) -> Any:
        """What a process says next, after what it is."""
        try:
            said, *rest = self._pipes[index].recv()
        except (EOFError, OSError):
            self._processes[index].join(timeout=1)
            status = self._processes[index].exitcode
            told = f'the process of share {index + 1} of {self.shares} of a batch ended with status {status}'
            raise (MemoryError if status == -signal.SIGKILL else RuntimeError)(told) from None
        if said == FAILED:
            of_memory, told = rest
            raise (MemoryError if of_memory else RuntimeError)(told)
        return rest


def _end(processes: Sequence[BaseProcess], pipes: Sequence[Connection]) -> None:
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


def _serve(share: Share, cores: Sequence[int], memory: Memory, pipe: Connection) -> NoReturn:
    """Computes a share of each step's gradients whenever it is asked, until the pipe is closed."""
    _begin(cores)
    try:
        program = _compile(share)
        pipe.send((READY, peak_memory_bytes(program), program_cache.counts()))
        images, labels = memory.batch(share.spec)
        params = np.frombuffer(memory.params, np.float32)
        gradients = np.frombuffer(memory.gradients[share.index], np.float32)
        while True:
            step, key, rates = pipe.recv()
            found, loss, correct = program(params, np.int32(step), key, rates, images, labels, np.int32(share.index))
            np.copyto(gradients, found)
            pipe.send((DONE, np.asarray(loss), np.asarray(correct)))
    except (EOFError, OSError):
        os._exit(0)  # the run is over, or nobody is there any more
    except Exception as error:
        refused = isinstance(error, MemoryError) or str(error).startswith('RESOURCE_EXHAUSTED')
        with contextlib.suppress(OSError):
            pipe.send((FAILED, refused, str(error) if refused else traceback.format_exc()))
        os._exit(1)


def _begin(cores: Sequence[int]) -> None:
    """Before JAX starts its backend, which counts the cores."""
    for signum in interruption.SIGNALS:
        signal.signal(signum, signal.SIG_IGN)  # whoever trains hears of it, and saves after the step
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, cores)
    jax.config.update('jax_platforms', 'cpu')
    keep_memory()
    program_cache.use_cache()


def _compile(share: Share) -> jax.stages.Compiled:
    """program(params, step, key, rates, images, labels, index) -> gradients, loss, correct; trees as vectors."""
    config = ConfigDict(json.loads(share.fields))
    model = build_model(config, share.spec)
    gradients_of = make_gradients(config, model, share.shares)
    key_data = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))

    def computed(vector, step, key, rates, images, labels, index):
        unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), model.shapes))[1]
        key = jax.random.wrap_key_data(key)
        gradients, sums = gradients_of(unravel(vector), step, key, Rates(*rates), images, labels, index)
        return ravel_pytree(gradients)[0], sums.loss, sums.correct

    batch, params = config.train.batch_size, sum(leaf.size for leaf in jax.tree.leaves(model.shapes))
    number, count = (jax.ShapeDtypeStruct((), kind) for kind in ('f4', 'i4'))
    lowered = jax.jit(computed).lower(
        jax.ShapeDtypeStruct((params,), 'f4'),
        count,
        key_data,
        (number,) * len(Rates._fields),
        jax.ShapeDtypeStruct((batch, *share.spec.image_shape), 'u1'),
        jax.ShapeDtypeStruct((batch,), 'i4'),
        count,
    )
    return compiled(lowered, config)
