"""A small deterministic stand-in for `engine.engine.Engine`: the contract's methods, words for tokens, no model."""

from __future__ import annotations

import itertools
import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.config import EngineConfig, SamplingParams
from engine.errors import BadRequest
from engine.model.adapters.shelf import Adapter
from engine.results import Completion, EngineInfo, FinishReason, Scores, Span, SpanSearch, Timing, Token, TokenLogprobs
from engine.serving.cancellation import current

_PIECE = re.compile(r" ?[^\W\d_]+|\d| ?[^\w\s]|\s|_")
_SPECIALS = ("<|start|>", "<|end|>")
PRAISE = ("great", "wonderful", "moving", "funny", "superb", "clever", "charming", "thrilling")
BLAME = ("terrible", "boring", "awful", "clumsy", "dull", "lifeless", "silly", "painful")


class FakeTokenizer:
    """Words with the space before them, single digits, punctuation. The vocabulary grows as text comes in."""

    eos_ids = frozenset({1})
    bos_id = None
    has_chat_template = True

    def __init__(self) -> None:
        self._pieces = list(_SPECIALS)
        self._ids = {piece: i for i, piece in enumerate(self._pieces)}
        self._growing = threading.Lock()

    @property
    def vocab_size(self) -> int:
        return len(self._pieces)

    def _id(self, piece: str) -> int:
        with self._growing:
            if piece not in self._ids:
                self._ids[piece] = len(self._pieces)
                self._pieces.append(piece)
            return self._ids[piece]

    def encode(self, text: str, *, add_bos: bool | None = None) -> list[int]:
        return self.encode_with_offsets(text)[0]

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        matches = list(_PIECE.finditer(text))
        assert sum(len(m.group()) for m in matches) == len(text), "the pieces cover every text"
        return [self._id(m.group()) for m in matches], [m.span() for m in matches]

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        return "".join(self._pieces[i] for i in ids if not (skip_special and i < len(_SPECIALS)))

    def chat(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> list[int]:
        ids: list[int] = []
        for message in messages:
            ids += [0, *self.encode(f"{message['role']}\n{message['content']}"), 1]
        return [*ids, 0, *self.encode("assistant\n")] if add_generation_prompt else ids

    def around(self, messages: Sequence[Mapping[str, str]]) -> tuple[list[int], list[int]]:
        *before, last = messages
        opening = self.chat(before, add_generation_prompt=False)
        return [*opening, 0, *self.encode(f"{last['role']}\n")], [1, 0, *self.encode("assistant\n")]


INFO = EngineInfo(
    model="fake", source="a test", family="llama", backend="native", kind="causal", precision="fp32", device="cpu",
    threads=1, max_context=512, layers=4, hidden=8, parameters=0, weight_bytes=0, load_s=0.0, kv_precision="fp32",
    prefill="fp32",
)  # fmt: skip


def alike(first: Sequence[int], second: Sequence[int]) -> int:
    """Ids that both begin with."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


class FakeEngine:
    """Scripted by three functions of the prompt's text.

    `reply(prompt)` is what it writes; `fit(prompt, choice)` the log-probability of a choice; `find(prompt)` the words
    its span search likes best. `prompts` keeps every prompt as text, `read` as ids; `computed` counts
    the prompt tokens no earlier prompt began with, `steps` generated tokens.
    """

    def __init__(
        self,
        reply: Callable[[str], str] = lambda prompt: "A short answer.",
        fit: Callable[[str, str], float] = lambda prompt, choice: -1.0,
        find: Callable[[str], str] = lambda prompt: "",
        **info: object,
    ) -> None:
        self.reply, self.fit, self.find = reply, fit, find
        self.info = replace(INFO, **info)  # type: ignore[arg-type]
        self.tokenizer = FakeTokenizer()
        self.prompts: list[str] = []
        self.read: list[list[int]] = []
        self.computed = 0
        self.params: list[SamplingParams] = []
        self.adapters: list[Adapter] = []
        self.configs: list[EngineConfig] = []
        self.config = EngineConfig()
        self.steps = 0

    def reset_prefix_cache(self) -> None:
        self.read.clear()

    def close(self) -> None: ...

    def max_prompt(self, max_tokens: int) -> int:
        return self.info.max_context - max_tokens

    def _read(self, prompt: str | Sequence[int], max_tokens: int) -> tuple[str, Timing]:
        """The prompt's text, and the time of reading what no earlier prompt began with, at 100 tokens a second."""
        current().check()
        ids = self.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
        if len(ids) > self.max_prompt(max_tokens):
            raise BadRequest(f"The prompt has {len(ids)} tokens and {self.max_prompt(max_tokens)} fit.")
        reused = min(max((alike(ids, known) for known in self.read), default=0), len(ids) - 1)
        self.computed += len(ids) - reused  # the last token is always run: its logits are wanted
        self.read.append(ids)
        text = self.tokenizer.decode(ids)
        self.prompts.append(text)
        seconds = (len(ids) - reused) / 100
        return text, Timing(len(ids), reused, ttft_s=seconds, prefill_s=seconds)

    def stream(
        self,
        prompt: str | Sequence[int],
        params: SamplingParams = SamplingParams(),  # noqa: B008
        *,
        adapter: Adapter = None,
    ) -> Iterator[Token]:
        text, timing = self._read(prompt, params.max_tokens)
        self.params.append(params)
        self.adapters.append(adapter)
        written = self.reply(text)
        for stop in params.stop:
            written = written.split(stop)[0]
        ids = self.tokenizer.encode(written)[: params.max_tokens]
        cut = len(ids) == params.max_tokens
        for i, id in enumerate(ids):
            current().check()
            self.steps += 1
            reason: FinishReason | None = None if i + 1 < len(ids) else "length" if cut else "stop"
            timing = replace(timing, new_tokens=i + 1, decoded_tokens=i, decode_s=i / 50, finish_reason=reason)
            yield Token(id, self.tokenizer.decode([id]), timing=timing)
        if not ids:
            yield Token(1, "", timing=replace(timing, finish_reason="stop"))

    def generate(self, prompts: Any, params: SamplingParams = SamplingParams()) -> list[Completion]:  # noqa: B008
        single = isinstance(prompts, str) or (prompts and isinstance(prompts[0], int))
        done = []
        for prompt in [prompts] if single else prompts:
            tokens = list(self.stream(prompt, params))
            text = "".join(token.text for token in tokens)
            assert tokens[-1].timing is not None
            done.append(Completion(text, tuple(t.id for t in tokens), None, None, params.seed or 0, tokens[-1].timing))
        return done

    def score(self, prompts: Any, choices: Sequence[str | Sequence[int]], *, adapter: Adapter = None) -> list[Scores]:
        single = isinstance(prompts, str) or (prompts and isinstance(prompts[0], int))
        self.adapters.append(adapter)
        scores = []
        for prompt in [prompts] if single else prompts:
            text, timing = self._read(prompt, 0)
            words = [choice if isinstance(choice, str) else self.tokenizer.decode(choice) for choice in choices]
            tokens = tuple(len(self.tokenizer.encode(word)) for word in words)
            scores.append(Scores(tuple(self.fit(text, word) for word in words), tokens, timing))
        return scores

    def spans(
        self,
        prompt: str | Sequence[int],
        allowed: Sequence[int],
        *,
        top_k: int = 1,
        max_tokens: int = 32,
        end: str | Sequence[int] = "\n",
        adapter: Adapter = None,
    ) -> SpanSearch:
        self.adapters.append(adapter)
        text, timing = self._read(prompt, 0)
        wanted = self.find(text).split()
        pieces = [self.tokenizer.decode([id]).strip() for id in allowed]
        found = []
        for start in range(len(pieces)):
            for stop in range(start + 1, min(start + max_tokens, len(pieces)) + 1):
                run = [piece for piece in pieces[start:stop] if piece]
                logprob = -0.1 if wanted and run == wanted else -5.0 - (stop - start) - start / len(pieces)
                found.append(Span(start, stop, logprob, stop - start))
        best = sorted(found, key=lambda span: -span.logprob)[:top_k]
        return SpanSearch(tuple(best), timing)

    def logprobs(self, texts: Sequence[str | Sequence[int]]) -> list[TokenLogprobs]:
        current().check()
        many = [self.tokenizer.encode(text) if isinstance(text, str) else list(text) for text in texts]
        ids = [np.array(one, dtype=np.int64) for one in many]
        return [TokenLogprobs(row, np.full(max(0, len(row) - 1), -math.log(4), dtype=np.float32)) for row in ids]

    def embed(self, texts: Sequence[Sequence[int]], layer: int = -1, pooling: str = "mean") -> np.ndarray:
        """f32 [n, hidden]: praise in the first column, blame in the second, `layer` times as loud; noise beside."""
        current().check()
        rows = []
        for ids in texts:
            words = self.tokenizer.decode(ids).lower()
            noise = np.random.default_rng(len(ids)).normal(size=self.info.hidden)
            noise[:2] += layer * np.array([sum(word in words for word in PRAISE), sum(word in words for word in BLAME)])
            rows.append(noise)
        return np.array(rows, np.float32)

    def classify(self, texts: Sequence[str]) -> list[dict[str, float]]:
        current().check()
        return [{"POSITIVE": 0.75, "NEGATIVE": 0.25} for _ in texts]

    def answer(
        self, question: str, context: str, *, top_k: int = 1, max_answer_tokens: int = 32
    ) -> tuple[list[tuple[int, int, float]], float]:
        current().check()
        start = context.find(self.find(context)) if self.find(context) else 0
        return [(start, start + len(self.find(context)), 0.9)][:top_k], 0.05
