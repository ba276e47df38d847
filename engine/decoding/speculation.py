"""Guesses of the next tokens, and how many to check in a step: as many as are expected to pay, none while they lose.

Guesses come from the text itself (prompt lookup, Saxena 2023): summaries and answers repeat their prompt, and code and
lists repeat themselves, so what followed the last three, two or one tokens the time before is a free draft, as in
Transformers' `prompt_lookup_num_tokens`. Nothing here runs a model; `engine.serving.batch` does, and checks them.

A step of several rows costs more than a step of one, how much depends on machine, model and precision: so the cost is
measured as the engine runs, and the share of right guesses is counted for each request. Guesses never change what
is generated: a token is taken from the model's own numbers, and a guess only says which numbers are ready early.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.backends.base import MAX_ROWS

LONGEST = 3  # tokens that must match, tried from this many down to one

# Share of right guesses presumed of a new request, by tokens matched, with the weight of two guesses: about what
# summaries and answers show. Decay lets a request that starts to quote be believed, and one that stops be doubted.
PRESUMED = (0.25, 0.45, 0.65)
WEIGHT = 2.0
DECAY = 0.9

# After so many steps without a guess where one could be made, a short one is tried; twice as many after each failure.
PATIENCE = 16
MOST_PATIENCE = 256
PROBE = 2

PRESUMED_ROW = 0.25  # of a step's cost, for each row after the first, until it is measured
FORGET = 0.2  # weight of the newest measurement
OUTLIER = 2.0  # a step that took longer than this many times its mean was held up by something else


class Lookup:
    """An index of one sequence's n-grams; it grows with the sequence, so that a draft costs a few dict look-ups."""

    def __init__(self) -> None:
        self._follows: tuple[dict[tuple[int, ...], int], ...] = tuple({} for _ in range(LONGEST))
        self._indexed = 1  # every n-gram that ends before this place is known, with what follows it

    def draft(self, ids: Sequence[int], most: int) -> tuple[list[int], int]:
        """Up to `most` tokens that may follow `ids` (which only ever grows), and how many tokens matched (0: none).

        The longest match counts, of those the most recent. A draft that reaches the end of `ids` goes on with its own
        beginning: that is how a repetition goes on.
        """
        for end in range(self._indexed, len(ids)):
            for n in range(1, min(LONGEST, end) + 1):
                self._follows[n - 1][tuple(ids[end - n : end])] = end
        self._indexed = max(self._indexed, len(ids))
        for n in range(min(LONGEST, len(ids)), 0, -1):
            at = self._follows[n - 1].get(tuple(ids[-n:]))
            if at is not None:
                period = len(ids) - at
                return [ids[at + i % period] for i in range(most)], n
        return [], 0


class StepCosts:
    """Seconds a decode step takes, by its rows: a running mean, and an estimate for rows not seen yet."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def note(self, rows: int, seconds: float) -> None:
        """A step of so many rows took so many seconds."""
        known = self._seconds.get(rows)
        if known is None:
            self._seconds[rows] = seconds
        else:
            self._seconds[rows] = known + FORGET * (min(seconds, OUTLIER * known) - known)

    def __call__(self, rows: int) -> float:
        """Seconds of a step, or where nothing is measured yet a cost in no unit; only ratios mean something."""
        if rows in self._seconds:
            return self._seconds[rows]
        nearest = min(self._seconds, key=lambda known: (abs(known - rows), known), default=None)
        if nearest is None:
            return _presumed(rows)
        return self._seconds[nearest] * _presumed(rows) / _presumed(nearest)


def _presumed(rows: int) -> float:
    return 1 + PRESUMED_ROW * (rows - 1)


class Guesser:
    """One request's drafts, and the account of how they fared."""

    def __init__(self) -> None:
        self.lookup = Lookup()
        self.tested = self.right = 0  # guesses that were looked at, and those that were right
        self._tested = [WEIGHT] * LONGEST
        self._right = [WEIGHT * share for share in PRESUMED]
        self._matched = 0  # tokens matched by the draft now out
        self._idle = 0
        self._patience = PATIENCE

    def share(self, matched: int) -> float:
        """Share of right guesses expected after a match of so many tokens."""
        return self._right[matched - 1] / self._tested[matched - 1]

    def propose(self, ids: Sequence[int], most: int, rows: int, tokens: float, costs: StepCosts) -> list[int]:
        """A draft for the next step, as long as pays best; empty where none does.

        Parameters
        ----------
        ids : the text so far.
        most : longest draft allowed.
        rows : rows that the step has already, this request's own included.
        tokens : tokens that those are expected to bring.
        costs : what steps take.
        """
        draft, matched = self.lookup.draft(ids, most)
        if not draft:
            return []
        share = self.share(matched)
        best, best_speed = 0, tokens / costs(rows)
        gain = 0.0
        for count in range(1, len(draft) + 1):
            gain += share**count
            speed = (tokens + gain) / costs(rows + count)
            if speed > best_speed:
                best, best_speed = count, speed
        if not best:
            self._idle += 1
            if self._idle < self._patience:
                return []
            best = min(PROBE, len(draft))
        self._idle = 0
        self._matched = matched
        return draft[:best]

    def expected(self, drafted: int) -> float:
        """Right guesses expected of the draft now out."""
        share = self.share(self._matched) if drafted else 0.0
        return sum(share**count for count in range(1, drafted + 1))

    def forget(self) -> None:
        """The request has ended: let the index go, which is larger than the text by far."""
        self.lookup = Lookup()

    def note(self, drafted: int, right: int) -> None:
        """Count how a draft of so many tokens fared: so many were right before the first wrong one."""
        if not drafted:
            return
        at, looked_at = self._matched - 1, min(drafted, right + 1)
        self.tested += looked_at
        self.right += right
        self._tested[at] = DECAY * self._tested[at] + looked_at
        self._right[at] = DECAY * self._right[at] + right
        self._patience = PATIENCE if right else min(2 * self._patience, MOST_PATIENCE)


class Speculation:
    """Shares the rows of a step between the drafts of its requests. One an engine: costs are the engine's."""

    def __init__(self) -> None:
        self.costs = StepCosts()

    def plan(self, texts: Sequence[tuple[Guesser, Sequence[int], int]]) -> list[list[int]]:
        """A draft (perhaps empty) for each request of a step, given its guesser, ids and longest draft allowed."""
        rows, tokens = len(texts), float(len(texts))
        drafts: list[list[int]] = []
        for i, (guesser, ids, most) in enumerate(texts):
            fair = -(-(MAX_ROWS - rows) // (len(texts) - i))  # an even part of what is left, rounded up
            draft = guesser.propose(ids, min(most, fair), rows, tokens, self.costs) if min(most, fair) > 0 else []
            tokens += guesser.expected(len(draft))
            rows += len(draft)
            drafts.append(draft)
        return drafts
