"""How many threads of a team walk a step: all of them on quiet cores, fewer where others hold some.

Threads that meet 150 times a token wait at each meeting for the one whose core is taken. Where that costs more than a
thread gives, one thread less is faster. Which is so depends on the model, the processor and on who else runs, so it is
tried: some steps one way, some the other, and the faster way is kept until the next trial. Nobody's numbers depend on
it, see `kernels.step`. On quiet cores all walk and nothing is tried.
"""

from __future__ import annotations

from dataclasses import dataclass

# A trial, and what it is compared with, take so many steps and seconds: several time slices of a scheduler.
STEPS = 8
SECONDS = 0.04
LOST = 0.1  # share of a step's time in which the caller had no core, or slept until another thread had one
FASTER = 0.93  # of the time before: a trial of fewer threads is kept where it takes less, one of more where it gains
SOONEST, LATEST = 0.25, 8.0  # seconds of steps between two trials: doubled after each that was in vain,
RARE = 25  # and so many times what it took at least


@dataclass
class _Window:
    """Steps that were timed together."""

    steps: int = 0
    seconds: float = 0.0
    busy: float = 0.0

    @property
    def whole(self) -> bool:
        return self.steps >= STEPS and self.seconds >= SECONDS


class Width:
    """How many threads walk the next step of a kind.

    Parameters
    ----------
    most : threads there are.
    adapts : False always takes all of them.

    Attributes
    ----------
    now : how many are to walk the next step, 1 to `most`.
    kept : how many do where nothing is tried.
    """

    def __init__(self, most: int, adapts: bool = True) -> None:
        self.kept = self.now = most
        self._most, self._adapts = most, adapts and most > 1
        self._window = _Window()
        self._before = 0.0  # seconds a step, of what a trial is compared with
        self._wait = SOONEST
        self._since = LATEST  # a first trial need not wait
        self._vain = 0  # trials in vain: the next tries something else

    def add(self, seconds: float, busy: float) -> None:
        """A step is done.

        Parameters
        ----------
        seconds : it took.
        busy : seconds of them in which the calling thread ran.
        """
        if not self._adapts:
            return
        window = self._window
        window.steps += 1
        window.seconds += seconds
        window.busy += busy
        if not window.whole:
            return
        pace, disturbed = window.seconds / window.steps, window.busy < (1 - LOST) * window.seconds
        self._since += window.seconds
        self._window = _Window()
        if self.now != self.kept:
            self._judge(pace, window.seconds)
        elif self._since >= self._wait:
            self._before = pace
            self._try(disturbed)

    def _judge(self, pace: float, seconds: float) -> None:
        """A trial is over."""
        if pace < self._before * (FASTER if self.now < self.kept else 1):
            self.kept, self._wait, self._vain = self.now, SOONEST, 0
        else:
            self.now = self.kept
            self._wait, self._vain = max(min(2 * self._wait, LATEST), RARE * seconds), self._vain + 1
        self._since = 0.0

    def _try(self, disturbed: bool) -> None:
        """Begin a trial, where there is a reason: fewer threads beside a disturbance, more where there are more."""
        kept, most = self.kept, self._most
        ways = [
            n for n in (kept - 1, most, kept // 2, kept + 1) if 0 < n <= most and (n > kept or (disturbed and n < kept))
        ]
        if ways:
            self.now = ways[self._vain % len(ways)]
        elif self._since >= LATEST:
            self._wait = SOONEST  # quiet for long: the next disturbance is a new one
