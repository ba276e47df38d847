"""From logits to one token: penalties, filters and the draw, in numpy for every backend.

The order is that of Transformers' `generate`: repetition penalty, n-grams, temperature, top-k, top-p, min-p, draw.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from engine.config import SamplingParams
from engine.errors import UserError
from engine.results import log_softmax

FEW = 128  # tokens that top-p is first looked for among
SLACK = 1e-3  # more than rounding can move a probability


@dataclass(frozen=True)
class Choice:
    """The token taken. Log-probabilities are the model's own, before any penalty or filter.

    Attributes
    ----------
    id : the token.
    logprob : natural logarithm of its probability; None where nothing was to be reported.
    top : (token id, log-probability) of the likeliest, best first.
    """

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class NonFiniteLogits(UserError):
    """The model's numbers broke down on this request."""


class Sampler:
    """One request's way of choosing tokens; holds its random state, so a seed gives the same text every time."""

    def __init__(self, params: SamplingParams, eos_ids: Iterable[int]) -> None:
        self.params = params
        self.seed = params.seed if params.seed is not None else secrets.randbits(31)
        self._rng = np.random.default_rng(self.seed)
        self._eos = np.fromiter(eos_ids, np.int64)
        self._ngrams = Ngrams(params.no_repeat_ngram_size)

    def __call__(self, logits: np.ndarray, seen: np.ndarray, made: int, best: int | None = None) -> Choice:
        """Choose from logits f32 [V].

        Parameters
        ----------
        logits : f32 [V].
        seen : the distinct token ids so far.
        made : how many tokens were made.
        best : what `likeliest` says of the logits, where it is known.

        Raises
        ------
        NonFiniteLogits : the logits hold NaN or infinity; a number must never be drawn from those.
        """
        p = self.params
        best = likeliest(logits) if best is None else best
        if best < 0:
            raise NonFiniteLogits(
                "The model produced numbers that are not finite: try precision fp32, or another model."
            )
        banned = self._ngrams.banned(len(logits))
        if made < p.min_tokens:
            banned = [*banned, *self._eos[self._eos < len(logits)].tolist()]  # a tokenizer may know more than the model
        if p.temperature == 0 and p.repetition_penalty == 1 and best not in banned:
            token = best
        else:
            changed = self._changed(logits, seen, banned)
            token = int(changed.argmax()) if p.temperature == 0 else self._draw(heated(changed, p.temperature))
        self._ngrams.add(token)
        if p.logprobs is None:
            return Choice(token)
        logprobs = log_softmax(logits)
        top: tuple[tuple[int, float], ...] = ()
        if p.logprobs:
            count = min(p.logprobs, len(logprobs))
            likely = np.argpartition(-logprobs, count - 1)[:count]
            likely = likely[np.lexsort((likely, -logprobs[likely]))]
            top = tuple((int(i), float(logprobs[i])) for i in likely)
        return Choice(token, float(logprobs[token]), top)

    def _changed(self, logits: np.ndarray, seen: np.ndarray, banned: list[int]) -> np.ndarray:
        """Logits with the penalty for what was seen and without what is banned; the same array where nothing is."""
        penalty = np.float32(self.params.repetition_penalty)
        if penalty == 1 and not banned:
            return logits
        logits = logits.copy()
        if penalty != 1:
            old = logits[seen]
            logits[seen] = np.where(old > 0, old / penalty, old * penalty)
        logits[banned] = -np.inf
        return logits

    def _draw(self, logits: np.ndarray) -> int:
        ids, probabilities = keep(logits, self.params)
        cumulative = probabilities.cumsum(dtype=np.float64)
        at = int(np.searchsorted(cumulative, self._rng.random() * cumulative[-1], side="right"))
        return int(ids[min(at, len(ids) - 1)])


def likeliest(logits: np.ndarray) -> int:
    """The first of the likeliest tokens of logits f32 [V]; -1 where not all of them are finite."""
    best = int(logits.argmax())  # NaN counts as the greatest
    return best if np.isfinite(logits[best]) and np.isfinite(logits.min()) else -1


class Ngrams:
    """The runs of `n` tokens written so far (0: none are kept), and the tokens that would repeat one."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._last: tuple[int, ...] = ()  # at most n - 1 tokens
        self._after: dict[tuple[int, ...], list[int]] = {}

    def banned(self, vocabulary: int) -> list[int]:
        """Tokens that would end a run which stands already; none where that is the whole vocabulary."""
        if not self.n:
            return []
        found = self._after.get(self._last, [])
        return found if len(found) < vocabulary else []

    def add(self, token: int) -> None:
        """Take the next token of the text."""
        if not self.n:
            return
        if len(self._last) == self.n - 1:
            known = self._after.setdefault(self._last, [])
            if token not in known:
                known.append(token)
        self._last = (*self._last, token)[-(self.n - 1) :] if self.n > 1 else ()


def heated(logits: np.ndarray, temperature: float) -> np.ndarray:
    """logits f32 [V] / temperature, shifted so that the largest is 0: however cold, none overflows."""
    with np.errstate(over="ignore"):  # to minus infinity: a probability of 0, as it is meant
        return (logits - logits.max()) / max(np.float32(temperature), np.finfo(np.float32).tiny)


def keep(logits: np.ndarray, params: SamplingParams) -> tuple[np.ndarray, np.ndarray]:
    """The token ids that top-k, top-p and min-p leave, most likely first, and their probabilities f32 (sum 1)."""
    if 0 < params.top_k < logits.shape[0]:
        kth = np.partition(logits, -params.top_k)[-params.top_k]
        ids = np.flatnonzero(logits >= kth)
    else:
        ids = np.flatnonzero(logits > -np.inf)
    values = logits[ids] - logits[ids].max()
    whole = np.exp(values).sum(dtype=np.float64)
    near = _near(values, whole, params)
    ids, values = ids[near], values[near]
    order = np.argsort(-values, kind="stable")
    ids, probabilities = ids[order], (np.exp(values[order]) / whole).astype(np.float32)
    if params.top_p < 1:
        before = probabilities.cumsum(dtype=np.float64) - probabilities
        count = int((before < params.top_p).sum())
        ids, probabilities = ids[:count], probabilities[:count]
    if params.min_p > 0:
        count = int((probabilities >= params.min_p * probabilities[0]).sum())
        ids, probabilities = ids[:count], probabilities[:count]
    return ids, probabilities / probabilities.sum()


def _near(values: np.ndarray, whole: float, params: SamplingParams) -> np.ndarray:
    """Places in `values` (logits less the largest, [N]) that hold all top-p and min-p can leave, and few more: sorting
    a whole vocabulary of 49,152 takes longer than the model's step. `whole` is the sum of exp(values)."""
    near = np.arange(len(values))
    if params.min_p > 0:
        near = np.flatnonzero(values >= np.log(params.min_p) - SLACK)
    count = FEW
    while params.top_p < 1 and count < len(near):
        kth = np.partition(values[near], -count)[-count]
        likely = near[values[near] >= kth]  # equal ones too: which of them is kept must not depend on the cut
        if np.exp(values[likely]).sum(dtype=np.float64) >= (params.top_p + SLACK) * whole:
            return likely
        count *= 8
    return near
