"""One loaded thing for many holders: loaded with the first lease of a key, closed with the last."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from functools import partial
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """What can be shared."""

    def close(self) -> None:
        """Free it; nobody holds it any more."""
        ...


K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Closable)


class Lease(Generic[T]):
    """One holder's share in `value`. `close` gives it back once, however often it is called."""

    def __init__(self, value: T, give_back: Callable[[], None]) -> None:
        self.value = value
        self._give_back = give_back
        self._open = threading.Lock()  # taken by whoever closes, and never let go

    def close(self) -> None:
        """Give it back; the value is closed where this was the last lease."""
        if self._open.acquire(blocking=False):
            self._give_back()


class _Shared(Generic[T]):
    """What the leases of one key share: `value` is None until it is loaded, under `loading`."""

    def __init__(self) -> None:
        self.value: T | None = None
        self.holders = 0  # those that wait for it to be loaded included
        self.loading = threading.Lock()


class Leases(Generic[K, T]):
    """Gives leases of values by key. Any thread may ask; each key is loaded under a lock of its own."""

    def __init__(self) -> None:
        self._shared: dict[K, _Shared[T]] = {}
        self._guard = threading.Lock()  # of the table and the counts; never held while something loads or closes

    def take(self, key: K, load: Callable[[], T]) -> Lease[T]:
        """A lease of the value of `key`, which `load` makes where nobody holds one. Raises what `load` raises; then
        nothing is kept, and whoever waited for the same key loads in turn."""
        with self._guard:
            shared = self._shared.setdefault(key, _Shared())
            shared.holders += 1
        try:
            with shared.loading:
                if shared.value is None:
                    shared.value = load()
        except BaseException:
            self._give_back(key, shared)
            raise
        return Lease(shared.value, partial(self._give_back, key, shared))

    def _give_back(self, key: K, shared: _Shared[T]) -> None:
        with self._guard:
            shared.holders -= 1
            last = not shared.holders
            if last:  # whoever asks from now on loads anew
                del self._shared[key]
        if last and shared.value is not None:
            shared.value.close()
