"""Sentiment on IMDB: zero-shot, raw and calibrated, and a trained head, beside what needs no language model."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from engine.errors import BadRequest, UserError
from engine.measure import statistics
from engine.measure.statistics import Figure, auc, mean, share
from pipelines.classification.contrast import PREFIX, read_contrast
from pipelines.classification.heads import head_names, load_head
from pipelines.classification.pipeline import ClassificationPipeline
from pipelines.classification.templates import CONTENT_FREE, INSTRUCTION
from pipelines.evaluation.data import LABELS, Review
from pipelines.evaluation.interface import Evaluation, Row, info_fields
from pipelines.evaluation.judge import baseline, sentiment_judge
from pipelines.evaluation.options import Options, option
from pipelines.evaluation.paired import Measure
from pipelines.evaluation.picture import Probabilities
from pipelines.evaluation.runner import ROWS_FILE, read_rows

if TYPE_CHECKING:
    from engine.engine import Engine

# What says P(positive) of a review, by the key of its row.
KINDS = {
    "raw": "zero-shot, raw",
    "calibrated": "zero-shot, calibrated",
    "pmi": "zero-shot, domain PMI",
    "threshold": "zero-shot, threshold of train",
    "platt": "zero-shot, Platt of train",
    "head": "trained head",
    "tfidf_same": "TF-IDF, the head's rows",
    "tfidf": "TF-IDF, all of train",
}
DOMAIN = "A movie review."  # of PMI (Holtzman et al. 2021): how likely a label is where nothing is known but that
LENGTHS = ((0, 128), (129, 256), (257, 10**9))  # words
WORST = 20


def _hit(row: Row, kind: str) -> bool:
    return (row[kind] >= 0.5) == bool(row["label"])


def _right(kind: str) -> Measure:
    def right(row: Row) -> float | None:
        return float(_hit(row, kind)) if kind in row and not _is_contrast(row) else None

    return Measure(f"accuracy, {KINDS[kind]}", right, margin=0.01)


def _best_kind(row: Row) -> str:
    return next(kind for kind in ("head", "calibrated", "raw") if kind in row)


def _is_contrast(row: Row) -> bool:
    return str(row["id"]).startswith(PREFIX)


@dataclass(frozen=True)
class ClassificationOptions(Options):
    """Beside the usual ones.

    Attributes
    ----------
    head : name or path of a trained head; None takes that of the model where Brisk has one, "" none.
    fit : folder of a run on train, from which a threshold is fitted to zero-shot.
    contrast : Parquet file of contrast pairs.
    """

    head: str | None = field(default=None, metadata=option("trained head, or ''.", kind=str))
    fit: Path | None = field(default=None, metadata=option("run to fit a threshold on."))
    contrast: Path | None = field(default=None, metadata=option("Parquet of contrast pairs."))


class ClassificationEvaluation(Evaluation[ClassificationOptions]):
    """Every kind in `KINDS` is a probability of "positive"."""

    options = ClassificationOptions

    measures = tuple(_right(kind) for kind in ("head", "calibrated", "raw"))

    prompt = (
        f"{{text}}{INSTRUCTION}\n\nwith {' / '.join(LABELS)} scored as the next word; "
        f"content-free inputs: {CONTENT_FREE!r}; "
        "a trained head reads the bare text, or the state behind the same words, as its file says"
    )
    reading = (
        "Zero-shot: nothing was fitted, but where it says 'of train'. With two labels calibration (Zhao et al. 2021), "
        "PMI (Holtzman et al. 2021) and a threshold move the same cut, so the AUC is the same; a gap between AUC and "
        "accuracy is what a better threshold could win. The trained head and both TF-IDF baselines were fitted on "
        "train. ECE: ten bins of equal mass over P(positive)."
    )

    def __init__(self, engine: Engine, options: ClassificationOptions) -> None:
        self.pipeline = ClassificationPipeline(engine)
        self.domain: np.ndarray | None = None
        self.cuts = fitted_cuts(options.fit, engine.config.precision) if options.fit else {}
        name = options.head
        if name is None:
            name = next(iter(head_names(engine.info.model)), None)
        self.head = load_head(name) if name else None
        self.baselines = {"tfidf": sentiment_judge()}
        if self.head is not None:
            self.head.check(engine)
            _positive(dict.fromkeys(self.head.labels, 0.0))
            if drawn := self.head.facts.get("drawn"):
                self.baselines["tfidf_same"] = baseline(drawn, self.head.facts["seed"])

    @staticmethod
    def more(options: ClassificationOptions) -> list[Review]:
        pairs = read_contrast(options.contrast) if options.contrast else []
        return [review for pair in pairs for review in pair.reviews()]

    def run(self, review: Review) -> dict[str, Any]:
        row: dict[str, Any] = {"words": len(review.text.split())}
        if self.pipeline.engine.info.kind == "classification":
            row |= self._by_model(review)
        else:
            if self.domain is None:
                self.domain = self.pipeline.judge(DOMAIN, LABELS).logprobs
                self.pipeline.engine.reset_prefix_cache()  # a first row is read like any other
            judgement = self.pipeline.judge(review.text, LABELS)
            margin = float(judgement.logprobs[1] - judgement.logprobs[0])
            row |= {"margin": margin, "raw": float(judgement.raw[1]), "calibrated": float(judgement.calibrated[1])}
            row["pmi"] = float(expit(margin - (self.domain[1] - self.domain[0])))
            row |= {kind: float(expit(slope * margin + shift)) for kind, (slope, shift) in self.cuts.items()}
            row |= info_fields(judgement.info)
        if self.head is not None:
            began = time.perf_counter()
            result = self.pipeline(review.text, head=self.head)
            row["timing"]["head_s"] = round(time.perf_counter() - began, 4)
            row["head"] = _positive({score["label"]: score["score"] for score in result.scores})
            row["head_shortened"] = result.info.shortened.to_dict() if result.info.shortened else None
        row |= {kind: float(model.predict_proba([review.text])[0, 1]) for kind, model in self.baselines.items()}
        return {**row, "review": review.text}

    def _by_model(self, review: Review) -> dict[str, Any]:
        """A trained classifier's own labels."""
        result = self.pipeline(review.text)
        return {"raw": _positive({row["label"]: row["score"] for row in result.scores}), **info_fields(result.info)}

    @staticmethod
    def figures(rows: Sequence[Row]) -> list[Figure]:
        pairs = [row for row in rows if _is_contrast(row)]
        rows = [row for row in rows if not _is_contrast(row)]
        gold = [row["label"] for row in rows]
        groups = statistics.films(rows)
        [(majority, _)] = Counter(gold).most_common(1)
        figures = [share("accuracy, majority", [y == majority for y in gold], note=f"always {LABELS[majority]}")]
        for kind, name in KINDS.items():
            if kind not in rows[0]:
                continue
            scores = [row[kind] for row in rows]
            hits = [_hit(row, kind) for row in rows]
            figures += [
                share(f"accuracy, {name}", hits, groups=groups),
                statistics.macro_f1(f"macro-F1, {name}", gold, [int(score >= 0.5) for score in scores], groups=groups),
                auc(f"AUC, {name}", gold, scores, groups=groups),
                share(f"said positive, {name}", [score >= 0.5 for score in scores], groups=groups),
                statistics.calibration_error(f"ECE-10, {name}", gold, scores, groups=groups),
                mean(f"Brier, {name}", [(score - y) ** 2 for score, y in zip(scores, gold, strict=True)],
                     groups=groups),
            ]  # fmt: skip
            figures += _contrast(pairs, kind, name)
        if "head" in rows[0]:
            figures += _more_of_the_head(rows)
        return [*figures, mean("prefill tokens/s", [row["timing"]["prefill_tokens_per_s"] for row in rows])]

    @staticmethod
    def probabilities(rows: Sequence[Row]) -> Probabilities:
        own = [row for row in rows if not _is_contrast(row)]
        kind = _best_kind(own[0])
        return Probabilities(KINDS[kind], LABELS, [row["label"] for row in own], [row[kind] for row in own])

    @staticmethod
    def example(rows: Sequence[Row]) -> str:
        row = rows[0]
        said = ", ".join(f"{name} {row[kind]:.3f}" for kind, name in KINDS.items() if kind in row)
        lines = [f"{row['id']} ({LABELS[row['label']]}): {row['review']}", "", f"P(positive): {said}"]
        kind = _best_kind(row)
        wrong = sorted((row for row in rows if not _hit(row, kind)), key=lambda row: -abs(row[kind] - 0.5))[:WORST]
        lines += ["", f"The worst errors ({KINDS[kind]}):"]
        for row in wrong:
            begin = " ".join(row["review"].split())[:160]
            lines.append(f"{row['id']} ({LABELS[row['label']]}), P(positive) {row[kind]:.3f}: {begin}")
        return "\n".join(lines)


