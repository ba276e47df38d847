"""House rules a machine can see: few loose files, files of one sitting, functions that say what they take."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("brisk", "engine", "pipelines", "spaces")
LONGEST = 330  # lines of a file; 250 is the aim
IMPLIED = {"self", "cls", "typing"}  # the last is Numba's, the first of every intrinsic
LOOSE = {"__init__", "config", "engine", "errors", "loading", "memory", "results"}


@dataclass(frozen=True)
class Function:
    """A public function or method: where it stands, and what its documentation has to name."""

    where: str
    parameters: tuple[str, ...]
    doc: str
    owner: str = ""  # its class
    bases: tuple[str, ...] = ()  # of that class, by name
    is_command: bool = False  # a command's parameters are documented by their `help`


def sources() -> list[Path]:
    return [ROOT / "app.py", *(path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))]


def functions() -> Iterator[Function]:
    """Every public function of a module, and every public method of a public class."""
    for path in sources():
        yield from _of(ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(ROOT)), None)


def _of(node: ast.AST, place: str, owner: ast.ClassDef | None) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) and not child.name.startswith("_"):
            given = [arg.arg for arg in (*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs)]
            hints = [arg.annotation for arg in (*child.args.args, *child.args.kwonlyargs)]
            yield Function(
                f"{place}:{child.lineno} {child.name}",
                tuple(name for name in given if name not in IMPLIED),
                ast.get_docstring(child) or "",
                owner.name if owner else "",
                tuple(ast.unparse(base).partition("[")[0] for base in owner.bases) if owner else (),
                any("typer." in ast.unparse(hint) for hint in hints if hint),
            )
        elif isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _of(child, place, child)


def names_all(doc: str, parameters: tuple[str, ...]) -> bool:
    """Whether a docstring has a section of parameters that names each (numpydoc, or `Args:` where Gradio shows it)."""
    _, found, section = doc.partition("Parameters\n---")
    if not found:
        _, found, section = doc.partition("Args:\n")
    return bool(found) and all(name in section for name in parameters)


def test_the_engine_has_few_loose_files() -> None:
    assert {path.stem for path in (ROOT / "engine").glob("*.py")} <= LOOSE


@pytest.mark.parametrize("room", [*ROOMS, "tests"])
def test_a_file_is_read_in_one_sitting(room: str) -> None:
    lines = {str(path.relative_to(ROOT)): path.read_text("utf-8").count("\n") for path in (ROOT / room).rglob("*.py")}
    assert not {name: count for name, count in lines.items() if count > LONGEST}


def test_public_functions_name_what_they_take() -> None:
    """With more than two parameters; a method that a documented interface declares is documented there."""
    everything = list(functions())
    interfaces = {(f.owner, f.where.rpartition(" ")[2]) for f in everything if names_all(f.doc, f.parameters)}
    silent = [
        f.where
        for f in everything
        if len(f.parameters) > 2
        and not f.is_command
        and not names_all(f.doc, f.parameters)
        and not any((base, f.where.rpartition(" ")[2]) in interfaces for base in f.bases)
    ]
    assert not silent, "\n".join(silent)


def test_docstrings_are_sentences() -> None:
    fragments = [f.where for f in functions() if f.doc.startswith("Of ")]
    assert not fragments, fragments
