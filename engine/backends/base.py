"""What a backend is: a model seen as token ids in, logits out. Text, sampling and batching live above it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from engine.cache.prefix import KVRun
from engine.errors import BadRequest
from engine.results import ModelKind

if TYPE_CHECKING:
    from torch import Tensor

    from engine.kernels.compilation import Compilation
    from engine.model.adapters.pool import Block
    from engine.model.adapters.shelf import Shelf

# Slots beside those of running requests: one for the prompt of a scoring or search job, the rest for its branches.
JOB_SLOTS = 5

# Rows (tokens) of one decode call: the width the compiled step is made for. Weights are read once for all of them.
MAX_ROWS = 16


class EncoderHeads(Protocol):
    """The head of an encoder: labels of a text, or answers out of a context. `Backend.kind` says which one works."""

    def classify(self, text: str) -> dict[str, float]:
        """Probability of each of the model's own labels. Raises BadRequest where the text is longer than the window."""
        ...

    def answer(
        self, question: str, context: str, top_k: int, max_answer_tokens: int
    ) -> tuple[list[tuple[int, int, float]], float]:
        """Likeliest answers in a context, which may be longer than the window.

        Parameters
        ----------
        question : what is asked; it must fit the window beside some of the context.
        context : the text that the answers stand in.
        top_k : most answers to give.
        max_answer_tokens : longest answer.

        Returns
        -------
        spans : (first character, character after the last, probability) of each answer, best first.
        none : probability 0 to 1 that the context does not answer.
        """
        ...


class Backend(Protocol):
    """A loaded model. Only the scheduler's own thread calls it once it is loaded.

    Backends name this class as their base: mypy then refuses to construct one that lacks an attribute or a method.

    A slot holds one request's keys and values; slots 0 to max_batch - 1 are for running requests, the JOB_SLOTS
    after them for jobs. Token ids and positions are plain ints or i64 arrays; logits are f32 in CPU memory.

    Attributes
    ----------
    name : "native" or "transformers".
    kind : what the model is made for; "causal" and "seq2seq" run through slots, the others through `heads`.
    heads : the head of an encoder; None for models that generate.
    layers, width, vocabulary : layers, numbers of the residual stream (D), tokens of the vocabulary (V).
    max_context : tokens in the window.
    parameters : numbers the model is made of.
    nbytes : bytes its weights take as they are stored.
    kv_precision, prefill : what keys and values are stored in, and what prompts are computed in, as `EngineInfo` has
        them. The latter is final after `warm`.
    notes : sentences on anything that is not as one might expect; `warm` may add some.
    compiling : whether plain torch runs the model until another process has compiled its operators.
    walking : threads that walk decode steps where others' use of the cores made it fewer than asked for; else 0.
    shelf : the adapters that texts may be read with; None where it runs none.
    reuses : whether `read` and `write` work, and cheaply: prompts that begin alike can then share their prefill.
    """

    name: str
    kind: ModelKind
    heads: EncoderHeads | None
    layers: int
    width: int
    vocabulary: int
    max_context: int
    parameters: int
    nbytes: int
    kv_precision: str
    prefill: str
    notes: list[str]
    compiling: bool = False
    walking: int = 0
    shelf: Shelf | None = None
    reuses: bool

    def begin(self) -> Compilation | None:
        """Let another process compile what `warm` would compile in this one, and run without it until `warm`; None
        where `warm` has nothing to compile."""
        return None

    def warm(self) -> Generator[None, None, None]:
        """Do once what would make the first request slow. Other calls may come wherever it yields, none that uses
        slots of jobs."""
        ...

    def adapt(self, slot: int, adapter: Block | None, begins: int) -> None:
        """Let a slot's text be read with an adapter of `shelf` from a position on, until told otherwise.

        Parameters
        ----------
        slot : where the text's keys and values go.
        adapter : None has the bare model read it.
        begins : the first position that it reads.
        """
        assert adapter is None, "a backend without a shelf"

    def extend(self, slot: int, start: int, tokens: Sequence[int], logits: bool = True) -> np.ndarray | None:
        """Run tokens of a text into a slot, at positions start, start + 1, ...

        Parameters
        ----------
        slot : where the text's keys and values are.
        start : position of the first token; it may lie before what the slot holds: what follows is forgotten.
        tokens : one or more ids.
        logits : whether those after the last token are computed.

        Returns
        -------
        f32 [V], valid until the next call; None where `logits` is False.
        """
        ...

    def decode(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Run one or a few tokens of several slots.

        A slot may have up to `rows(positions[first])` of them, one after another with positions ascending by one:
        each sees those before it, as if they had been decoded in turn.

        Parameters
        ----------
        tokens : ids i64 [B], B at most MAX_ROWS.
        positions : of each in its text, i64 [B].
        slots : where its text is, i64 [B].

        Returns
        -------
        Logits f32 [B, V], valid until the next call.
        """
        ...

    def likeliest(self) -> np.ndarray | None:
        """The first of the likeliest tokens of each row of the last `decode`, found on the way.

        Returns
        -------
        i64 [B], -1 where not all logits of a row are finite; None where whoever wants them has to look for them.
        """
        return None

    def rows(self, position: int) -> int:
        """How many tokens of one slot a decode call may hold, the first of them at `position`; 1 where several in
        one call would save nothing."""
        ...

    def fork(self, source: int, target: int, tokens: int) -> None:
        """Let a slot begin as another does.

        Parameters
        ----------
        source, target : the slot that is copied from, and the one that is written.
        tokens : positions that are copied, from 0 on.
        """
        ...

    def read(self, slot: int, start: int, end: int) -> KVRun:
        """A copy of a slot's keys and values, as they are stored.

        Parameters
        ----------
        slot : where they are.
        start, end : the first position, and the one after the last.
        """
        ...

    def keys_values(self, slot: int, end: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the first `end` positions of a slot as attention reads them, f32 [L, G, end, E] each, for
        whoever learns behind them. Raises BadRequest where there is no shelf."""
        raise BadRequest("This model runs without adapters here, and so gives no keys and values.")

    def write(self, slot: int, start: int, run: KVRun) -> None:
        """Let positions of a slot hold what `read` gave.

        Parameters
        ----------
        slot : where it goes.
        start : position of the run's first token.
        run : keys and values of one or more positions.
        """
        ...

    def token_logprobs(self, slot: int, start: int, tokens: Sequence[int]) -> np.ndarray:
        """Log-probability of each token of a text but the first after all those before it.

        Parameters
        ----------
        slot : where the text's keys and values are; all of `tokens` but the last are run into it.
        start : position of the first token.
        tokens : two or more ids (T).

        Returns
        -------
        f32 [T - 1], natural logarithms.
        """
        ...

    def hidden(self, slot: int, start: int, tokens: Sequence[int], layer: int) -> np.ndarray:
        """Run tokens through a number of layers.

        Parameters
        ----------
        slot : where the text's keys and values are.
        start : position of the first token.
        tokens : one or more ids (T).
        layer : 0 (the embedding) to `layers`, or -1 for all of them.

        Returns
        -------
        The residual stream f32 [T, D]; after all layers it has gone through the last norm.
        """
        ...
