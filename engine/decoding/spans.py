"""The most likely run of given tokens after a prompt: beam search over the spans of a context.

Each hypothesis is a run of tokens that stands somewhere in `allowed`; it may grow by what follows it there, or end.
Its log-probability is the model's own, over the whole vocabulary, and includes ending there: so spans of all lengths
compare fairly, and a text the model would not say scores low even when it is the best of the allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass

import numpy as np

from engine.backends.base import JOB_SLOTS, Backend
from engine.results import Span, log_softmax


@dataclass(frozen=True)
class _Beam:
    """An answer begun: a run of allowed tokens, and the slot that holds the prompt and all of it but the last."""

    tokens: tuple[int, ...]
    starts: tuple[int, ...]  # every place in `allowed` where `tokens` stands
    logprob: float
    slot: int


def search(
    backend: Backend,
    slot: int,
    prompt_tokens: int,
    logits: np.ndarray,
    allowed: Sequence[int],
    ends: Collection[int],
    top_k: int,
    max_tokens: int,
) -> Generator[None, None, list[Span]]:
    """Search spans after a prompt. A job: it yields between decode steps.

    Parameters
    ----------
    backend : runs the branches.
    slot : where the prompt's keys and values are; those after it hold the branches, JOB_SLOTS - 1 beams at most.
    prompt_tokens : tokens of the prompt.
    logits : f32 [V] after the prompt.
    allowed : token ids of the text that spans are runs of.
    ends : tokens any of which ends an answer.
    top_k : most spans to give.
    max_tokens : longest span.

    Returns
    -------
    Spans, best first.
    """
    stop = np.fromiter(ends, np.int64)
    branches = list(range(slot + 1, slot + JOB_SLOTS))
    places: dict[int, list[int]] = {}
    for at, token in enumerate(allowed):
        places.setdefault(token, []).append(at)

    first = log_softmax(logits)
    found: list[Span] = []
    openings = sorted(((float(first[token]), token) for token in places), reverse=True)[: len(branches)]
    beams = []
    for branch, (logprob, token) in zip(branches, openings, strict=False):
        backend.fork(slot, branch, prompt_tokens)
        beams.append(_Beam((token,), tuple(places[token]), logprob, branch))

    for length in range(1, max_tokens + 1):
        tokens = np.array([beam.tokens[-1] for beam in beams])
        positions = np.full(len(beams), prompt_tokens + length - 1)
        rows = log_softmax(backend.decode(tokens, positions, np.array([beam.slot for beam in beams])))
        grown: list[tuple[float, int, int, tuple[int, ...]]] = []  # log-probability, beam, next token, starts
        for i, beam in enumerate(beams):
            ending = float(np.logaddexp.reduce(rows[i][stop]))
            start = beam.starts[0]
            found.append(Span(start, start + length, beam.logprob + ending, length))
            follow: dict[int, list[int]] = {}
            for start in beam.starts:
                if start + length < len(allowed):
                    follow.setdefault(allowed[start + length], []).append(start)
            grown += [(beam.logprob + float(rows[i][t]), i, t, tuple(starts)) for t, starts in follow.items()]
        found = sorted(found, key=lambda span: -span.logprob)[:top_k]
        # What is open can only lose probability: once the k-th best answer beats it, no open one can enter.
        bar = found[-1].logprob if len(found) == top_k else -np.inf
        grown = [g for g in sorted(grown, key=lambda g: -g[0])[: len(branches)] if g[0] > bar]
        if not grown:
            break
        beams = _branch(backend, beams, grown, branches, prompt_tokens + length)
        yield
    return found


def _branch(
    backend: Backend,
    beams: list[_Beam],
    grown: list[tuple[float, int, int, tuple[int, ...]]],
    branches: list[int],
    tokens: int,
) -> list[_Beam]:
    """Give each grown hypothesis a slot that holds its beginning: the first child keeps its parent's."""
    kept = {beams[parent].slot for _, parent, _, _ in grown}
    free = [slot for slot in branches if slot not in kept]
    taken: set[int] = set()
    result = []
    for logprob, parent, token, starts in grown:
        slot = beams[parent].slot
        if slot in taken:
            slot = free.pop()
            backend.fork(beams[parent].slot, slot, tokens)
        taken.add(slot)
        result.append(_Beam((*beams[parent].tokens, token), starts, logprob, slot))
    return result
