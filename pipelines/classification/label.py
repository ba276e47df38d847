"""A CSV file of any length gets a label and a score a row, read and written as a stream."""

from __future__ import annotations

import csv
import itertools
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from engine.config import EngineConfig, available_threads
from engine.errors import BadRequest, UserError
from pipelines.classification.heads import Head, load_head
from pipelines.classification.ngram_head import NgramHead
from pipelines.cli import load_engine
from pipelines.text import MAX_CHARACTERS

if TYPE_CHECKING:
    from engine.engine import Engine

CHUNK = 256  # rows that are judged together
WAITING = 3  # chunks a process that are read ahead: what is in memory does not grow with the file
ADDED = ("label", "score")
Found = tuple[str, str]  # label and score as they are written, empty where a row has no text
Judge = Callable[[list[str]], list[Found]]

_head: NgramHead  # of a process of the pool


@dataclass
class Counts:
    """How a file went: rows, and those that have no readable text with the number of the first."""

    rows: int = 0
    empty: int = 0
    first_empty: int = 0


def label_file(source: Path, output: Path, head: str, text_column: str, processes: int, config: EngineConfig) -> Counts:
    """A CSV file with the columns label and score more, which appears when it is whole.

    Parameters
    ----------
    source, output : the files, in UTF-8, with a header.
    head : a trained head, by name or the path of its JSON file.
    text_column : of `source`.
    processes : that judge side by side where the head reads words alone; 0: as many as there are processors.
    config : the engine of a head that reads a model's features; others need none.

    Raises
    ------
    UserError : no such head; a file that cannot be read or written, has no such column, or has a column label or score
        already.
    """
    if processes < 0:
        raise BadRequest(f"--processes is {processes}: give 1 or more, or 0 for one a processor.")
    chosen = load_head(head)
    if source.resolve() == output.resolve():
        raise BadRequest(f"{output} is the file that is read: name another for the output.")
    with _opened(source) as lines, _pool(chosen, head, config, processes) as (pool, judge, count):
        return _label(lines, source, output, text_column, pool, judge, WAITING * count)


def _label(
    lines: IO[str], source: Path, output: Path, text_column: str, pool: Executor,
    judge: Judge, waiting: int,
) -> Counts:  # fmt: skip
    """Everything between two open files; no more than `waiting` chunks are in memory."""
    from tqdm import tqdm

    rows = _rows(lines, source)
    header = next(rows, [])
    if text_column not in header:
        raise BadRequest(f"{source} has no column '{text_column}': it has {', '.join(header) or 'no header'}.")
    if taken := [name for name in ADDED if name in header]:
        raise BadRequest(f"{source} has a column '{taken[0]}' already: rename it, for the labels go there.")
    place = header.index(text_column)
    counts = Counts()
    building = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with open(building, "w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow([*header, *ADDED])
            bar = tqdm(desc="labelling", unit=" rows", file=sys.stderr, dynamic_ncols=True, disable=None)
            with bar:
                for part, found in _judged(_chunks(rows), place, pool, judge, waiting):
                    for row, pair in zip(part, found, strict=True):
                        counts.rows += 1
                        if not pair[0]:
                            counts.empty += 1
                            counts.first_empty = counts.first_empty or counts.rows
                        writer.writerow([*row, *[""] * (len(header) - len(row)), *pair])
                    bar.update(len(part))
        building.replace(output)
    except BrokenExecutor as error:
        raise UserError(f"A process that judges rows was ended from outside ({error}): start again.") from error
    except OSError as error:
        raise UserError(f"{output} cannot be written ({error.strerror or error}): name another file.") from error
    finally:
        building.unlink(missing_ok=True)
    return counts


def _rows(lines: IO[str], source: Path) -> Iterator[list[str]]:
    csv.field_size_limit(4 * MAX_CHARACTERS)
    rows = csv.reader(lines)
    try:
        yield from rows
    except csv.Error as error:
        raise BadRequest(f"Line {rows.line_num:,} of {source} is no CSV ({error}): mend it and start again.") from error
    except UnicodeDecodeError as error:
        raise BadRequest(f"{source} is not UTF-8 text: save it as UTF-8 and start again.") from error


def _chunks(rows: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    while part := list(itertools.islice(rows, CHUNK)):
        yield part


def _judged(
    chunks: Iterator[list[list[str]]], place: int, pool: Executor, judge: Judge, waiting: int
) -> Iterator[tuple[list[list[str]], list[Found]]]:
    """Chunks with what is found of them, in order."""
    queue: deque[tuple[list[list[str]], Future[list[Found]]]] = deque()
    for part in chunks:
        queue.append((part, pool.submit(judge, [row[place] if place < len(row) else "" for row in part])))
        if len(queue) >= waiting:
            rows, future = queue.popleft()
            yield rows, future.result()
    for rows, future in queue:
        yield rows, future.result()


@contextmanager
def _opened(source: Path) -> Iterator[IO[str]]:
    try:
        with open(source, encoding="utf-8-sig", newline="") as lines:
            yield lines
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UserError(f"{source} cannot be read: {error.strerror or error}.") from error


@contextmanager
def _pool(
    head: Head | NgramHead, name: str, config: EngineConfig, processes: int
) -> Iterator[tuple[Executor, Judge, int]]:
    """Who judges chunks, how, and how many of them side by side."""
    if isinstance(head, NgramHead):
        count = processes or available_threads()
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(count, spawn, _load, (name,)) as pool:
            try:
                yield pool, _by_words, count
            finally:
                pool.shutdown(cancel_futures=True)
        return
    engine = load_engine(replace(config, prefix_cache_mb=0))
    head.check(engine)
    with ThreadPoolExecutor(1) as one:
        try:
            yield one, partial(_by_model, engine, head), 1
        finally:
            one.shutdown(cancel_futures=True)


def _load(name: str) -> None:
    global _head
    head = load_head(name)
    assert isinstance(head, NgramHead)
    _head = head


def _by_words(texts: list[str]) -> list[Found]:
    return _each(texts, lambda text: _head.read(None, text)[0], _head.labels)


def _by_model(engine: Engine, head: Head, texts: list[str]) -> list[Found]:
    return _each(texts, lambda text: head.read(engine, text)[0], head.labels)


def _each(texts: Sequence[str], read: Callable[[str], np.ndarray], labels: Sequence[str]) -> list[Found]:
    """The likeliest label and its probability, of each text."""
    found: list[Found] = []
    for text in texts:
        try:
            scores = read(text)
        except BadRequest:
            found.append(("", ""))
            continue
        best = int(scores.argmax())
        found.append((labels[best], f"{scores[best]:.4f}"))
    return found
