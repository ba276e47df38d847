"""`brisk train`: a Transformer from nothing, on IMDB or on a file of labelled texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.errors import BadRequest
from engine.measure.command import say
from pipelines.training.options import CONFIGS, changed, config, listed


def train(
    config_name: Annotated[str, typer.Option("--config", help=f"{', '.join(CONFIGS)}.")] = "imdb-transformer",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="name=value of the configuration; repeat it. 'help' lists.", show_default=False),
    ] = None,
    data: Annotated[str, typer.Option(help="imdb, or a .csv or .jsonl file with a text and a label a row.")] = "imdb",
    text_column: Annotated[str, typer.Option(help="Column of the file that holds the texts.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column of the file that holds the labels.")] = "label",
    rows: Annotated[int, typer.Option(help="Train on so many reviews of IMDB, half of each label; 0: all.")] = 0,
    unlabelled: Annotated[int, typer.Option(help="Reviews of IMDB without a label for a language model; -1: all.")] = 0,
    leave_out: Annotated[
        Path | None,
        typer.Option(help="Parquet of contrast pairs, whose originals of IMDB are left out.", show_default=False),
    ] = None,
    vectors: Annotated[Path | None, typer.Option(help="Word vectors in GloVe's format.", show_default=False)] = None,
    init: Annotated[
        Path | None, typer.Option(help="Begin with a model trained here: its words and weights.", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of the model, and of checkpoints.")] = Path("trained"),
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all it may use.")] = 0,
    test: Annotated[int, typer.Option(help="Measure on so many IMDB test reviews at the end; 0: on none.")] = 0,
    scalars: Annotated[
        Path | None, typer.Option(help="Write TensorBoard's scalars to this folder.", show_default=False)
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Write a profiler's trace of four steps to this file.", show_default=False)
    ] = None,
) -> None:
    """Train a Transformer of GPT-2's shape, and print training and validation loss after each epoch.

    The same command goes on where it was interrupted, to the same weights. The folder it leaves is a model like any
    other: `brisk classify --model FOLDER --head FOLDER/classifier.json`.

    Parameters
    ----------
    config_name : one of `CONFIGS`.
    changes : what differs from the configuration, "name=value" each.
    data, text_column, label_column : "imdb", or a file and its columns.
    rows : of IMDB; 0 takes all texts of the train split, each once.
    unlabelled : reviews without a label that a language model reads too.
    leave_out : contrast pairs, whose originals are not trained on.
    vectors : word vectors the embedding begins with.
    init : folder of a model of the same sizes, a language model of the same texts for one; max_tokens may be fewer.
    output : the model's folder.
    threads : of torch.
    test : reviews of IMDB's test split to measure on, each text once, none that stands in train.
    scalars, trace : what is written for TensorBoard and for Perfetto.
    """
    if "help" in (changes or []):
        for line in listed(config(config_name)):
            print(line, flush=True)
        return
    options = changed(config(config_name), changes or [])
    if rows < 0 or test < 0 or unlabelled < -1:
        raise BadRequest("--rows and --test take 0 or more, --unlabelled -1 or more.")
    if unlabelled and (data != "imdb" or options.kind != "language-model"):
        raise BadRequest("--unlabelled is for a language model of IMDB: a classifier needs labels.")
    from engine.training.log import Log
    from pipelines.training.imdb import imdb_rows, report, unlabelled_rows
    from pipelines.training.transformer import train_transformer, use_threads

    if data == "imdb":
        given, source = imdb_rows("train", rows, options.seed, leave_out)
        if unlabelled:
            more, said = unlabelled_rows(max(0, unlabelled))
            given, source = [*given, *more], f"{source}; {said}"
    else:
        from pipelines.classification.rows import read_rows

        if test:
            raise BadRequest("--test measures on IMDB, and the texts are from a file: leave it out.")
        given, source = read_rows(Path(data), text_column, label_column), data
    count = use_threads(threads)
    log = Log(say, None, scalars, trace)
    say(f"{source}; torch with {count} threads.")
    try:
        trained = train_transformer(given, options, output, log, vectors, source, init)
    finally:
        log.close()
    say(f"Trained in {trained.minutes:.1f} minutes.")
    if test:
        for line in report(trained, options, test):
            say(line)
    print(output, flush=True)