def fitted_cuts(folder: Path, precision: str) -> dict[str, tuple[float, float]]:
    """Slope and shift of the log-odds' margin, from the rows of a run on train: "threshold" cuts where most of them are
    right, "platt" is a logistic regression (Platt 1999). UserError where the rows are not of train, or too few."""
    from sklearn.linear_model import LogisticRegression

    rows = [row for row in read_rows(folder / ROWS_FILE) if row.get("precision") == precision and "margin" in row]
    rows = [row for row in rows if not _is_contrast(row)]
    labels = {row["label"] for row in rows}
    if labels != {0, 1} or not all(str(row["id"]).startswith("train/") for row in rows):
        raise UserError(
            f"{folder} does not hold zero-shot rows of the train split in {precision}: run --task classification "
            f"--split train --precision {precision} first."
        )
    margins, gold = np.array([row["margin"] for row in rows]), np.array([row["label"] for row in rows])
    order = np.argsort(margins)
    above = np.concatenate([[0], np.cumsum(gold[order] == 0)])  # right where the cut lies behind so many
    right = above + np.concatenate([np.cumsum((gold[order] == 1)[::-1])[::-1], [0]])
    best = int(np.argmax(right))
    edges = np.concatenate([[margins.min() - 1], np.sort(margins), [margins.max() + 1]])
    cut = float(edges[best : best + 2].mean())
    platt = LogisticRegression(C=1e6).fit(margins[:, None], gold)
    return {"threshold": (1.0, -cut), "platt": (float(platt.coef_[0, 0]), float(platt.intercept_[0]))}


