"""`summarization`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from brisk.calls.common import Calls, check_truncation
from engine.errors import BadRequest
from pipelines.summarization.pipeline import Bounds, SummarizationPipeline
from pipelines.summarization.prompts import LENGTHS, LengthName
from pipelines.text import sentence_spans

USUAL = LENGTHS["medium"]
GREEDY = "summaries are greedy, the same each time"
REASONS = {
    "num_beams": GREEDY,
    "temperature": GREEDY,
    "top_k": GREEDY,
    "top_p": GREEDY,
    "length_penalty": GREEDY,
    "early_stopping": GREEDY,
    "return_tensors": "summaries are text",
}


class Summary(TypedDict):
    """One summary."""

    summary_text: str


class Summarization(Calls[SummarizationPipeline]):
    """Summaries, as Transformers 4's `pipeline("summarization")` gave them.

    It differs in what is read: a text over the window is read in parts whose summaries are summarized again, where
    Transformers cut it off. What a causal model wrote is held against its text, and sentences of the text take the
    place of what does not hold. Half a sentence at the end is left out, so a summary may be shorter than `min_length`.
    """

    task = "summarization"
    makes = SummarizationPipeline

    def __call__(
        self,
        documents: str | Sequence[str],
        *,
        max_length: int | None = None,
        min_length: int | None = None,
        max_new_tokens: int | None = None,
        min_new_tokens: int | None = None,
        do_sample: bool = False,
        truncation: bool | str | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        batch_size: int | None = None,
        **others: object,
    ) -> list[Summary]:
        """A summary of each text.

        Parameters
        ----------
        documents : a text, or a list of them.
        max_length, max_new_tokens : most tokens of a summary; the second wins. None: 128.
        min_length, min_new_tokens : tokens before which the model may not end; the second wins. None: 24 at most.
        do_sample : only False, for summaries are greedy.
        truncation : True and None mean the same: a text is read in parts, and nothing is cut. False is refused.
        clean_up_tokenization_spaces : changes nothing, for no tokenizer here leaves such spaces.
        batch_size : texts that run together; None leaves it to the engine.

        Returns
        -------
        `[{"summary_text"}]`, one dict a text.

        Raises
        ------
        BadRequest : an empty text, lengths out of range, or an argument that cannot be honoured.
        """
        self._refuse(others, REASONS)
        check_truncation(self.task, truncation)
        if do_sample:
            raise BadRequest(f"{self.task} cannot honour 'do_sample': {GREEDY}.")
        most = max_length if max_new_tokens is None else max_new_tokens
        least = min_length if min_new_tokens is None else min_new_tokens
        if most is not None and most < 1:
            raise BadRequest(f"max_length is {most}: give 1 token or more.")
        if least is not None and not 0 <= least <= (most or USUAL.max_tokens):
            raise BadRequest(f"min_length is {least}: give 0 to max_length.")
        length: LengthName = "medium"
        bounds: Bounds | None = None
        if most is not None or least is not None:
            most = most or USUAL.max_tokens
            length = _nearest(most)
            bounds = (min(LENGTHS[length].min_tokens, most // 4) if least is None else least, most)

        def one(text: str) -> Summary:
            found = self.pipeline(text, length=length, bounds=bounds)
            return Summary(summary_text=self._at_most(found.summary_text, most))

        result = self._each(documents, one, batch_size)
        return [result] if isinstance(documents, str) else result

    def _at_most(self, text: str, most: int | None) -> str:
        """The sentences that fit in `most` tokens, or the beginning of the first where none does."""
        tokenizer = self.engine.tokenizer
        _, offsets = tokenizer.encode_with_offsets(text)
        if most is None or len(offsets) <= most:
            return text
        reach = offsets[most - 1][1]
        ends = [end for _, end in sentence_spans(text) if end <= reach]
        return text[: ends[-1] if ends else reach].strip()


def _nearest(most: int) -> LengthName:
    """The length that asks for about as many tokens."""
    return min(LENGTHS, key=lambda name: abs(LENGTHS[name].max_tokens - most))
