"""Makes a loaded backend fast: before it serves, or while it does, as soon as another process has compiled for it."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

from engine.backends.base import Backend
from engine.serving.prefill import Prefiller
from engine.serving.scheduler import Closed, Job, Scheduler

if TYPE_CHECKING:
    from engine.kernels.compilation import Compilation

log = logging.getLogger(__name__)


class Warming:
    """Warms one backend, once.

    Parameters
    ----------
    backend : is warmed, on the scheduler's thread.
    prefill : forgets what was read before: a prompt shall not get another answer for having been read early.
    scheduler : runs the backend.
    """

    def __init__(self, backend: Backend, prefill: Prefiller, scheduler: Scheduler) -> None:
        self._backend, self._prefill, self._scheduler = backend, prefill, scheduler
        self._compilation: Compilation | None = None
        self._thread: threading.Thread | None = None

    def now(self) -> None:
        """Warm it and return. Raises what the backend's `warm` does, or `Closed`."""
        self._scheduler.run(self._backend.warm())

    def begin(self) -> bool:
        """Whether it is warmed later, between two turns of the scheduler, because its operators have to be compiled
        first; where they are compiled already nothing is begun."""
        self._compilation = self._backend.begin()
        if self._compilation is None:
            return False
        self._thread = threading.Thread(target=self._follow, name="brisk-compile", daemon=True)
        self._thread.start()
        return True

    def wait(self) -> None:
        """Until it is warm, or was closed."""
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Give up what has not ended; the scheduler is closed already."""
        if self._compilation is not None:
            self._compilation.stop()
        self.wait()

    def _follow(self) -> None:
        assert self._compilation is not None
        try:
            self._compilation.wait()
            with contextlib.suppress(Closed):
                self._scheduler.run(self._change())
        finally:
            self._compilation.close()

    def _change(self) -> Job[None]:
        yield from self._backend.warm()
        self._prefill.forget()
        log.info("the operators are compiled")
