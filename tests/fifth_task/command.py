"""`vowels`: the vowels of a text, counted."""

from __future__ import annotations

from engine.config import EngineConfig
from pipelines import cli
from tests.fifth_task.pipeline import VowelPipeline


@cli.with_engine_options
def vowels(config: EngineConfig, text: cli.Text = None, file: cli.File = None, as_json: cli.Json = False) -> None:
    """Count the vowels of a text."""
    result = VowelPipeline(cli.load_engine(config))(cli.read_text(text, file))
    cli.print_result(result.to_dict(), str(result.vowels), result.info, as_json=as_json)
