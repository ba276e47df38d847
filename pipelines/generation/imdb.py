"""Generation measured on IMDB: how well the model predicts reviews, how its continuations compare with people's,
whether they can be steered, and whether reviews come back word for word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from engine.config import SamplingParams
from engine.measure.reviews import draw
from engine.measure.statistics import Figure, mean, ratio, share
from pipelines.evaluation import texts
from pipelines.evaluation.data import LABELS, Review, unique_reviews
from pipelines.evaluation.interface import Evaluation, Row, info_fields
from pipelines.evaluation.judge import judged, sentiment_judge
from pipelines.evaluation.options import Options
from pipelines.evaluation.paired import Measure
from pipelines.generation.pipeline import DEFAULT_PRESET, PRESETS, GenerationPipeline
from pipelines.generation.results import GenerationResult
from pipelines.overlap import words
from pipelines.prompt import is_chat

if TYPE_CHECKING:
    from engine.engine import Engine

CONTINUED = "continued/"  # of the ids of reviews whose beginning is continued
MAX_CONTINUED = 200
PREFIX_WORDS = 24
NEW_TOKENS = 64
MIN_WORDS = 16  # of a human continuation worth comparing with
# How a review is asked for that goes on from the words to be continued, and what stands before these where a model has
# no chat. They move the judge by 43 points [30, 55] and by 13 [0, 25] between "positive" and "negative" on 96 train
# reviews (docs/prompts.md).
ASKED = {
    "positive": "Write a very positive review of a movie that you loved. Say why it is wonderful.",
    "negative": "Write a very negative review of a movie that you hated. Say why it is terrible.",
}
BEFORE = {
    "positive": "I loved this movie. My glowing review, ten stars out of ten:\n\n",
    "negative": "I hated this movie. My scathing review, one star out of ten:\n\n",
}
WAYS = ("plain", *ASKED)
KNOWN, RECALLED = 50, 30  # tokens of the memorisation probe: given, and to come back word for word
GREEDY = SamplingParams(max_tokens=RECALLED, temperature=0.0, repetition_penalty=1.0)
MAX_BLEU_TEXTS = 100  # texts of self-BLEU, which is quadratic


def _gain(row: Row) -> float | None:
    """Whether the continuation towards positive was judged more positive than that towards negative: 1, 0 or -1."""
    return float(row["judge"]["positive"] - row["judge"]["negative"]) if "written" in row else None


class GenerationEvaluation(Evaluation[Options]):
    """The sample is read; reviews drawn apart are continued."""

    options = Options

    prompt = "\n".join(
        [
            f"The first {PREFIX_WORDS} words of at most {MAX_CONTINUED} reviews, to be continued: "
            f"{asdict(PRESETS[DEFAULT_PRESET])}.",
            *(
                f"{way}: {ASKED[way]!r}, and the model's answer begins with them; {BEFORE[way]!r} before them where it "
                "has no chat."
                for way in ASKED
            ),
            f"Memorisation: {KNOWN} tokens of a review, {RECALLED} greedy ones after them.",
        ]
    )
    reading = (
        "Bits per byte is over whole reviews (all their tokens but the first, which nothing precedes), corpus-level, "
        "and comparable across tokenizers; lower is better. Texts over the window are read in windows of its length "
        "that advance by half of it, and each token is counted once, with the longest text before it. Continuations "
        "are compared with the human one cut to as many words. Sentiment of a continuation is judged by TF-IDF + "
        "logistic regression fitted on train, of the words that were written alone."
    )

    measures = (
        Measure(
            "bits per byte",
            lambda row: row.get("bits"),
            margin=0.005,
            weight=lambda row: row["bytes"],
            higher=False,
            percent=False,
        ),
        Measure("steered difference", _gain, margin=0.05),
    )

    def __init__(self, engine: Engine, options: Options) -> None:
        self.engine = engine
        self.pipeline = GenerationPipeline(engine)
        self.params = replace(PRESETS[DEFAULT_PRESET], max_tokens=NEW_TOKENS, seed=options.seed)
        sentiment_judge()  # fitted now, so that the first review's time is its own

    @staticmethod
    def more(options: Options) -> list[Review]:
        """Reviews long enough to be continued, half of each label, drawn apart."""
        least = PREFIX_WORDS + MIN_WORDS
        long = [review for review in unique_reviews(options.split).reviews if len(review.text.split()) >= least]
        each = max(1, min(options.limit, MAX_CONTINUED) // 2)
        drawn = [draw([review for review in long if review.label == label], each, options.seed) for label in (1, 0)]
        return [
            Review(f"{CONTINUED}{review.id}", review.text, review.label)
            for pair in zip(*drawn, strict=False)
            for review in pair
        ]

    def run(self, review: Review) -> dict[str, Any]:
        return self._continue(review) if review.id.startswith(CONTINUED) else self._read(review)

    def _read(self, review: Review) -> dict[str, Any]:
        """Bits of a review, and how much of it comes back."""
        ids, offsets = self.engine.tokenizer.encode_with_offsets(review.text)
        row: dict[str, Any] = {
            "bits": self._bits(ids),
            "bytes": len(review.text[offsets[0][1] :].encode()),
            "tokens": len(ids),
            "timing": {},
            "shortened": None,
        }
        if len(ids) >= KNOWN + RECALLED:
            [found] = self.engine.generate([ids[:KNOWN]], GREEDY)
            wanted = ids[KNOWN : KNOWN + RECALLED]
            pairs = zip(found.token_ids, wanted, strict=False)
            row["recalled"] = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(found.token_ids), RECALLED))
        return row

    def _continue(self, review: Review) -> dict[str, Any]:
        pieces = review.text.split()
        prefix = " ".join(pieces[:PREFIX_WORDS])
        results = {way: self._continued(prefix, way) for way in WAYS}
        written = {way: result.generated_text.strip() for way, result in results.items()}
        human = " ".join(pieces[PREFIX_WORDS:][: max(MIN_WORDS, len(written["plain"].split()))])
        labels = judged([*written.values(), human])
        return {
            "prefix": prefix,
            "written": written,
            "human": human,
            "judge": dict(zip((*WAYS, "human"), labels, strict=True)),
            **info_fields(results["plain"].info),
        }

    def _continued(self, prefix: str, way: str) -> GenerationResult:
        if way != "plain" and is_chat(self.engine):
            return self.pipeline(ASKED[way], mode="chat", params=self.params, reply=prefix)
        return self.pipeline(BEFORE.get(way, "") + prefix, mode="continue", params=self.params)

    def _bits(self, ids: Sequence[int]) -> float:
        """Bits of all tokens but the first, each after as many before it as the windows give."""
        size = self.engine.info.max_context
        total, done, start = 0.0, 1, 0
        while done < len(ids):
            window = ids[start : start + size]
            [scored] = self.engine.logprobs([window])
            fresh = scored.logprobs[done - start - 1 :]  # entry i is of token i + 1
            total -= float(fresh.sum(dtype="float64")) / math.log(2)
            done = start + len(window)
            start += size // 2
        return total

    @staticmethod
    def figures(rows: Sequence[Row]) -> list[Figure]:
        pairs = [row for row in rows if "written" in row]
        rows = [row for row in rows if "bits" in row]
        both = [_same_length(row["written"]["plain"], row["human"]) for row in pairs]
        probed = [row["recalled"] for row in rows if "recalled" in row]
        figures = [
            ratio("bits per byte", [row["bits"] for row in rows], [row["bytes"] for row in rows]),
            mean("steered: judged positive, positive less negative", [_gain(row) or 0.0 for row in pairs],
                 percent=True, note="points"),
            *(share(f"judged positive, {name}", [bool(row["judge"][name]) for row in pairs])
              for name in (*WAYS, "human")),
            share("judge right on the human continuation", [row["judge"]["human"] == row["label"] for row in pairs]),
        ]  # fmt: skip
        for n in (1, 2, 3):
            figures += [
                mean(f"distinct-{n}", [texts.distinct(model, n) for model, _ in both]),
                mean(f"distinct-{n}, human", [texts.distinct(human, n) for _, human in both]),
            ]
        return [
            *figures,
            mean("repeated 4-grams", [texts.repeated(model, 4) for model, _ in both], percent=True),
            mean("repeated 4-grams, human", [texts.repeated(human, 4) for _, human in both], percent=True),
            _self_bleu("self-BLEU", [model for model, _ in both]),
            _self_bleu("self-BLEU, human", [human for _, human in both]),
            share("empty continuations", [not row["written"]["plain"] for row in pairs]),
            share("ended by itself", [row["timing"]["finish_reason"] == "stop" for row in pairs],
                  note=f"in {NEW_TOKENS} tokens"),
            share(f"{RECALLED} tokens recalled", [found == RECALLED for found in probed], note="memorisation"),
            mean("tokens recalled", probed, note="before the first that differs"),
            mean("decode tokens/s", [row["timing"]["decode_tokens_per_s"] for row in pairs]),
        ]  # fmt: skip

    @staticmethod
    def example(rows: Sequence[Row]) -> str:
        row = next((row for row in rows if "written" in row), None)
        if row is None:
            return "(no review was continued yet)"
        start = f"{row['id']} ({LABELS[row['label']]}): {row['prefix']}"
        written = [f"Model, {name}: {text}" for name, text in row["written"].items()]
        return "\n\n".join([start, *written, f"Human: {row['human']}"])


def _self_bleu(name: str, written: Sequence[str]) -> Figure:
    """Mean BLEU of each text against the others (Zhu et al. 2018): how alike the texts of a run are. No interval:
    each text is in every other's score."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    bags = [words(text) for text in written[:MAX_BLEU_TEXTS]]
    bags = [bag for bag in bags if bag]
    smooth = SmoothingFunction().method1
    scores = [sentence_bleu(bags[:i] + bags[i + 1 :], bag, smoothing_function=smooth) for i, bag in enumerate(bags)]
    value = sum(scores) / len(scores) if len(scores) > 1 else math.nan
    return Figure(name, value, None, None, len(scores), "", note=f"of the first {MAX_BLEU_TEXTS}")


def _same_length(first: str, second: str) -> tuple[str, str]:
    """Both cut to the words of the shorter: distinct-n falls with length."""
    a, b = words(first), words(second)
    n = min(len(a), len(b))
    return " ".join(a[:n]), " ".join(b[:n])
