"""One way to take back what was asked: whoever waits sets it, whoever works looks at it before the next step.

wanted = Cancellation()
with wanted.scope():
    engine.generate(prompts)  # raises Cancelled within one step of `wanted.cancel()` on another thread
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Cancelled(BaseException):
    """Raised where work goes on that nobody wants any more. No error: it passes every `except Exception`."""


class Cancellation:
    """Whether a piece of work is still wanted. It is cancelled itself, or with the `parent` it is a part of."""

    def __init__(self, parent: Cancellation | None = None) -> None:
        self._parent = parent
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the work any more."""
        return self._cancelled or (self._parent is not None and self._parent.cancelled)

    def cancel(self) -> None:
        """Take the work back, for good. Any thread may."""
        self._cancelled = True

    def check(self) -> None:
        """Raise `Cancelled` where nobody wants the work any more."""
        if self.cancelled:
            raise Cancelled

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What this thread asks of an engine inside is part of this: cancelled with it, and not begun afterwards."""
        outer = _current.set(self)
        try:
            yield
        finally:
            _current.reset(outer)


_current: ContextVar[Cancellation] = ContextVar("cancellation")


def current() -> Cancellation:
    """The innermost scope that this thread is in; outside of all one that nobody cancels."""
    return _current.get(None) or Cancellation()
