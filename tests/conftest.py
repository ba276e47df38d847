"""Fixtures for every test: tiny models, a tiny IMDB folder, and a cache of their own.

Tests never touch the user's cache, except that those marked `model` need the real default model, and that compiled
kernels are kept there: compiling them anew in each run would take longer than all the tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.weights.cache import cache_root

_USER_CACHE = os.environ.get("BRISK_CACHE")  # as it was before the tests: where `model` tests look
_PRAISE = ("great", "wonderful", "moving", "funny", "superb", "clever", "charming", "thrilling")
_BLAME = ("terrible", "boring", "awful", "clumsy", "dull", "lifeless", "silly", "painful")


def pytest_configure() -> None:
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_root() / "kernels"))
    # After that setting, because Numba reads all of its settings anew at the first compile where one has changed, and
    # before torch, which follows the tier of processors that is asked for.
    import engine.kernels  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def _session_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRISK_CACHE", str(tmp_path_factory.mktemp("brisk-cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")  # no test may wait for a network
        patch.delenv("IMDB_META", raising=False)  # the real reviews' films are not those of invented ones
        yield


@pytest.fixture(autouse=True)
def _users_cache_for_model_tests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("model") is not None:
        restore_users_cache(monkeypatch)


def restore_users_cache(patch: pytest.MonkeyPatch) -> None:
    if _USER_CACHE is None:
        patch.delenv("BRISK_CACHE", raising=False)
    else:
        patch.setenv("BRISK_CACHE", _USER_CACHE)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a two-layer Llama with random weights."""
    from tests.tiny import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def default_model_folder() -> Iterator[Path]:
    """Folder of the real default model, from the user's cache or converted once; for tests marked `model`."""
    from engine.config import DEFAULT_MODEL
    from engine.weights import resolve

    with pytest.MonkeyPatch.context() as patch:
        restore_users_cache(patch)
        yield resolve(DEFAULT_MODEL).folder


@pytest.fixture(scope="session")
def imdb_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the layout of IMDB (text, label; negatives first) with 16 + 16 invented reviews a split."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("imdb")
    for split in ("train", "test"):
        rows = [
            (
                f"Film {split} {i}.<br /><br />The acting was {word}, the plot {words[i % 8 - 1]}. Seen {i} times."
                + (f" {9 if label else 2}/10" if i % 4 == 0 else ""),
                label,
            )
            for label, words in ((0, _BLAME), (1, _PRAISE))
            for i, word in enumerate(words * 2)
        ]
        table = pa.table({"text": [text for text, _ in rows], "label": pa.array([y for _, y in rows], pa.int64())})
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return folder
