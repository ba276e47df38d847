"""`python -m pipelines summarize`: a summary of a text, how far it is on stderr."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.config import EngineConfig
from pipelines import cli


@cli.with_engine_options
def summarize(
    config: EngineConfig,
    text: cli.Text = None,
    length: Annotated[str, typer.Option(help="short, medium, long.")] = "medium",
    style: Annotated[str, typer.Option(help="prose, bullets.")] = "prose",
    file: cli.File = None,
    adapter: cli.Adapter = None,
    as_json: cli.Json = False,
) -> None:
    """Summarize a text of any length.

    Parameters
    ----------
    length, style, adapter : as for `SummarizationPipeline`.
    config, text, file, as_json : what the commands of all tasks take (see `pipelines.cli`).
    """
    from pipelines.summarization.pipeline import SummarizationPipeline

    text = cli.read_text(text, file)
    pipeline = SummarizationPipeline(cli.load_engine(config), adapter=adapter)
    result, stage = None, ""
    for update in pipeline.stream(text, length=length, style=style):  # type: ignore[arg-type]  # checked there
        if update.stage != stage:
            stage = update.stage
            cli.say(f"{update.fraction:4.0%} {stage}")
        result = update.result
    assert result is not None, "the last update carries the result"
    cli.print_result(result.to_dict(), result.summary_text, result.info, as_json=as_json)
