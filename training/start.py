"""How long a run takes to its first step, and how many of its programs came from the cache."""

import logging
import threading
import time

from training.compiling import program_cache
from training.compiling.program_cache import CacheCounts
from training.programs import Programs

logger = logging.getLogger(__name__)


class Start:
    """From here to a run's first step."""

    def __init__(self) -> None:
        self._clock, self._mark = time.perf_counter(), program_cache.counts()
        self.seconds: float | None = None  # to the first step; None: it was not taken yet
        self.cache: CacheCounts | None = None  # of the programs until then; None: no cache is in use

    def stepped(self, programs: Programs) -> None:
        """To be called after every dispatch of a step; the first counts.

        Where it was long in coming for programs that the cache should have had, a warning says why.
        """
        if self.seconds is not None:
            return
        self.seconds = time.perf_counter() - self._clock
        folder = program_cache.folder_in_use()
        if folder is None:
            return
        self.cache = program_cache.counts().since(self._mark)
        made = programs.made
        if made.by != threading.get_ident() or made.at < self._clock:
            # Made ahead, or for another run: nothing was waited for, and nothing was counted here.
            self.cache = CacheCounts(*map(sum, zip(self.cache, made.cache, strict=True)))
            return
        why = program_cache.slow_start(folder, made.name, self.seconds, self.cache)
        if why is not None:
            logger.warning(why)
