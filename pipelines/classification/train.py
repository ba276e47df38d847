"""`python -m pipelines.classification.train`: a head for any labelled texts, fitted on the engine's features.

Which layer is read, how strongly weights are held small and how much turned texts count are chosen by cross-validation
on the rows given, so the figures it prints are of rows it was not fitted on; the test split is never read. Texts come
from IMDB's train split, or from a CSV or JSONL file. The head is written as NAME.json and NAME.safetensors, whose path
is the last line printed.
"""

from __future__ import annotations

import datetime
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from engine.config import EngineConfig
from engine.errors import UserError
from pipelines.classification.heads import FOLDER, READINGS, Head, Reading, read_features, save_head
from pipelines.classification.opposites import opposite
from pipelines.classification.regression import FOLDS, Counterfactuals, fit
from pipelines.classification.rows import Row, labels_of, read_rows
from pipelines.cli import load_engine, run_app, say, with_engine_options

if TYPE_CHECKING:
    from engine.engine import Engine

MAX_ACCURACY_LOSS = 0.01  # for a head that leans on what is said rather than on what it is said of

app = typer.Typer(help=__doc__, add_completion=False, rich_markup_mode=None)


@app.command(help=__doc__)
@with_engine_options
def train(
    config: EngineConfig,
    name: Annotated[str, typer.Option(help="Name of the head.")],
    data: Annotated[str, typer.Option(help="imdb, or a .csv or .jsonl file with a text and a label a row.")] = "imdb",
    text_column: Annotated[str, typer.Option(help="Column of the file that holds the texts.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column of the file that holds the labels.")] = "label",
    rows: Annotated[int, typer.Option(help="Reviews of IMDB's train split, half of each label.")] = 5000,
    seed: Annotated[int, typer.Option(help="Seed of the draw and of the folds.")] = 0,
    layers: Annotated[str, typer.Option(help="To choose among, with commas between.")] = "12,16,20,24",
    choose_on: Annotated[int, typer.Option(help="Rows that the layer is chosen on.")] = 1000,
    tokens: Annotated[int, typer.Option(help="Most tokens read of a text: its head and its tail.")] = 256,
    reading: Annotated[
        str, typer.Option(help="last: the state after zero-shot's instruction; mean: of the bare text.")
    ] = "last",
    turned: Annotated[
        str,
        typer.Option(help="Weights of texts turned to their opposite, to choose among; for positive and negative."),
    ] = "0",
    leave_out: Annotated[
        Path | None, typer.Option(help="Parquet of contrast pairs, whose originals stand in IMDB's train split.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of the head.")] = FOLDER,
) -> None:
    """Fits a head and writes it.

    Parameters
    ----------
    config : the engine whose features are read.
    name, output : the head becomes `output/name.json` and `.safetensors`.
    data, text_column, label_column : "imdb", or a file and its columns.
    rows, seed : how many of IMDB's train reviews are drawn, and how.
    layers, choose_on : the layers to choose among, on the first so many rows.
    tokens, reading : as in `Head`.
    turned : weights of turned texts to choose among.
    leave_out : contrast pairs whose originals are not trained on.

    Raises
    ------
    UserError : an option out of range, or data that no head can be fitted on.
    """
    candidates = _numbers(layers)
    weights = _weights(turned)
    if reading not in READINGS:
        raise UserError(f"The reading '{reading}' is unknown: choose {' or '.join(READINGS)}.")
    if tokens < 16:
        raise UserError(f"--tokens is {tokens}: give 16 or more.")
    if choose_on < FOLDS * 2:
        raise UserError(f"--choose-on is {choose_on}: give {FOLDS * 2} or more rows.")
    given, source = (
        _imdb(rows, seed, leave_out) if data == "imdb" else (read_rows(Path(data), text_column, label_column), data)
    )
    labels = labels_of(given)
    if max(weights) and labels != ["negative", "positive"]:
        raise UserError(f"--turned needs the labels negative and positive, and these are {', '.join(labels)}.")
    read: Reading = "mean" if reading == "mean" else "last"
    engine = load_engine(config)
    began = time.perf_counter()
    gold = np.array([labels.index(row.label) for row in given])
    some = np.random.default_rng(seed).permutation(len(given))[: min(choose_on, len(given))]
    tried = {layer: _features(engine, [given[i].text for i in some], layer, tokens, read) for layer in candidates}
    scores = {layer: fit(features, gold[some], seed)[1] for layer, features in tried.items()}
    for layer, score in scores.items():
        say(f"layer {layer}: accuracy {score['accuracy']:.3f}, log loss {score['log_loss']:.3f} on {len(some):,} rows")
    layer = min(scores, key=lambda one: scores[one]["log_loss"])
    features = _features(engine, [row.text for row in given], layer, tokens, read)
    opposites = [(i, text) for i, row in enumerate(given) if max(weights) and (text := opposite(row.text)) is not None]
    counterfactuals = None
    if opposites:
        read_twins = _features(engine, [text for _, text in opposites], layer, tokens, read)
        counterfactuals = Counterfactuals(np.array([i for i, _ in opposites]), read_twins)
    reached = {one: fit(features, gold, seed, counterfactuals, one) for one in weights}
    for one, (_, score) in reached.items():
        say(f"turned {one:g}: accuracy {score['accuracy']:.3f}, log loss {score['log_loss']:.3f}, of texts as they are")
    most = max(score["accuracy"] for _, score in reached.values())
    chosen = max(one for one, (_, score) in reached.items() if score["accuracy"] >= most - MAX_ACCURACY_LOSS)
    (weight, bias), held_out = reached[chosen]
    facts = {
        "rows": len(given), "drawn": rows if data == "imdb" else None, "seed": seed, "source": source,
        "precision": engine.info.precision, "prefill": engine.info.prefill, "held_out": held_out,
        "turned": chosen, "turned_tried": {f"{one:g}": score for one, (_, score) in reached.items()},
        "layers_tried": {str(one): score for one, score in scores.items()},
        "command": shlex.join(["python", "-m", "pipelines.classification.train", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began),
    }  # fmt: skip
    head = Head(name, engine.info.model, layer, tokens, read, tuple(labels), weight, bias, facts)
    path = save_head(head, output)
    say(
        f"Layer {layer} of {engine.info.layers}: accuracy {held_out['accuracy']:.3f}, log loss "
        f"{held_out['log_loss']:.3f} on the rows left out in {FOLDS} folds of {len(given):,}."
    )
    print(path, flush=True)


def _features(engine: Engine, texts: Sequence[str], layer: int, tokens: int, reading: Reading) -> np.ndarray:
    """f32 [n, D]."""
    from tqdm import tqdm

    bar = tqdm(texts, f"layer {layer}", unit=" texts", file=sys.stderr, dynamic_ncols=True, disable=None)
    return np.stack([read_features(engine, text, layer, tokens, reading)[0] for text in bar])


def _numbers(layers: str) -> list[int]:
    try:
        found = sorted({int(layer) for layer in layers.split(",")})
    except ValueError as error:
        raise UserError(f"--layers is '{layers}': give numbers with commas between, such as 12,16.") from error
    return found


def _weights(turned: str) -> list[float]:
    try:
        found = sorted({float(weight) for weight in turned.split(",")})
    except ValueError as error:
        raise UserError(f"--turned is '{turned}': give numbers with commas between, such as 0,0.25.") from error
    if not all(0 <= weight <= 1 for weight in found):
        raise UserError(f"--turned is '{turned}': give weights from 0 to 1.")
    return found


def _imdb(rows: int, seed: int, leave_out: Path | None) -> tuple[list[Row], str]:
    from pipelines.classification.contrast import read_contrast
    from pipelines.evaluation.data import LABELS, balanced_sample, without

    originals = [pair.original for pair in read_contrast(leave_out)] if leave_out else []
    drawn = balanced_sample("train", rows, seed).reviews
    kept = without(drawn, originals)
    source = f"IMDB train, {rows:,} reviews, seed {seed}"
    if leave_out:
        source += f", without {len(drawn) - len(kept)} that are originals of contrast pairs"
    return [Row(review.text, LABELS[review.label], review.id) for review in kept], source


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_app(app, arguments)


if __name__ == "__main__":
    sys.exit(main())
