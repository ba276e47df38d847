"""One running request: its tokens, its sampler, what may be shown so far, and where its time went; and `Inputs`, which
makes requests of what callers give."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np

from engine.config import SamplingParams
from engine.decoding.sampling import Sampler
from engine.decoding.speculation import Guesser
from engine.decoding.stopping import StopStrings
from engine.errors import BadRequest
from engine.model.adapters.pool import Block
from engine.results import Completion, FinishReason, Timing, Token
from engine.serving.cancellation import Cancellation, Cancelled, current
from engine.serving.prefill import Text
from engine.text.tokenizer import Tokenizer

Prompt = str | Sequence[int]


class Request(Text):
    """Filled by the scheduler's thread, read by the caller's through `stream`.

    Parameters
    ----------
    prompt : token ids, at least one.
    params : how tokens are picked and when it ends.
    tokenizer : makes text of tokens, and says which of them end it.
    window : tokens that prompt and output together may have.
    cancellation : tells the scheduler that nobody wants it any more; by default one of its own, a part of the scope
        that the calling thread is in.
    adapter : that it is read with, held by whoever asks.

    Attributes
    ----------
    events : `Token`s as they come, then None; or the exception that ended it.
    finish_reason : why it ended; None until then.
    """

    def __init__(
        self,
        prompt: list[int],
        params: SamplingParams,
        tokenizer: Tokenizer,
        window: int,
        cancellation: Cancellation | None = None,
        adapter: Block | None = None,
    ) -> None:
        super().__init__(list(prompt), -1, adapter)
        self.prompt_tokens = len(prompt)
        self.params = params
        self.served = 0  # when its prompt last had a turn, in ticks of the scheduler
        self.guesser = Guesser()
        self.guessed = 0  # tokens that stood ready as right guesses
        self.cancellation = cancellation or Cancellation(current())
        self.events: queue.SimpleQueue[Token | BaseException | None] = queue.SimpleQueue()
        self.tokens: list[Token] = []
        self._most = min(params.max_tokens, window - len(prompt))
        self._eos = tokenizer.eos_ids
        self._sampler = Sampler(params, tokenizer.eos_ids)
        self._seen = np.unique(np.asarray(prompt, np.int64))
        self._text = tokenizer.stream()
        self._stop = StopStrings(params.stop) if params.stop else None
        self.accepted = time.perf_counter()  # when the scheduler took it: a stream may be begun long after it was asked
        self._first = self._last = 0.0
        self.finish_reason: FinishReason | None = None

    @property
    def seed(self) -> int:
        """What its draws begin with: the one asked for, else one drawn."""
        return self._sampler.seed

    @property
    def room(self) -> int:
        """Tokens it may still make."""
        return self._most - len(self.tokens)

    @property
    def reach(self) -> int:
        """Tokens its slot may come to hold."""
        return self.prompt_tokens + self._most

    def advance(self, logits: np.ndarray, best: int | None = None) -> None:
        """Take the next token from logits f32 [V] and tell the caller; `best` as the sampler takes it."""
        choice = self._sampler(logits, self._seen, len(self.tokens), best)
        self._last = time.perf_counter()
        self._first = self._first or self._last
        self.ids.append(choice.id)
        if self.params.repetition_penalty != 1:
            self._seen = np.union1d(self._seen, choice.id)
        if choice.id in self._eos:
            self.finish_reason = "stop"
            text = ""
        else:
            text = self._shown(self._text.feed(choice.id))
            if self.finish_reason is None and len(self.tokens) + 1 >= self._most:
                self.finish_reason = "length"
        if self.finish_reason in ("stop", "length"):
            text += self._shown(self._text.flush(), last=True)
        timing = self.timing(len(self.tokens) + 1)
        token = Token(choice.id, text, choice.logprob, choice.top, timing)
        self.tokens.append(token)
        self.events.put(token)
        if self.finish_reason:
            self.events.put(None)

    def _shown(self, text: str, last: bool = False) -> str:
        """What of new text may be shown: all of it, or what stands before a stop string; one of those ends it."""
        if self._stop is None:
            return text
        text = self._stop.feed(text)
        if self._stop.hit:
            self.finish_reason = "stop_string"
        return text if self._stop.hit or not last else text + self._stop.flush()

    def fail(self, error: BaseException) -> None:
        """End with an exception, which the caller's thread raises; `Cancelled` where it is not wanted any more."""
        self.finish_reason = "cancelled" if isinstance(error, Cancelled) else "error"
        self.events.put(error)

    def stream(self) -> Iterator[Token]:
        """The tokens until it ends, each as soon as it is there; raises what ended it. For the caller's thread."""
        while (event := self.events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event

    def timing(self, made: int) -> Timing:
        """Where its time went until `made` tokens were there."""
        return Timing(
            prompt_tokens=self.prompt_tokens,
            reused_tokens=self.reused,
            new_tokens=made,
            ttft_s=self._first - self.accepted,
            prefill_s=self.prefill_s,
            decode_s=self._last - self._first,
            finish_reason=self.finish_reason,
            guessed_tokens=self.guessed,
            decoded_tokens=made - 1,
        )

    def completion(self) -> Completion:
        """The whole result, once `finish_reason` stands."""
        wanted = self.params.logprobs is not None
        timing = self.tokens[-1].timing
        assert timing is not None
        return Completion(
            text="".join(token.text for token in self.tokens),
            token_ids=tuple(token.id for token in self.tokens),
            logprobs=tuple(token.logprob or 0.0 for token in self.tokens) if wanted else None,
            top_logprobs=tuple(token.top for token in self.tokens) if wanted else None,
            seed=self.seed,
            timing=timing,
        )


class Inputs:
    """Prompts and requests of one model, checked before anything runs.

    Parameters
    ----------
    tokenizer : encodes texts.
    vocabulary : how many token ids the model has.
    window : tokens that prompt and output together may have.
    """

    def __init__(self, tokenizer: Tokenizer, vocabulary: int, window: int) -> None:
        self._tokenizer, self._vocabulary, self._window = tokenizer, vocabulary, window

    def ids(self, prompt: Prompt, room: int = 0, what: str = "prompt", adapter: Block | None = None) -> list[int]:
        """Token ids of a prompt that leaves room in the window.

        Parameters
        ----------
        prompt : a text, or token ids.
        room : tokens of the window that are to be left.
        what : it is called in messages.
        adapter : that reads it.

        Raises
        ------
        BadRequest : it is empty, has ids that the model lacks, is too long, or does not hold the tokens which an
            activated adapter waits for.
        """
        ids = self.tokens(prompt, what)
        if len(ids) + room > self._window:
            asked = f" and {room} more are asked for" if room else ""
            raise BadRequest(
                f"The text has {len(ids)} tokens{asked}, but the window is {self._window}: shorten the text or ask for "
                "less."
            )
        if adapter is not None and adapter.begins(ids) == len(ids):
            wanted = self._tokenizer.decode(list(adapter.invocation), skip_special=False)
            raise BadRequest(f"The adapter {adapter.name} acts from {wanted!r} on, which the prompt does not hold.")
        return ids

    def request(
        self, prompt: Prompt, params: SamplingParams | None, call: Cancellation | None, adapter: Block | None
    ) -> Request:
        """A request that may be submitted.

        Parameters
        ----------
        prompt, adapter : as `ids` takes them, whose errors it raises.
        params : how tokens are picked; None picks them greedily.
        call : that it is a part of; None for the scope of the calling thread.
        """
        params = params or SamplingParams()
        ids = self.ids(prompt, params.max_tokens, adapter=adapter)
        return Request(ids, params, self._tokenizer, self._window, call, adapter)

    def tokens(self, prompt: Prompt, what: str = "prompt") -> list[int]:
        """Token ids of what need not fit the window. Raises BadRequest where it is empty or has unknown ids."""
        ids = self._tokenizer.encode(prompt) if isinstance(prompt, str) else [int(token) for token in prompt]
        if not ids:
            raise BadRequest(f"The {what} is empty: give some text.")
        if min(ids) < 0 or max(ids) >= self._vocabulary:
            raise BadRequest(f"A token id of the {what} is outside 0 to {self._vocabulary - 1}.")
        return ids

    def context(self, allowed: Sequence[int]) -> list[int]:
        """Token ids that answers are taken from. Raises BadRequest as `tokens`."""
        if not len(allowed):
            raise BadRequest("There is no text to take an answer from: give a context.")
        return self.tokens(allowed, "context")

    def ends(self, end: Prompt) -> set[int]:
        """The first token of `end`, and those that end a text."""
        known = (token for token in self._tokenizer.eos_ids if token < self._vocabulary)
        return {self.tokens(end, "end")[0], *known}


def many(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """One prompt or several, as a list."""
    if isinstance(prompts, str):
        return [prompts]
    if len(prompts) and isinstance(prompts[0], (int, np.integer)):
        return [cast(Sequence[int], prompts)]
    return list(cast(Sequence[Prompt], prompts))
