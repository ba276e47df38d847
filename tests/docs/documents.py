"""The documents as the tests see them: their blocks of code, the commands they name, their links and headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
README = ROOT / "README.md"
ADDRESS = "http://127.0.0.1:7860"
OWN = ("brisk", "engine", "pipelines", "spaces", "tests")
GROUPS = ("brisk", "pipelines", "engine.measure.peers")  # commands whose next word names a sub-command

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a document; `number` counts those of its language in that document from 1."""

    document: str
    language: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.document} {self.language} {self.number}"


@dataclass(frozen=True)
class Call:
    """A command that a document shows: `name` is a module of ours with its sub-command, or a program."""

    document: str
    name: str
    arguments: tuple[str, ...]

    @property
    def options(self) -> list[str]:
        return [word.partition("=")[0] for word in self.arguments if re.fullmatch(r"--?[a-z][\w-]*(=.*)?", word)]


def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def prose(document: Path) -> str:
    """A document without its fenced blocks."""
    return _FENCE.sub("", text_of(document))


def blocks(language: str) -> list[Block]:
    """All fenced blocks of a language, document by document."""
    found = []
    for document in DOCUMENTS:
        texts = [match[2] for match in _FENCE.finditer(text_of(document)) if match[1] == language]
        name = document.relative_to(ROOT).as_posix()
        found += [Block(name, language, number, text) for number, text in enumerate(texts, 1)]
    return found


def languages() -> set[str]:
    """The languages of all fenced blocks; "" is one without."""
    return {match[1] for document in DOCUMENTS for match in _FENCE.finditer(text_of(document))}


def lines(block: Block) -> list[str]:
    """The commands of a block, one a line; what a backslash or a quote continues is one."""
    found, open_line = [], ""
    for line in block.text.replace("\\\n", " ").splitlines():
        open_line = f"{open_line}\n{line}" if open_line else line
        try:
            shlex.split(open_line, comments=True)
        except ValueError:  # a quote is open
            continue
        if open_line.strip() and not open_line.lstrip().startswith("#"):
            found.append(open_line)
        open_line = ""
    assert not open_line, f"a quote is never closed in {block}"
    return found


def call(document: str, line: str) -> Call:
    """What a line runs: the last command of a pipe, variables before it left out."""
    words = shlex.split(line, comments=True)
    if "|" in words:
        words = words[len(words) - words[::-1].index("|") :]
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if re.fullmatch(r"(\.venv/bin/)?python3?", words[0]) and words[1:2] == ["-m"]:
        words = words[2:]
    name, rest = words[0], words[1:]
    if name in GROUPS and rest and re.fullmatch(r"[a-z][a-z-]*", rest[0]):
        name, rest = f"{name} {rest[0]}", rest[1:]
    return Call(document, name, tuple(rest))


def calls() -> Iterator[Call]:
    """Every command in a block of shell, and those of ours that stand in running text (of what is, not of what was:
    the changelog names old commands)."""
    for block in blocks("sh"):
        if "curl" not in block.text:
            yield from (call(block.document, line) for line in lines(block))
    for document in DOCUMENTS:
        if document.name == "CHANGELOG.md":
            continue
        name = document.relative_to(ROOT).as_posix()
        for span in re.findall(r"`((?:python -m|brisk|make)\s[^`]+)`", prose(document)):
            yield call(name, " ".join(span.split()))


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    words = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors(document: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE)}


def links(document: Path) -> list[tuple[str, str]]:
    """Targets in the repository with their anchors ("" for none), of links and pictures."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(document))
    return [
        (target.partition("#")[0], target.partition("#")[2])
        for target in targets
        if not target.startswith(("http://", "https://", "mailto:"))
    ]
