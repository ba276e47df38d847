"""Generation measured on IMDB: how well the model predicts reviews, and how its continuations compare with people's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from pipelines.evaluation import texts
from pipelines.evaluation.data import LABELS, Review
from pipelines.evaluation.runner import Row, info_fields
from pipelines.evaluation.statistics import Figure, mean, ratio, share
from pipelines.generation.pipeline import DEFAULT_PRESET, PRESETS, GenerationPipeline
from pipelines.results import Shortened

if TYPE_CHECKING:
    from engine.engine import Engine

PREFIX_WORDS = 32
NEW_TOKENS = 64
LEAST_WORDS = 16  # of a human continuation worth comparing with


class GenerationEvaluation:
    """See `pipelines.evaluation.runner.Evaluation`."""

    prompt = (
        f"The first {PREFIX_WORDS} words of a review, as they are, to be continued: {asdict(PRESETS[DEFAULT_PRESET])}"
    )
    reading = (
        "Bits per byte is over whole reviews (all their tokens but the first, which nothing precedes), "
        "corpus-level, and "
        "comparable across tokenizers; lower is better. Continuations are compared with the human one cut to as "
        "many words."
    )

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine = engine
        self.pipeline = GenerationPipeline(engine)
        self.params = replace(PRESETS[DEFAULT_PRESET], max_tokens=NEW_TOKENS, seed=seed)

    def run(self, review: Review) -> dict[str, Any]:
        text, shortened = self._head(review.text)
        [scored] = self.engine.logprobs([text])
        first = self.engine.tokenizer.decode([int(scored.token_ids[0])])
        row: dict[str, Any] = {
            "bits": float(-scored.logprobs.sum(dtype="float64") / math.log(2)),
            "bytes": len(text.encode()) - len(first.encode()),
            "tokens": len(scored.token_ids),
            "continuation": None,
            "timing": None,
        }
        pieces = review.text.split()
        if len(pieces) >= PREFIX_WORDS + LEAST_WORDS:
            prefix = " ".join(pieces[:PREFIX_WORDS])
            result = self.pipeline(prefix, mode="continue", params=self.params)
            row["prefix"], row["continuation"] = prefix, result.generated_text.strip()
            row["human"] = " ".join(pieces[PREFIX_WORDS:][: max(LEAST_WORDS, len(result.generated_text.split()))])
            row |= info_fields(result.info)
        row["shortened"] = shortened.to_dict() if shortened else None
        return row

    def _head(self, text: str) -> tuple[str, Shortened | None]:
        """The start of a review that is longer than the window: a likelihood needs a text without a gap."""
        _, offsets = self.engine.tokenizer.encode_with_offsets(text)
        most = self.engine.info.max_context - 1  # a tokenizer may put a token before the text
        return (text, None) if len(offsets) <= most else (text[: offsets[most - 1][1]], Shortened(len(offsets), most))

    @staticmethod
    def figures(rows: Sequence[Row]) -> list[Figure]:
        pairs = [row for row in rows if row["continuation"] is not None]
        both = [_same_length(row["continuation"], row["human"]) for row in pairs]
        return [
            ratio("bits per byte", [row["bits"] for row in rows], [row["bytes"] for row in rows]),
            mean("distinct-2", [texts.distinct(model, 2) for model, _ in both]),
            mean("distinct-2, human", [texts.distinct(human, 2) for _, human in both]),
            mean("repeated 4-grams", [texts.repeated(model, 4) for model, _ in both], percent=True),
            mean("repeated 4-grams, human", [texts.repeated(human, 4) for _, human in both], percent=True),
            share("empty continuations", [not row["continuation"] for row in pairs]),
            share(
                "ended by itself",
                [row["timing"]["finish_reason"] == "stop" for row in pairs],
                note=f"in {NEW_TOKENS} tokens",
            ),
            mean("decode tokens/s", [row["timing"]["decode_tokens_per_s"] for row in pairs]),
        ]

    @staticmethod
    def example(rows: Sequence[Row]) -> str:
        row = next((row for row in rows if row["continuation"]), None)
        if row is None:
            return "(no review of this sample is long enough to be continued)"
        start = f"{row['id']} ({LABELS[row['label']]}): {row['prefix']}"
        return f"{start}\n\nModel: {row['continuation']}\n\nHuman: {row['human']}"


def _same_length(first: str, second: str) -> tuple[str, str]:
    """Both cut to the words of the shorter: distinct-n falls with length."""
    a, b = texts.words(first), texts.words(second)
    n = min(len(a), len(b))
    return " ".join(a[:n]), " ".join(b[:n])
