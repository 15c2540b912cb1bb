"""A trace of a few steady steps, for TensorBoard or Perfetto."""

import contextlib
import logging
import shlex
from pathlib import Path
from typing import Any

import jax

logger = logging.getLogger(__name__)

WARM_UP = 5  # dispatches before the trace: what happens once happens in them
TRACED = 10  # dispatches

FOLDER = 'profile'  # in a run's folder


class Profile(contextlib.AbstractContextManager):
    """Traces `TRACED` dispatches of a run after its first `WARM_UP`; of a shorter run, its last.

      with Profile(folder if wanted else None, last_step) as profile:
          ...
          profile.before(step, state)  # step: the last that this dispatch takes
          state = dispatch(state)
          profile.after(step, state)

    The trace is written when it is full, and else on leaving the block, also when something was raised there. What goes
    wrong with it is a warning: no training is lost for it.
    """

    def __init__(self, folder: Path | None, last_step: int):
        """Traces into `folder`/profile; None: not at all. `last_step` is that of the run."""
        self._folder = None if folder is None else folder / FOLDER
        self._last_step = last_step
        self._dispatches = 0
        self._began = None  # dispatches before the trace
        self._open = contextlib.ExitStack()  # what the end of the trace has to close
        self._annotation = contextlib.ExitStack()  # the mark of one dispatch in the trace

    def before(self, step: int, state: Any) -> None:
        """To be called before the dispatch whose last step is `step`; `state` is what it will be given."""
        if self._folder is None:
            return
        if self._began is None and (self._dispatches == WARM_UP or step >= self._last_step):
            # The device may be behind the host; what it still has to do is no part of these steps.
            jax.block_until_ready(state)
            self._began = self._dispatches
            self._start()
        self._dispatches += 1
        self._annotation.enter_context(jax.profiler.StepTraceAnnotation('dispatch', step_num=step))

    def after(self, step: int, state: Any) -> None:
        """To be called after the dispatch whose last step is `step`; `state` is what it returned."""
        self._annotation.close()
        if self._began is not None and (self._dispatches == self._began + TRACED or step >= self._last_step):
            jax.block_until_ready(state)
            self._open.close()

    def __exit__(self, *error: object) -> None:
        self._annotation.close()
        self._open.close()
        if self._folder is not None and self._began is None:
            logger.warning('there was no step to trace')

    def _start(self) -> None:
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # calls of Python functions would be most of the trace, and of its time
        try:
            # JAX would find out at the end only, and then take the trace for running until the process ends.
            self._folder.mkdir(parents=True, exist_ok=True)
            jax.profiler.start_trace(self._folder, create_perfetto_trace=True, profiler_options=options)
        except (RuntimeError, OSError) as error:
            logger.warning('no trace was begun: %s', error)
        else:
            self._open.callback(self._stop)

    def _stop(self) -> None:
        try:
            jax.profiler.stop_trace()
            newest = max(self._folder.glob('plugins/profile/*/perfetto_trace.json.gz'))  # folders are named by time
        except (RuntimeError, OSError, ValueError) as error:
            logger.warning('the trace was not written: %s', error)
        else:
            board = f'tensorboard --logdir={shlex.quote(str(self._folder))}'
            print(f'trace: {newest} opens at https://ui.perfetto.dev; with xprof, {board}')
