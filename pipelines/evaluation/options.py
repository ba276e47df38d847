"""What evaluations are told: the sample, and what a task's own evaluation asks for beside it.

A task declares its own in a dataclass that extends `Options`, each field with the metadata of `option`; the command
line has them without knowing the task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from engine.measure.reviews import Split
from pipelines.cli import replace_parameter


@dataclass(frozen=True)
class Options:
    """What every evaluation is told.

    Attributes
    ----------
    split : part of IMDB: "test", or "train" to choose prompts and thresholds on.
    seed : starts the sample and every random choice; 0 or more.
    limit : reviews of the sample, and as many at most of a file that an option names.
    """

    split: Split = "test"
    seed: int = 0
    limit: int = 200

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {key: _plain(value) for key, value in asdict(self).items()}


AnyOptions = TypeVar("AnyOptions", bound=Options)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def option(help: str, kind: type = Path, many: bool = False) -> dict[str, Any]:
    """Metadata of the field of a task's option, which is `--name` after the field.

    Parameters
    ----------
    help : what the command line says of it, in a few words.
    kind : type of the value, `Path` or `str`.
    many : it may be given several times. The field is a tuple, by default empty; otherwise the default is None.
    """
    return {"help": help, "kind": kind, "many": many}


def with_task_options(command: Callable[..., None], known: Mapping[str, type[Options]]) -> Callable[..., None]:
    """The command with its parameter `given: Mapping[str, Any]` replaced by the options of tasks.

    Parameters
    ----------
    command : is called with the values by the name of the field.
    known : title of a task -> its options. An option of two tasks is given once, and its help is that of the first.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for title, kind in known.items():
        for one in _own(kind):
            value = list[one.metadata["kind"]] if one.metadata["many"] else one.metadata["kind"]  # type: ignore[name-defined]
            told = typer.Option(help=f"{title}: {one.metadata['help']}", show_default=False)
            found.setdefault(one.name, (Annotated[value | None, told], None))
    return replace_parameter(command, "given", found, dict)


def task_options(kind: type[AnyOptions], shared: Options, given: Mapping[str, Any]) -> AnyOptions:
    """A task's options.

    Parameters
    ----------
    kind : the task's class of options.
    shared : what every evaluation is told.
    given : values by field, of any task; a task takes its own.
    """
    values = {one.name: given.get(one.name) for one in _own(kind)}
    own = {one.name: tuple(values[one.name] or ()) if one.metadata["many"] else values[one.name] for one in _own(kind)}
    return kind(shared.split, shared.seed, shared.limit, **own)


def _own(kind: type[Options]) -> Iterable[Any]:
    """The fields that a task adds."""
    shared = {one.name for one in fields(Options)}
    return [one for one in fields(kind) if one.name not in shared]
