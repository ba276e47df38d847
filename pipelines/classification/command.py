"""`python -m pipelines classify`: labels scored for a text."""

from __future__ import annotations

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
    label, multi_label, calibrate, head : as for `ClassificationPipeline`.
    config, text, file, as_json : what the commands of all tasks take (see `pipelines.cli`).
    """
    from pipelines.classification.pipeline import DEFAULT_LABELS, ClassificationPipeline

    text = cli.read_text(text, file)
    pipeline = ClassificationPipeline(cli.load_engine(config))
    result = pipeline(text, tuple(label or DEFAULT_LABELS), multi_label=multi_label, calibrate=calibrate, head=head)
    cli.print_result(
        result.to_dict(),
        "\n".join(f"{row['score']:.3f}  {row['label']}" for row in result.scores),
        result.info,
        as_json=as_json,
    )
