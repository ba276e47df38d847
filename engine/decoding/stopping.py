"""Stop strings in a stream: the text before one is shown, a possible beginning of one is held back.

The stop string that is complete first counts (of several that end together, the longest): so the text shown does not
depend on how it was cut into pieces.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Feed text as it becomes readable; get what may be shown. `hit` is True once a stop string has come."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(stop)
        self._held = ""
        self.hit = False

    def feed(self, text: str) -> str:
        """The text now certain to stand before any stop string."""
        if self.hit:
            return ""
        self._held += text
        found = [(at + len(s), at) for s in self._stop if (at := self._held.find(s)) >= 0]
        if found:
            self.hit = True
            _, start = min(found)
            shown, self._held = self._held[:start], ""
            return shown
        # The longest end of the text that begins a stop string must wait for what follows.
        wait = max(
            (
                n
                for s in self._stop
                for n in range(min(len(s) - 1, len(self._held)), 0, -1)
                if self._held.endswith(s[:n])
            ),
            default=0,
        )
        shown, self._held = self._held[: len(self._held) - wait], self._held[len(self._held) - wait :]
        return shown

    def flush(self) -> str:
        """What was held back, once no more text will come."""
        shown, self._held = self._held, ""
        return shown
