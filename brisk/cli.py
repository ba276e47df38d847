"""The console command `brisk`: the app, the four tasks, and what measures and ships them.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 a check that failed, 2 a request that cannot be
run, 130 Ctrl-C.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

import brisk
from engine.errors import UserError
from engine.measure.command import single
from pipelines.cli import add_task_commands, run_app

DISTRIBUTION = "brisk-lm"
# Packages that only an extra of the distribution brings, by the name they are imported under.
EXTRA_OF = {
    "datasets": "eval",
    "gradio": "app",
    "gradio_client": "app",
    "matplotlib": "eval",
    "networkx": "eval",
    "nltk": "eval",
    "pandas": "eval",
    "pyarrow": "eval",
    "rouge_score": "eval",
    "sklearn": "eval",
    "tensorboard": "eval",
}


def _serve() -> typer.Typer:
    from brisk.app import cli

    return cli


def _evaluate() -> typer.Typer:
    from pipelines.evaluation.__main__ import command_line

    return command_line()


def _distill() -> typer.Typer:
    from pipelines.training.distill import distill

    return single(distill)


def _train() -> typer.Typer:
    from pipelines.training.command import train

    return single(train)


def _train_adapter() -> typer.Typer:
    from pipelines.training.adapter_command import train_adapter

    return single(train_adapter)


def _bench() -> typer.Typer:
    from engine.measure.benchmark import main

    return single(main)


def _check() -> typer.Typer:
    from engine.measure.check import main

    return single(main)


def _space() -> typer.Typer:
    """`spaces.build` of the checkout that this package lies in. It is found by its place: the import name `spaces`
    belongs to a package of Hugging Face's wherever Brisk is installed."""
    path = Path(__file__).resolve().parent.parent / "spaces" / "build.py"
    spec = importlib.util.spec_from_file_location("brisk_spaces_build", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise UserError("A Space is assembled from the project's sources: run this in a checkout, not from a wheel.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: typer.Typer = module.app
    return found


# Commands that are imported when they are asked for: (what the list of commands says, the app of that one command).
LAZY: dict[str, tuple[str, Callable[[], typer.Typer]]] = {
    "serve": ("Serve the page and the endpoints until Ctrl-C.", _serve),
    "evaluate": ("Measure a task on IMDB reviews, in one precision or several.", _evaluate),
    "train": ("Train a Transformer on labelled texts, from nothing.", _train),
    "train-adapter": ("Teach the model a task, from a file of your own.", _train_adapter),
    "distill": ("Teach small students what a large teacher thinks.", _distill),
    "bench": ("Time prefill and decode beside other engines.", _bench),
    "check": ("Hold every fast path to its slow twin.", _check),
    "space": ("Assemble a Hugging Face Space; upload it when asked.", _space),
}


class LazyGroup(TyperGroup):
    """A group whose `LAZY` commands are placeholders until one of them is run or completed."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The name, command and arguments that are left, as the base class gives them."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in LAZY:
            command = get_command(LAZY[name][1]())
            command.name = name
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Runs the command. UserError where it needs a package that an extra brings."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing not in EXTRA_OF:
                raise
            raise UserError(
                f"This needs {missing}, which is not installed: pip install '{DISTRIBUTION}[{EXTRA_OF[missing]}]'."
            ) from error


app = typer.Typer(
    cls=LazyGroup, help=__doc__, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"brisk {brisk.__version__}")
        raise typer.Exit


@app.callback(help=__doc__)
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


def _placeholder() -> None: ...


app.command("serve", help=LAZY["serve"][0])(_placeholder)
add_task_commands(app)
for _name in ("evaluate", "train", "train-adapter", "distill", "bench", "check", "space"):
    app.command(_name, help=LAZY[_name][0])(_placeholder)


def run() -> NoReturn:
    """The command line; ends the process with its exit code."""
    code = run_app(app)
    if (serving := sys.modules.get("brisk.app")) is not None:
        serving.leave(code)  # a model that is still loading is not waited for
    sys.exit(code)
