"""Tiny models of every family, each made once for the whole run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import Engine
from tests.engine.reference import opened
from tests.tiny import make_tiny_model

Models = Callable[..., Path]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """`models("qwen2", tied=False)`: the folder of that tiny model (see `make_tiny_model`)."""
    root = tmp_path_factory.mktemp("families")
    made: dict[tuple[Any, ...], Path] = {}

    def get(family: str = "llama", **options: Any) -> Path:
        key = (family, *sorted(options.items()))
        if key not in made:
            made[key] = make_tiny_model(root / f"{family}-{len(made)}", family, **options)
        return made[key]

    return get


@pytest.fixture(scope="module")
def engine(models: Models) -> Iterator[Engine]:
    """A tiny Llama in fp32 with the plain decoder, shared by the tests of a file."""
    with opened(models("llama"), max_batch=7) as engine:
        yield engine
