"""`brisk classify`: labels scored for a text; `brisk label`: for every row of a CSV file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.config import EngineConfig
from pipelines import cli


@cli.with_engine_options
def classify(
    config: EngineConfig,
    text: cli.Text = None,
    file: cli.File = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="A label; repeat it. Default: positive, negative.")
    ] = None,
    adapter: cli.Adapter = None,
    as_json: cli.Json = False,
    multi_label: Annotated[bool, typer.Option(help="Judge each label for itself.")] = False,
    calibrate: Annotated[
        bool, typer.Option(help="Correct for what the model prefers before it reads the text.")
    ] = True,
    head: Annotated[
        str | None, typer.Option(help="A trained head, by name or the path of its .json file.", show_default=False)
    ] = None,
) -> None:
    """Score labels for a text.

    Parameters
    ----------
    label, multi_label, calibrate, head, adapter : as for `ClassificationPipeline`.
    config, text, file, as_json : what the commands of all tasks take (see `pipelines.cli`).
    """
    from pipelines.classification.pipeline import DEFAULT_LABELS, ClassificationPipeline

    text = cli.read_text(text, file)
    pipeline = ClassificationPipeline(cli.load_engine(config), adapter=adapter)
    result = pipeline(text, tuple(label or DEFAULT_LABELS), multi_label=multi_label, calibrate=calibrate, head=head)
    cli.print_result(
        result.to_dict(),
        "\n".join(f"{row['score']:.3f}  {row['label']}" for row in result.scores),
        result.info,
        as_json=as_json,
    )


@cli.with_engine_options
def label(
    config: EngineConfig,
    source: Annotated[Path, typer.Argument(help="A CSV file with a header, in UTF-8.")],
    output: Annotated[Path, typer.Argument(help="The same with the columns label and score.")],
    head: Annotated[str, typer.Option(help="A trained head, by name or the path of its .json file.")] = "imdb-student",
    text_column: Annotated[str, typer.Option(help="Column that holds the texts.")] = "text",
    processes: Annotated[int, typer.Option(help="Of a head that reads words alone; 0: a processor each.")] = 0,
) -> None:
    """Label every row of a CSV file by a trained head, in memory that does not grow with the file.

    A row without a readable text gets an empty label, and the end says how many there are. The output appears when it
    is whole.

    Parameters
    ----------
    config, source, output, head, text_column, processes : as for `pipelines.classification.label.label_file`.
    """
    from pipelines.classification.label import label_file

    counts = label_file(source, output, head, text_column, processes, config)
    if counts.empty:
        first = f"row {counts.first_empty:,} first"
        cli.say(f"{counts.empty:,} of {counts.rows:,} rows have no readable text, {first}: their label is empty.")
    print(output, flush=True)
