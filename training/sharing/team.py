"""A batch shared among a CPU's cores: a process for each computes the gradients of its share of every step.

XLA divides each operation among its threads, so that what one core writes another reads, and products too small to
divide leave all but one idle. A process that has a core to itself finds its share's arrays in that core's caches, and
waits for nobody within a step (benchmarks/NOTES.md has what that gains).

The process that trains keeps the state. It writes params and images into memory that all of them have, adds up the
gradients that come back, in the order of the shares, and takes the step; the others know nothing of a run, and have
nothing to save. They are programs of their own rather than of `multiprocessing`, which would run the user's script in
each anew, and wait for all of them at its end.
"""

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float
from ml_collections import ConfigDict

from data.spec import Spec
from machine.cores import core_shares, cores_allowed
from models import Model
from models.accounting import count_params, peak_memory_bytes
from training import interruption
from training.compiling import program_cache
from training.compiling.xla_options import compiled
from training.optimiser import Rates
from training.sharing.shared_memory import Memory
from training.sharing.teammate import Assignment, Failed
from training.step import State, Sums, make_update, state_shapes

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (
    'import json, sys; sys.path[:] = json.loads(sys.argv[1]); '
    'from training.sharing.teammate import serve; serve(*map(int, sys.argv[2:]))'
)
# What of JAX's configuration decides numbers, and may have been set otherwise than by the environment.
SETTINGS = ('jax_default_matmul_precision', 'jax_default_prng_impl', 'jax_threefry_partitionable')


class Team:
    """The processes that share a run's batches. Inside `with` they are there; between runs they take no memory.

    Args:
      config: of an experiment; `train.accumulate` is the parts of a share, and its Rates are not read.
      model: that of the experiment.
      shares: as many as there are processes; they divide `train.batch_size`.
    """

    def __init__(self, config: ConfigDict, spec: Spec, model: Model, total_steps: int, shares: int):
        self.config, self.spec, self.model, self.total_steps, self.shares = config, spec, model, total_steps, shares
        self._count = count_params(model.shapes)
        self._processes: list[subprocess.Popen] = []
        self._pipes: list[Connection] = []
        self._memory: Memory | None = None
        self._ready = False
        self._params: tuple[Any, Any] = (None, None)  # of the last step's state, and the same as one vector
        self._peaks = 0  # bytes of all the processes' steps; known once they are ready

    def start(self) -> None:
        """Starts the processes, unless they run; they compile while this one does something else."""
        if self._processes:
            return
        cached = program_cache.folder_in_use() is not None
        settings = {name: getattr(jax.config, name) for name in SETTINGS if hasattr(jax.config, name)}
        self._end = weakref.finalize(self, _end, self._processes, self._pipes)  # whatever becomes of this object
        file = os.memfd_create('shares')  # which ends with the last process that has it
        try:
            self._memory = Memory.of(file, self._count, self.shares, self.config.train.batch_size, self.spec)
            for index, cores in enumerate(core_shares(cores_allowed(), self.shares)):
                assignment = Assignment(
                    *(self.config.to_json(), self.spec, index, self.shares),
                    *(cores, self._count, settings, cached),
                )
                self._start_one(assignment, file)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(file)

    def _start_one(self, assignment: Assignment, file: int) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:  # theirs, so that its end is the pipe's
            # What this process imports from; for what is run from the current folder '' stands there.
            path = json.dumps([str(ROOT), *(str(Path(entry).absolute()) for entry in sys.path)])
            # Ctrl-C, and a scheduler's signal to all, are for whoever trains, who saves after the step.
            with interruption.blocked(interruption.SIGNALS):
                process = subprocess.Popen(
                    [sys.executable, '-P', '-c', PROGRAM, path, str(theirs.fileno()), str(file)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), file),
                    start_new_session=True,
                )
            self._processes.append(process)
            self._pipes.append(Connection(ours.detach()))
        with contextlib.suppress(OSError):  # it has died, of which the pipe tells next
            self._pipes[-1].send(assignment)

    def wait(self) -> None:
        """Waits until all processes have compiled their program."""
        if self._ready:
            return
        peaks, counts = zip(*(self._answer(index) for index in range(self.shares)), strict=True)
        self._peaks = sum(peaks)
        for counted in counts:
            program_cache.add(counted)
        self._ready = True

    def close(self) -> None:
        """Ends them at once: nothing is lost with them."""
        if self._processes:
            self._end()
        self._processes, self._pipes, self._memory, self._ready = [], [], None, False
        self._params = None, None

    def __enter__(self) -> 'Team':
        try:
            self.start()
            self.wait()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @functools.cached_property
    def _update(self) -> jax.stages.Compiled:
        update = make_update(self.config, self.model, self.total_steps)
        state, rates = state_shapes(self.config, self.model), jax.eval_shape(lambda: Rates.of(self.config.train))

        def all_added(state, rates, gradients, losses, correct):
            unravel = ravel_pytree(state.params)[1]
            gradients = unravel(functools.reduce(jnp.add, gradients))
            batch = jnp.int32(self.config.train.batch_size)
            sums = Sums(functools.reduce(jnp.add, losses), sum(correct), batch, jnp.int32(0))
            state = update(state, rates, gradients, sums)
            return state, ravel_pytree(state.params)[0]

        each = [jax.ShapeDtypeStruct(shape, kind) for shape, kind in (((self._count,), 'f4'), ((), 'f4'), ((), 'i4'))]
        arguments = ([one] * self.shares for one in each)
        return compiled(jax.jit(all_added, donate_argnums=0).lower(state, rates, *arguments), self.config)

    def compile(self) -> int:
        """Compiles what this process does of a step; the bytes that all of it takes at most, here and in the others."""
        update = self._update
        self.wait()
        return peak_memory_bytes(update) + self._peaks

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
            for array, shared in zip(batch, (self._memory.images, self._memory.labels), strict=True):
                np.take(array, rows[index], axis=0, out=shared, mode='clip')  # which, unlike others, makes no copy
            state = self._one(state, key, rates)
        return state

    def _one(self, state: State, key: jax.Array, rates: Rates) -> State:
        """A step on the batch that is in the shared memory."""
        np.copyto(self._memory.params, self._as_vector(state.params))
        told = int(state.step), np.asarray(jax.random.key_data(key)), tuple(map(np.float32, rates))
        for pipe in self._pipes:
            with contextlib.suppress(OSError):  # as above
                pipe.send(told)
        losses, correct = zip(*(self._answer(index) for index in range(self.shares)), strict=True)
        state, vector = self._update(state, rates, list(self._memory.gradients), list(losses), list(correct))
        self._params = state.params, np.asarray(vector)  # which waits until nothing reads the shared memory
        return state

    def _as_vector(self, params: Any) -> Float[np.ndarray, 'params']:
        """`params` as one vector: kept from the last step if they are its; those drawn or restored are made one."""
        known, vector = self._params
        return vector if params is known else np.asarray(ravel_pytree(params)[0])

    def _answer(self, index: int) -> Any:
        """What a process says next."""
        try:
            answer = self._pipes[index].recv()
        except (EOFError, OSError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._processes[index].wait(timeout=10)
            status = self._processes[index].returncode
            answer = Failed(
                status == -signal.SIGKILL,
                f'the process of share {index + 1} of {self.shares} of a batch ended with status {status}',
            )
        if isinstance(answer, Failed):
            raise (MemoryError if answer.of_memory else RuntimeError)(answer.told)
        return answer


def _end(processes: Sequence[subprocess.Popen], pipes: Sequence[Connection]) -> None:
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
