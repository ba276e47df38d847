"""The adapters that requests name: read from their folders once, placed in the pool, held while a request runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from engine.errors import BadRequest
from engine.model.adapters.lora import CONFIG, WEIGHTS, LoRA, read_lora
from engine.model.adapters.pool import Block, Pool
from engine.model.families import Architecture

Adapter = str | Path | None  # folder of an adapter that a request names
Place = Callable[[Callable[[], Block]], Block]


class _Key(NamedTuple):
    """A folder as it is on disk: what is written anew is another adapter."""

    folder: Path
    stamps: tuple[tuple[int, int], ...]


class Shelf:
    """Adapters of one model, by their folders. Any thread may ask.

    Parameters
    ----------
    arch, pool : the model's.
    """

    def __init__(self, arch: Architecture, pool: Pool) -> None:
        self.pool = pool
        self._arch = arch
        self._blocks: dict[_Key, Block] = {}
        self._reading = threading.Lock()

    @contextmanager
    def held(self, folder: Path, on_thread: Place) -> Iterator[Block]:
        """An adapter that stays in the pool meanwhile.

        Parameters
        ----------
        folder : as `peft` saves it.
        on_thread : runs what it is given on the thread that runs the model.

        Raises
        ------
        BadModel : see `read_lora`.
        BadRequest : see `Pool.place`.
        """
        key = _key(folder)
        with self._reading:  # two requests for one adapter read it once
            block = self._blocks.get(key)
            lora = None if block is not None and self.pool.holds(block) else read_lora(folder, self._arch)
            block = on_thread(lambda: self._take(key, lora))
        try:
            yield block
        finally:
            self.pool.end(block)

    def _take(self, key: _Key, lora: LoRA | None) -> Block:
        block = self._blocks.get(key)
        if block is None or not self.pool.holds(block):
            block = self.pool.place(lora or read_lora(key.folder, self._arch))
            self._blocks = {other: one for other, one in self._blocks.items() if self.pool.holds(one)}
            self._blocks[key] = block
        self.pool.begin(block)
        return block


def held(shelf: Shelf | None, adapter: str | Path, on_thread: Place, model: str) -> AbstractContextManager[Block]:
    """The adapter that a request names, held in memory meanwhile.

    Parameters
    ----------
    shelf : the model's, None where it has none.
    adapter : its folder.
    on_thread : as for `Shelf.held`.
    model : its name, for messages.

    Raises
    ------
    BadRequest : the model runs without adapters.
    BadModel : see `read_lora`.
    """
    if shelf is None:
        raise BadRequest(
            f"{model} runs without adapters here: they need the native backend on a CPU, and adapter_mb above 0."
        )
    return shelf.held(Path(adapter), on_thread)


def _key(folder: Path) -> _Key:
    """Files that are not there have no stamp: reading them says so."""
    stamps = []
    for name in (CONFIG, WEIGHTS):
        try:
            found = (folder / name).stat()
            stamps.append((found.st_mtime_ns, found.st_size))
        except OSError:
            stamps.append((0, 0))
    return _Key(folder.resolve(), tuple(stamps))
