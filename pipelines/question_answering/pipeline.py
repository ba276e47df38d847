"""Answers that stand in the text, word for word, with their place; or none."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import BadRequest
from engine.results import Span, Timing
from pipelines.adapter import folder_of, read_adapter
from pipelines.prompt import text_prompt
from pipelines.question_answering import prompts
from pipelines.question_answering.results import Answer, AnswerResult
from pipelines.results import total_timing
from pipelines.text import check_text, require_kind, room_for_text, run_info, token_windows

if TYPE_CHECKING:
    from engine.engine import Engine

MAX_QUESTION_CHARACTERS = 2_000
MAX_ANSWER_TOKENS = 32
MAX_TOP_K = 20
WINDOW_TOKENS = 512  # a small model finds less in a longer text
MASS_SPANS = 5
STRIDE_TOKENS = 128  # shared by neighbouring windows, so that no answer falls between two


@dataclass(frozen=True)
class _Window:
    """`context[start:end]`, the piece of the context one prompt shows."""

    start: int
    end: int


class QuestionAnsweringPipeline:
    """Finds answers in a context.

    A causal model is asked in its own words, but may only write runs of the context's tokens (`engine.spans`); an
    extractive model (kind "question-answering") points at them (`engine.answer`). A context longer than
    `WINDOW_TOKENS` is read in windows that overlap by `STRIDE_TOKENS`, and the best answers of all of them are kept.

    Parameters
    ----------
    engine : a loaded `engine.engine.Engine` of kind "causal" or "question-answering".
    adapter : folder of an adapter that has learnt question answering (`brisk train-adapter`). It is asked without
        examples, and says itself how likely the text holds no answer.

    Raises
    ------
    BadModel, BadRequest : see `pipelines.adapter.read_adapter`.
    """

    def __init__(self, engine: Engine, *, adapter: str | Path | None = None) -> None:
        self.engine = engine
        if adapter is None:
            require_kind(engine, "question answering", "causal", "question-answering")
        else:
            require_kind(engine, "question answering with an adapter", "causal")
        self.adapter = read_adapter(adapter, "question_answering")
        self._folder = folder_of(self.adapter)

    def __call__(
        self,
        question: str,
        context: str,
        *,
        top_k: int = 1,
        no_answer_threshold: float = prompts.DEFAULT_THRESHOLD,
        max_answer_tokens: int = MAX_ANSWER_TOKENS,
    ) -> AnswerResult:
        """The best answers.

        Parameters
        ----------
        question : at most `MAX_QUESTION_CHARACTERS` characters.
        context : the text that holds the answer, of any length.
        top_k : how many answers, 1 to `MAX_TOP_K`; fewer come back when the context has fewer different ones.
        no_answer_threshold : 0 to 1; when `no_answer` is above it, the first answer is the empty one. 1 always answers.
        max_answer_tokens : most tokens of an answer, 1 to `MAX_ANSWER_TOKENS`.

        Returns
        -------
        AnswerResult with `answers`, each `{"answer", "score", "start", "end"}` with `answer == context[start:end]` and
        `score` = probability of the span and of stopping after it, given the prompt (0 to 1), and with
        `no_answer` = m / (m + p), where p is the probability of the `MASS_SPANS` best spans together and m is
        `prompts.UNANSWERED_MASS`: what the model would not say in words of the context is not there. With an adapter m
        is the probability of `prompts.UNANSWERED`. An extractive model's own null score otherwise.

        Raises
        ------
        BadRequest : empty question or context, unreadable text, numbers out of range.
        """
        if not isinstance(context, str) or not context.strip():
            raise BadRequest("The context is empty: give the text that holds the answer.")
        context = check_text(context, "context")
        question = check_text(question, "question", limit=MAX_QUESTION_CHARACTERS).strip()
        if not 1 <= top_k <= MAX_TOP_K:
            raise BadRequest(f"top_k is {top_k}: give 1 to {MAX_TOP_K}.")
        if not 0 <= no_answer_threshold <= 1:
            raise BadRequest(f"The no-answer threshold is {no_answer_threshold}: give 0 to 1.")
        if not 1 <= max_answer_tokens <= MAX_ANSWER_TOKENS:
            raise BadRequest(f"An answer of {max_answer_tokens} tokens is asked for: give 1 to {MAX_ANSWER_TOKENS}.")
        if self.engine.info.kind == "question-answering":
            found, no_answer, timing = self._extract(question, context, top_k, max_answer_tokens)
        else:
            found, no_answer, timing = self._search(question, context, top_k, max_answer_tokens)
        answers = _distinct(found)
        if no_answer > no_answer_threshold or not answers:
            answers = [Answer(answer="", score=no_answer, start=0, end=0), *answers]
        return AnswerResult(answers[:top_k], no_answer, run_info(self.engine, timing))

    def _windows(self, question: str, context: str) -> list[_Window]:
        tokenizer = self.engine.tokenizer
        bare = (prompts.ADAPTED if self.adapter else prompts.INSTRUCTION).format(first="", last="", question=question)
        beside = len(text_prompt(self.engine, "", bare)) + 2 * prompts.SHOWN_TOKENS + 4  # seams may split anew
        room = room_for_text(self.engine, beside=beside, max_tokens=MAX_ANSWER_TOKENS)
        _, offsets = tokenizer.encode_with_offsets(context)
        size = min(room, WINDOW_TOKENS)
        spans = token_windows(len(offsets), size, min(STRIDE_TOKENS, size // 2))
        return [_Window(offsets[first][0], offsets[last - 1][1]) for first, last in spans]

    def _prompt(self, question: str, context: str) -> list[int]:
        if self.adapter:
            return text_prompt(self.engine, context, prompts.ADAPTED.format(question=question))
        words = context.split()
        first = " ".join(words[: prompts.SHOWN_WORDS])
        last = " ".join(words[-prompts.SHOWN_WORDS :]).rstrip(".")
        instruction = prompts.INSTRUCTION.format(
            first=self._at_most(first), last=self._at_most(last), question=question
        )
        return text_prompt(self.engine, context, instruction)

    @property
    def _none(self) -> list[int]:
        """What an adapter says where the text holds no answer."""
        return self.engine.tokenizer.encode(prompts.UNANSWERED + prompts.END, add_bos=False)

    def _at_most(self, piece: str) -> str:
        while len(self.engine.tokenizer.encode(piece)) > prompts.SHOWN_TOKENS:
            piece = piece[: len(piece) // 2]
        return piece

    def _search(self, question: str, context: str, top_k: int, max_tokens: int) -> tuple[list[Answer], float, Timing]:
        """Answers of all windows, the probability of none, and the work that took."""
        tokenizer = self.engine.tokenizer
        found: list[Answer] = []
        timings: list[Timing] = []
        no_answer = 1.0
        end = tokenizer.encode(prompts.END, add_bos=False)
        for window in self._windows(question, context):
            piece = context[window.start : window.end]
            # A space before the first word, as it would stand after "Answer:".
            allowed, offsets = tokenizer.encode_with_offsets(" " + piece)
            places = [(max(0, start - 1) + window.start, end - 1 + window.start) for start, end in offsets]
            began = time.perf_counter()
            prompt = self._prompt(question, piece)
            search = self.engine.spans(
                prompt, allowed, top_k=max(MASS_SPANS, 2 * top_k), max_tokens=max_tokens, end=end, adapter=self._folder
            )
            in_text = sum(math.exp(span.logprob) for span in search.spans[:MASS_SPANS])
            left = prompts.UNANSWERED_MASS
            if self.adapter:
                [said] = self.engine.score([prompt], [self._none], adapter=self._folder)
                left = math.exp(said.logprobs[0])
            # The answer is in one window, so the one that is surest of having it decides.
            no_answer = min(no_answer, left / max(1e-9, left + in_text))
            # The answer comes when the search is over; the speed is that of reading alone.
            timings.append(replace(search.timing, ttft_s=time.perf_counter() - began))
            found += [answer_of_span(context, span, places) for span in search.spans]
        return found, no_answer, total_timing(timings)

    def _extract(self, question: str, context: str, top_k: int, max_tokens: int) -> tuple[list[Answer], float, Timing]:
        began = time.perf_counter()
        spans, null_score = self.engine.answer(question, context, top_k=2 * top_k, max_answer_tokens=max_tokens)
        tokens = len(self.engine.tokenizer.encode(question)) + len(self.engine.tokenizer.encode(context))
        found = [Answer(answer=context[start:end], score=score, start=start, end=end) for start, end, score in spans]
        seconds = time.perf_counter() - began  # reading and search together: no token is generated
        return found, null_score, Timing(tokens, ttft_s=seconds, prefill_s=seconds)


def answer_of_span(context: str, span: Span, places: list[tuple[int, int]]) -> Answer:
    """The characters of a span, without white space around them, and with cut words completed.

    Parameters
    ----------
    context : the whole context.
    span : a run of the tokens that were allowed, end excluded, with its log-probability.
    places : (start, end) in `context` of each of those tokens.
    """
    start, end = places[span.start][0], places[span.end - 1][1]
    while start < end and context[start].isspace():
        start += 1
    while end > start and context[end - 1].isspace():
        end -= 1
    while 0 < start < end and context[start - 1].isalnum() and context[start].isalnum():
        start -= 1
    while start < end < len(context) and context[end - 1].isalnum() and context[end].isalnum():
        end += 1
    return Answer(answer=context[start:end], score=math.exp(span.logprob), start=start, end=end)


def _distinct(found: list[Answer]) -> list[Answer]:
    """Best first; of those at one place only the best, empty ones not at all."""
    places: dict[tuple[int, int], Answer] = {}
    for answer in sorted(found, key=lambda answer: -answer["score"]):
        if answer["answer"]:
            places.setdefault((answer["start"], answer["end"]), answer)
    return list(places.values())
