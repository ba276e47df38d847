"""`question-answering`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brisk.calls.common import Calls, in_parallel
from engine.errors import BadRequest
from pipelines.question_answering.pipeline import STRIDE_TOKENS, WINDOW_TOKENS, QuestionAnsweringPipeline
from pipelines.question_answering.prompts import DEFAULT_THRESHOLD
from pipelines.question_answering.results import Answer

WINDOWS = f"a long context is read in windows of {WINDOW_TOKENS} tokens that overlap by {STRIDE_TOKENS}"
REASONS = {
    "topk": "its name is top_k",
    "doc_stride": WINDOWS,
    "max_seq_len": WINDOWS,
    "max_question_len": "a question is read whole",
    "padding": "texts of different lengths run together as they are",
}
Example = Mapping[str, str]


class QuestionAnswering(Calls[QuestionAnsweringPipeline]):
    """Answers from a text, as Transformers 4's `pipeline("question-answering")` gave them.

    It differs in the model: a causal one may write only runs of the context's words. Its `score` is the probability of
    the span and of stopping after it; an answer never ends inside a word. A long context is read in windows of a fixed
    size, so `doc_stride`, `max_seq_len` and `max_question_len` are refused.
    """

    task = "question-answering"
    makes = QuestionAnsweringPipeline

    def __call__(
        self,
        data: Example | Sequence[Example] | None = None,
        *,
        question: str | Sequence[str] | None = None,
        context: str | Sequence[str] | None = None,
        top_k: int = 1,
        max_answer_len: int = 15,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
        batch_size: int | None = None,
        **others: object,
    ) -> Any:
        """The answer to each question.

        Parameters
        ----------
        data : `{"question", "context"}`, or a list of such dicts; in place of the next two.
        question, context : a question and its text; or a list of questions with a text for all or a list of as many.
        top_k : how many answers, 1 to 20; fewer where the context has fewer different ones.
        max_answer_len : most tokens of an answer.
        handle_impossible_answer : lets the empty answer stand where the text seems to hold none.
        align_to_words : only True.
        batch_size : questions that run together; None leaves it to the engine.

        Returns
        -------
        `{"score", "start", "end", "answer"}` with `answer == context[start:end]`; a list of them, best first, where
        there are several. For several questions, a list of that; for a list of one, as for one alone.

        Raises
        ------
        BadRequest : no or empty questions or contexts, lists of different lengths, numbers out of range, or an argument
            that cannot be honoured.
        """
        self._refuse(others, REASONS)
        if not align_to_words:
            raise BadRequest(f"{self.task} cannot honour 'align_to_words' as False: answers end where words do.")
        examples = _examples(data, question, context)
        threshold = DEFAULT_THRESHOLD if handle_impossible_answer else 1.0

        def one(example: Example) -> Any:
            found = self.pipeline(
                example["question"],
                example["context"],
                top_k=top_k,
                no_answer_threshold=threshold,
                max_answer_tokens=max_answer_len,
            ).answers
            answers = [Answer(**row) for row in found]
            return answers[0] if len(answers) == 1 else answers

        if len(examples) == 1:
            return one(examples[0])
        return in_parallel(one, examples, batch_size or self.engine.config.max_batch)


def _examples(data: Any, question: Any, context: Any) -> list[Example]:
    """The questions with their contexts, or BadRequest."""
    if data is not None:
        if question is not None or context is not None:
            raise BadRequest("Questions are given twice: give dicts, or question= and context=.")
        many = [data] if isinstance(data, Mapping) else list(data)
    else:
        if question is None or context is None:
            raise BadRequest("A question needs its context: give question= and context=, or a dict of the two.")
        questions = [question] if isinstance(question, str) else list(question)
        if isinstance(question, str) and not isinstance(context, str):
            raise BadRequest("There is one question and a list of contexts: give a list of questions too.")
        contexts = [context] * len(questions) if isinstance(context, str) else list(context)
        if len(questions) != len(contexts):
            raise BadRequest(
                f"There are {len(questions)} questions and {len(contexts)} contexts: give as many of each."
            )
        many = [{"question": q, "context": c} for q, c in zip(questions, contexts, strict=True)]
    if not many:
        raise BadRequest("There is no question: give one with its context.")
    for one in many:
        if not isinstance(one, Mapping) or not {"question", "context"} <= set(one):
            raise BadRequest("An example has no question or no context: give a dict with both.")
    return many
