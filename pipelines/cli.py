"""What the command lines share: the engine's options and the usual ones of a task declared once, texts from argument,
file or stdin, the print of a result, and errors."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.config import KV_PRECISIONS, PRECISIONS, PREFILLS, EngineConfig
from engine.errors import UserError
from engine.measure.command import run_app as run_app
from engine.measure.command import say
from pipelines import TASKS, load
from pipelines.results import RunInfo
from pipelines.text import MAX_CHARACTERS, check_text

if TYPE_CHECKING:
    from engine.engine import Engine

# Parameters that tasks have in common.
Text = Annotated[str | None, typer.Argument(help="The text; - or nothing reads stdin.", show_default=False)]
File = Annotated[
    Path | None, typer.Option("--file", "-f", help="Read the text from this UTF-8 file.", show_default=False)
]
Adapter = Annotated[
    Path | None, typer.Option("--adapter", help="Folder of an adapter (LoRA, PEFT's format).", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

_DEFAULT = EngineConfig()


def _one_of(values: Sequence[str], default: str) -> str:
    return ", ".join(f"{value} (default)" if value == default else value for value in values)


def _option(*names: str, help: str) -> Any:
    """An option whose help names its default itself: with all of them, a command's help fits one screen."""
    return typer.Option(*names, help=help, show_default=False)


# Name of the EngineConfig field -> how it is given. The help of every command shows this list.
_ENGINE_OPTIONS: dict[str, Any] = {
    "model": Annotated[str, typer.Option(help="Name, folder, .gguf file, Hub id[@revision].")],
    "precision": Annotated[str, _option(help=f"Weights: {_one_of(PRECISIONS, _DEFAULT.precision)}.")],
    "device": Annotated[str, _option(help="auto (default), cpu, cuda, mps, ...")],
    "threads": Annotated[int, _option(help="CPU threads; 0 (default): all it may use.")],
    "kv_cache": Annotated[bool, _option("--kv-cache/--no-kv-cache", help="Keep keys and values (default).")],
    "kv_precision": Annotated[str, _option(help=f"Keys and values: {', '.join(KV_PRECISIONS)}.")],
    "prefill": Annotated[str, _option(help=f"Prompts: {_one_of(PREFILLS, _DEFAULT.prefill)}.")],
    "prefix_cache_mb": Annotated[int, typer.Option(help="Reuse prompts; 0: off.")],
    "speculation": Annotated[
        bool, _option("--speculation/--no-speculation", help="Guess words of the prompt (default).")
    ],
    "max_context": Annotated[int, _option(help="Window; 0 (default): the model's own.")],
    "backend": Annotated[str, _option(help="auto (default), native, transformers.")],
}


def replace_parameter(
    command: Callable[..., None],
    name: str,
    options: Mapping[str, tuple[Any, Any]],
    make: Callable[[dict[str, Any]], Any],
) -> Callable[..., None]:
    """The command with one of its parameters replaced by options of the command line, which it is made of.

    Parameters
    ----------
    command : a function that typer reads; options that it declares itself stay its own.
    name : of the parameter.
    options : name -> annotation and default.
    make : gives the parameter's value from those of the options by name.
    """
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != name]
    added = [
        inspect.Parameter(one, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for one, (annotation, default) in options.items()
        if one not in [p.name for p in own]
    ]

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        chosen = {one.name: given.pop(one.name) for one in added}
        command(**given, **{name: make(chosen)})

    del wrapper.__wrapped__  # its hints would be read instead of ours
    wrapper.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    wrapper.__doc__ = inspect.cleandoc(command.__doc__ or "").partition("\n\nParameters\n")[0]
    wrapper.__annotations__ = {p.name: p.annotation for p in (*own, *added)}
    return wrapper


def with_engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with its parameter `config: EngineConfig` replaced by the options that make one. An option that the
    command declares itself is its own, and left as it is by default in `config`. Its help is its docstring up to the
    section Parameters."""
    options = {name: (annotation, getattr(_DEFAULT, name)) for name, annotation in _ENGINE_OPTIONS.items()}
    return replace_parameter(command, "config", options, lambda chosen: replace(_DEFAULT, **chosen))


def add_task_commands(app: typer.Typer) -> None:
    """Adds the commands of every task in `pipelines.TASKS` to `app`, in their order, each under its own name."""
    for task in TASKS.values():
        for name, path in task.commands.items():
            app.command(name)(load(path))


def load_engine(config: EngineConfig) -> Engine:
    """The engine, with its progress and anything the user should know on stderr."""
    from engine.engine import shared_engine

    shown = ""

    def progress(stage: str, fraction: float | None) -> None:
        nonlocal shown
        line = stage if fraction is None else f"{stage} {fraction:.0%}"
        if sys.stderr.isatty():
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        elif stage != shown:  # a log gets each stage once
            print(stage, file=sys.stderr, flush=True)
        shown = stage

    engine = shared_engine(config, progress)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    say(f"{engine.info.model} ({engine.info.source}), {engine.info.precision} on {engine.info.device}")
    for note in engine.info.notes:
        say(note)
    return engine


def read_text(argument: str | None, file: Path | None, name: str = "text") -> str:
    """The text of a command, checked before anybody waits for a model to learn that it is empty.

    Parameters
    ----------
    argument : the text itself; None or "-" where it comes from elsewhere.
    file : a UTF-8 file that holds it; "-" or None (without an argument) reads stdin.
    name : what the text is called in messages.

    Raises
    ------
    UserError : it is given twice or not at all, cannot be read, or is not UTF-8.
    BadRequest : see `pipelines.text.check_text`.
    """
    if argument is not None and file is not None:
        raise UserError(f"The {name} is given twice, as an argument and with --file: give it once.")
    if argument is not None and argument != "-":
        return check_text(argument, name)
    limit = 4 * MAX_CHARACTERS + 1  # bytes: more cannot be a text that is accepted
    if file is None or str(file) == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UserError(f"No {name} is given: write it as an argument, name a file with --file, or pipe it in.")
        data, place = sys.stdin.buffer.read(limit), "stdin"
    else:
        place = str(file)
        try:
            with open(file, "rb") as opened:
                data = opened.read(limit)
        except OSError as error:
            raise UserError(f"{place} cannot be read: {error.strerror or error}.") from error
    if len(data) == limit:
        raise UserError(f"The {name} in {place} has over {MAX_CHARACTERS:,} characters: give a part of it.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{place} is not UTF-8 text (byte {error.start:,}): save it as UTF-8 and try again.") from error
    return check_text(text, name)


def print_result(fields: dict[str, Any], plain: str, info: RunInfo, *, as_json: bool) -> None:
    """Prints a result to stdout and how it came about to stderr.

    Parameters
    ----------
    fields : the result's `to_dict()`, printed as one line of JSON where `as_json` is set.
    plain : what is printed where it is not.
    info : what was shortened, notes and speed, as for `tell`.
    """
    print(json.dumps(fields, ensure_ascii=False) if as_json else plain, flush=True)
    tell(info)


def tell(info: RunInfo) -> None:
    """Says on stderr what was left out of a text, the notes, and the line of speed."""
    for sentence in (*([info.shortened.sentence()] if info.shortened else []), *info.notes, info.line()):
        say(sentence)
