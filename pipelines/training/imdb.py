"""IMDB for training, and what a trained model reaches on its test split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.measure.reviews import Split, clean_review, draw, read_unlabelled
from engine.measure.statistics import share
from pipelines.classification.contrast import read_contrast
from pipelines.classification.rows import Row
from pipelines.evaluation.data import LABELS, balanced_sample, load_reviews, text_key, unique_reviews, without
from pipelines.question_answering.imdb import RATING, stated_ratings
from pipelines.training.lessons import Lesson

if TYPE_CHECKING:
    from pipelines.training.options import TransformerOptions
    from pipelines.training.transformer import Trained

SHORT = 1_800  # characters of a review that is asked for its rating
FEW = 40  # texts that a model of GPT-2's size is measured on


def imdb_rows(split: Split, count: int, seed: int, leave_out: Path | None = None) -> tuple[list[Row], str]:
    """Reviews as rows, and the sentence that says which.

    Parameters
    ----------
    split : "train", or "test" without what stands in train.
    count : half of each label in random order; 0 takes every text once, in published order.
    seed : of the draw.
    leave_out : contrast pairs whose originals are left out.
    """
    drawn = (balanced_sample(split, count, seed) if count else unique_reviews(split)).reviews
    kept = without(drawn, [pair.original for pair in read_contrast(leave_out)]) if leave_out else drawn
    rows = [Row(review.text, LABELS[review.label], review.id, review.film or "") for review in kept]
    source = f"IMDB {split}, {len(rows):,} reviews{f', seed {seed}' if count else ', each text once'}"
    if leave_out:
        source += f", without {len(drawn) - len(kept)} originals of contrast pairs"
    return rows, source


def unlabelled_rows(count: int) -> tuple[list[Row], str]:
    """The first `count` reviews without a label, each text once and none that stands in train or test; 0 takes all.
    Their label is empty."""
    raw, source = read_unlabelled()
    seen = {text_key(review.text) for split in ("train", "test") for review in load_reviews(split)[0]}
    rows: list[Row] = []
    for i, text in enumerate(map(clean_review, raw)):
        if (key := text_key(text)) and key not in seen:
            seen.add(key)
            rows.append(Row(text, "", f"unsupervised/{i}"))
    rows = rows[: count or None]
    return rows, f"{source}, {len(rows):,} reviews without a label, each text once, none of train or test"


def imdb_lessons(count: int, seed: int, leave_out: Path | None) -> tuple[list[Lesson], str]:
    """Reviews of train with their labels as lessons of classification, and the sentence that says which.

    Parameters
    ----------
    count, seed, leave_out : as for `imdb_rows`.

    Returns
    -------
    Lessons of which those about one film stay together, and the sentence.
    """
    rows, source = imdb_rows("train", count, seed, leave_out)
    return [Lesson(row.text, "", row.label, row.name, row.about) for row in rows], source


def rating_lessons(count: int, seed: int) -> list[Lesson]:
    """Reviews of train that are asked for their rating, two of three state one; the short ones alone."""
    asked = ("What is the rating?", "How many points out of ten does it get?", "Which score does the writer give?")
    found = [review for review in unique_reviews("train").reviews if len(review.text) < SHORT]
    lessons, left = [], {True: count - count // 3, False: count // 3}
    for i, review in enumerate(draw(found, len(found), seed)):
        stated = stated_ratings(review.text)
        if left[bool(stated)] and len(stated) < 3:
            left[bool(stated)] -= 1
            question = RATING if i % 2 else asked[i // 2 % len(asked)]
            answer = stated[-1].group() if stated else ""
            lessons.append(Lesson(review.text, question, answer, review.id, review.film or ""))
    return lessons


def report(trained: Trained, options: TransformerOptions, count: int) -> list[str]:
    """Sentences about a trained model on the clean test split.

    Parameters
    ----------
    trained : what `train_transformer` gave.
    options : its kind counts.
    count : reviews, half of each label.
    """
    from dataclasses import replace

    from engine.training.data import Packed, pack
    from engine.training.transformer import Sizes, Transformer
    from engine.training.vocabulary import END_ID
    from pipelines.training.objectives import bits_a_byte, predict

    rows, source = imdb_rows("test", count, 0)
    texts = [row.text for row in rows]
    if options.kind == "classification":
        found = predict(trained.model, trained.encode(texts)).argmax(-1)
        hits = [trained.labels[label] == row.label for label, row in zip(found, rows, strict=True)]
        figure = share("accuracy", hits)
        return [f"{source}: accuracy {figure.text()} {figure.interval()}, n = {len(hits):,}."]
    ids = trained.encode(texts)
    ours = bits_a_byte(trained.model, ids, texts)
    sizes: Sizes = replace(trained.model.sizes, embedding=768, heads=12, layers=12, feed_forward=3072)  # GPT-2's
    untrained = Transformer(sizes, seed=0).eval()
    few = bits_a_byte(untrained, ids[:FEW], texts[:FEW])
    own = bits_a_byte(trained.model, ids[:FEW], texts[:FEW])
    windows = Packed(pack(ids, END_ID), sizes.context, 1).windows
    return [
        f"{source}: {ours:.4f} bits a byte over {windows:,} windows of {sizes.context} tokens.",
        f"The first {FEW} of them: {own:.4f}; GPT-2's shape untrained, on the same tokens: {few:.4f}.",
    ]
