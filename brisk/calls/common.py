"""What the calls of every task share: the end of the engine, one input or many, and what cannot be honoured."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from engine.errors import BadRequest

if TYPE_CHECKING:
    from engine.engine import Engine

X = TypeVar("X")
Y = TypeVar("Y")
C = TypeVar("C", bound="Calls[Any]")
P = TypeVar("P")


class Calls(Generic[P]):
    """A task on an engine. It is a context manager; `close` gives its share of the engine back.

    Parameters
    ----------
    engine : a loaded `engine.engine.Engine`, which is closed with this object.
    """

    task: str
    makes: Callable[[Engine], P]  # the task's pipeline

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.pipeline: P = type(self).makes(engine)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """What the task gives; the arguments are those of each task's own class."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the engine back; whoever shares it goes on with it."""
        self.engine.close()

    def __enter__(self: C) -> C:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _refuse(self, others: Mapping[str, object], reasons: Mapping[str, str]) -> None:
        """BadRequest for the first argument among `others`, with the reason that is known for it."""
        for name in others:
            reason = reasons.get(name, "no argument of that name is known")
            raise BadRequest(f"{self.task} cannot honour '{name}': {reason}.")

    def _each(self, given: Any, one: Callable[[X], Y], batch_size: int | None) -> Any:
        """`one` of each in a list, as a list; of each a generator gives, as an iterator; else of `given` itself.

        Those of a list run side by side, `batch_size` at a time (None: as many as the engine decodes together): the
        engine batches what is asked at once.
        """
        if batch_size is not None and batch_size < 1:
            raise BadRequest(f"batch_size is {batch_size}: give 1 or more.")
        if isinstance(given, (list, tuple)):
            return in_parallel(one, given, batch_size or self.engine.config.max_batch)
        if isinstance(given, (types.GeneratorType, Iterator)):
            return map(one, given)
        return one(given)


def in_parallel(one: Callable[[X], Y], given: Iterable[X], workers: int) -> list[Y]:
    """`one` of each item, side by side on threads.

    Parameters
    ----------
    one : what is done with an item; several threads call it at once.
    given : the items.
    workers : how many run at a time, 1 or more.

    Returns
    -------
    The results in the order of the items.

    Raises
    ------
    What `one` raised for the first item that failed; those not yet begun are left.
    """
    items = list(given)
    if len(items) < 2 or workers == 1:
        return [one(item) for item in items]
    with ThreadPoolExecutor(min(workers, len(items)), thread_name_prefix="brisk-call") as pool:
        try:
            return list(pool.map(one, items))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def check_truncation(task: str, truncation: object) -> None:
    """BadRequest where a text that is too long may not be shortened."""
    if truncation is not None and truncation is not True and truncation not in ("longest_first", "only_first"):
        raise BadRequest(f"{task} cannot honour 'truncation' as {truncation!r}: a text over the window is shortened.")