def _contrast(pairs: Sequence[Row], kind: str, name: str) -> list[Figure]:
    """Accuracy on changed texts, and on pairs as wholes (Gardner et al. 2020)."""
    found: dict[str, dict[str, bool]] = {}
    for row in pairs:
        _, pair, which = str(row["id"]).split("/")
        found.setdefault(pair, {})[which] = _hit(row, kind)
    whole = [hits for hits in found.values() if len(hits) == 2]
    if not whole:
        return []
    return [
        share(f"contrast originals, {name}", [hits["original"] for hits in whole],
              note="fitted on them too" if kind.startswith("tfidf") else ""),
        share(f"contrast accuracy, {name}", [hits["contrast"] for hits in whole]),
        share(f"contrast consistency, {name}", [all(hits.values()) for hits in whole], note="both right"),
    ]  # fmt: skip


def _more_of_the_head(rows: Sequence[Row]) -> list[Figure]:
    hits, scores = [_hit(row, "head") for row in rows], [row["head"] for row in rows]
    figures = [
        statistics.surest(f"accuracy, trained head, surest {part:.0%}", hits, scores, part) for part in (0.5, 0.8)
    ]  # fmt: skip
    for low, high in LENGTHS:
        own = [_hit(row, "head") for row in rows if low <= row["words"] <= high]
        figures.append(share(f"accuracy, trained head, {low} to {high} words" if high < 10**9 else
                             f"accuracy, trained head, {low} words and more", own))  # fmt: skip
    starred = [row for row in rows if "stars" in row]
    if starred:
        stars = [float(row["stars"]) for row in starred]
        figures.append(
            statistics.rank_correlation("Spearman with stars, trained head", [row["head"] for row in starred], stars)
        )
    seconds = [row["timing"]["head_s"] for row in rows]
    return [
        *figures,
        share("texts shortened for the head", [bool(row["head_shortened"]) for row in rows]),
        statistics.ratio("reviews/s, trained head", [1.0] * len(rows), seconds, note="one at a time"),
    ]


def _positive(scores: Mapping[str, float]) -> float:
    """The score of the label that names the positive class, whatever its case; LABEL_1 by convention."""
    lower = {label.lower(): score for label, score in scores.items()}
    named = [label for label in lower if label in ("label_1", "1") or label.startswith("pos")]
    if len(lower) != 2 or len(named) != 1:
        raise BadRequest(f"The labels {', '.join(sorted(lower))} are not a positive and a negative one: IMDB has both.")
    return lower[named[0]]
