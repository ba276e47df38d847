"""A scheduler on a fake backend for every test that asks for one, and the tokens of a tiny model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.cache.prefix import PrefixTree
from engine.serving.prefill import Prefiller
from engine.serving.scheduler import Scheduler
from engine.text.tokenizer import Tokenizer
from tests.engine.fake_backend import FakeBackend

Start = Callable[..., Scheduler]


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Tokenizer:
    return Tokenizer.from_folder(tiny_llama)


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Scheduler] = []

    def begin(
        backend: FakeBackend, batch: int = 4, cached: bool = True, tree: PrefixTree | None = None, guess: bool = False
    ) -> Scheduler:
        started.append(Scheduler(backend, batch, cached, lambda: None, Prefiller(backend, tree), guess))
        return started[-1]

    yield begin
    for scheduler in started:
        scheduler.close()
