"""`python -m pipelines generate`: an answer to a prompt or its continuation, streamed."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated, Any

import typer

from engine.config import EngineConfig
from engine.errors import UserError
from pipelines import cli


@cli.with_engine_options
def generate(
    config: EngineConfig,
    text: cli.Text = None,
    file: cli.File = None,
    adapter: cli.Adapter = None,
    as_json: cli.Json = False,
    mode: Annotated[str, typer.Option(help="chat, continue.")] = "chat",
    system: Annotated[str, typer.Option(help="Instruction before the chat.")] = "",
    preset: Annotated[
        str | None, typer.Option(help="Deterministic, Balanced, Creative.", show_default="Balanced")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens to write.", show_default=False)] = None,
    min_tokens: Annotated[int | None, typer.Option(help="Fewest tokens to write.", show_default=False)] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.", show_default=False)] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Keep the k most likely tokens; 0 keeps all.", show_default=False)
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus sampling.", show_default=False)] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Drop tokens under this share of the best.", show_default=False)
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1: less repetition.", show_default=False)
    ] = None,
    no_repeat_ngram_size: Annotated[
        int | None, typer.Option(help="No run of so many tokens twice in the output.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Repeats a random draw.", show_default=False)] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="A string that ends the text; repeat it.", show_default=False)
    ] = None,
) -> None:
    """Answer a prompt, or continue it; the text streams to stdout.

    Parameters
    ----------
    mode, system, adapter : as for `GenerationPipeline`.
    preset : a name in `PRESETS`, the sampling that the options below change.
    max_tokens, min_tokens, temperature, top_k, top_p, min_p, repetition_penalty, no_repeat_ngram_size, seed, stop : as
        in `engine.config.SamplingParams`; None keeps the preset's.
    config, text, file, as_json : what the commands of all tasks take (see `pipelines.cli`).
    """
    from pipelines.generation.pipeline import DEFAULT_PRESET, PRESETS, GenerationPipeline

    if (preset or DEFAULT_PRESET) not in PRESETS:
        raise UserError(f"The preset '{preset}' is unknown: choose one of {', '.join(PRESETS)}.")
    given = {
        "max_tokens": max_tokens, "min_tokens": min_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p,
        "min_p": min_p, "repetition_penalty": repetition_penalty, "no_repeat_ngram_size": no_repeat_ngram_size,
        "seed": seed, "stop": tuple(stop) if stop else None,
    }  # fmt: skip
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    params = replace(PRESETS[preset or DEFAULT_PRESET], **changes)
    text = cli.read_text(text, file, "prompt")
    pipeline = GenerationPipeline(cli.load_engine(config), adapter=adapter)
    if as_json:
        result = pipeline(text, mode=mode, params=params, system=system)  # type: ignore[arg-type]  # checked there
        cli.print_result(result.to_dict(), "", result.info, as_json=True)
        return
    shown, info = 0, None
    for update in pipeline.stream(text, mode=mode, params=params, system=system):  # type: ignore[arg-type]
        sys.stdout.write(update.generated_text[shown:])
        sys.stdout.flush()
        shown, info = len(update.generated_text), update.info
    print(flush=True)
    assert info is not None, "a stream gives at least one update"
    cli.tell(info)
