"""How a command line of this project runs: what a person can mend is one sentence on stderr and an exit code."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections.abc import Callable, Sequence

import typer

from engine.errors import BadRequest, UserError


def say(sentence: str) -> None:
    """A sentence for the person at the terminal: stdout stays clean for results."""
    print(sentence, file=sys.stderr, flush=True)


def run_app(command: typer.Typer | Callable[..., None], arguments: Sequence[str] | None = None) -> int:
    """Run a typer app, or a function as an app of one command; `arguments` are those of the process unless given.

    Returns the exit code: 0 done, 2 with one sentence (UserError, wrong usage), 130 on Ctrl-C, or the command's own.
    """
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    app = command if isinstance(command, typer.Typer) else single(command)
    try:
        app(args=list(arguments) if arguments is not None else None)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    except UserError as error:
        say(f"Error: {error}")
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone; nothing more can be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def single(command: Callable[..., None]) -> typer.Typer:
    """An app of one command, whose help is the function's docstring up to the section Parameters."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(help=inspect.cleandoc(command.__doc__ or "").partition("\n\nParameters\n")[0])(command)
    return app


def split(given: str, known: Sequence[str], what: str) -> list[str]:
    """The names in a comma-separated list, each once.

    Parameters
    ----------
    given : the list; spaces and empty places are passed over.
    known : what may be named.
    what : the kind of name, with a capital, for the sentence of the error.

    Raises
    ------
    BadRequest : for a name that is not known.
    """
    names = list(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    for name in names:
        if name not in known:
            raise BadRequest(f"{what} '{name}' is unknown: choose among {', '.join(known)}.")
    return names
