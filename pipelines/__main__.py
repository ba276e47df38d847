"""`python -m pipelines classify|summarize|answer|generate`: the four tasks by script.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 2 a request that cannot be run, 130 Ctrl-C.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.config import EngineConfig
from engine.errors import UserError
from pipelines.cli import load_engine, read_text, run_app, say, with_engine_options
from pipelines.results import RunInfo
from pipelines.text import check_text

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, rich_markup_mode=None)

Text = Annotated[str | None, typer.Argument(help="The text; - or nothing reads stdin.", show_default=False)]
File = Annotated[
    Path | None, typer.Option("--file", "-f", help="Read the text from this UTF-8 file.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
@with_engine_options
def classify(
    config: EngineConfig,
    text: Text = None,
    file: File = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="A label; repeat it. Default: positive, negative.")
    ] = None,
    multi_label: Annotated[bool, typer.Option(help="Judge each label for itself.")] = False,
    calibrate: Annotated[
        bool, typer.Option(help="Correct for what the model prefers before it reads the text.")
    ] = True,
    head: Annotated[
        str | None, typer.Option(help="A trained head, by name or the path of its .json file.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Score labels for a text."""
    from pipelines.classification.pipeline import DEFAULT_LABELS, ClassificationPipeline

    words = read_text(text, file)
    pipeline = ClassificationPipeline(load_engine(config))
    result = pipeline(words, tuple(label or DEFAULT_LABELS), multi_label=multi_label, calibrate=calibrate, head=head)
    _print(result.to_dict(), "\n".join(f"{row['score']:.3f}  {row['label']}" for row in result.scores), as_json)
    _tell(result.info)


@app.command()
@with_engine_options
def summarize(
    config: EngineConfig,
    text: Text = None,
    file: File = None,
    length: Annotated[str, typer.Option(help="short, medium, long.")] = "medium",
    style: Annotated[str, typer.Option(help="prose, bullets.")] = "prose",
    as_json: Json = False,
) -> None:
    """Summarize a text of any length."""
    from pipelines.summarization.pipeline import SummarizationPipeline

    words = read_text(text, file)
    pipeline = SummarizationPipeline(load_engine(config))
    result, stage = None, ""
    for update in pipeline.stream(words, length=length, style=style):  # type: ignore[arg-type]  # checked there
        if update.stage != stage:
            stage = update.stage
            say(f"{update.fraction:4.0%} {stage}")
        result = update.result
    assert result is not None, "the last update carries the result"
    _print(result.to_dict(), result.summary_text, as_json)
    _tell(result.info)


@app.command()
@with_engine_options
def answer(
    config: EngineConfig,
    question: Annotated[str, typer.Argument(help="The question.")],
    context: Annotated[
        str | None, typer.Argument(help="The text that holds the answer; - or nothing reads stdin.")
    ] = None,
    file: File = None,
    top_k: Annotated[int, typer.Option(help="How many answers.")] = 1,
    no_answer_threshold: Annotated[
        float | None, typer.Option(help="0 to 1; 1 always answers.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the answer to a question in a text, word for word."""
    from pipelines.question_answering.pipeline import QuestionAnsweringPipeline
    from pipelines.question_answering.prompts import DEFAULT_THRESHOLD

    question = check_text(question, "question")
    words = read_text(context, file, "context")
    pipeline = QuestionAnsweringPipeline(load_engine(config))
    threshold = DEFAULT_THRESHOLD if no_answer_threshold is None else no_answer_threshold
    result = pipeline(question, words, top_k=top_k, no_answer_threshold=threshold)
    lines = [
        f"{row['score']:.3f}  {row['start']}-{row['end']}  {row['answer'] or '(not in the text)'}"
        for row in result.answers
    ]
    _print(result.to_dict(), "\n".join(lines), as_json)
    _tell(result.info)


@app.command()
@with_engine_options
def generate(
    config: EngineConfig,
    text: Text = None,
    file: File = None,
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
    seed: Annotated[int | None, typer.Option(help="Of the random draw.", show_default=False)] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="A string that ends the text; repeat it.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer a prompt, or continue it; the text streams to stdout."""
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
    words = read_text(text, file, "prompt")
    pipeline = GenerationPipeline(load_engine(config))
    if as_json:
        result = pipeline(words, mode=mode, params=params, system=system)  # type: ignore[arg-type]  # checked there
        _print(result.to_dict(), "", as_json=True)
        _tell(result.info)
        return
    shown, info = 0, None
    for update in pipeline.stream(words, mode=mode, params=params, system=system):  # type: ignore[arg-type]
        sys.stdout.write(update.generated_text[shown:])
        sys.stdout.flush()
        shown, info = len(update.generated_text), update.info
    print(flush=True)
    assert info is not None, "a stream gives at least one update"
    _tell(info)


def _print(fields: dict[str, Any], plain: str, as_json: bool) -> None:
    print(json.dumps(fields, ensure_ascii=False) if as_json else plain, flush=True)


def _tell(info: RunInfo) -> None:
    for sentence in (*([info.shortened.sentence()] if info.shortened else []), *info.notes, info.line()):
        say(sentence)


def main() -> int:
    """The command line; returns the exit code."""
    return run_app(app)


if __name__ == "__main__":
    sys.exit(main())
