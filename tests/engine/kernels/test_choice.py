"""Which arithmetic runs prompts: timed on pretended ways that sleep."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core import config

from engine.kernels import choice


class Way:
    """Runs prompts by sleeping."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.lengths: list[int] = []

    def __call__(self, ids: np.ndarray) -> None:
        assert ids.dtype == np.int64
        self.lengths.append(len(ids))
        time.sleep(self.seconds)


def choose_prefill(*given: Any) -> bool:
    """What is chosen in the end."""
    steps = choice.choose_prefill(*given)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return bool(end.value)


SLOW, FAST = 0.03, 0.001


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of kernels of one's own, not made yet."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "kernels"))
    return tmp_path / "kernels"


@pytest.mark.parametrize(("integer", "widened", "expected"), [(FAST, SLOW, True), (SLOW, FAST, False)])
def test_what_is_faster_is_chosen_and_its_row_tells_why(integer: float, widened: float, expected: bool) -> None:
    assert choose_prefill("auto", Way(integer), Way(widened), "a model, int8") is expected
    (row,) = choice.read_table().values()
    assert row["name"] == "a model, int8"
    assert (float(row["compiled"]) > 3 * float(row["torch"])) is expected
    assert (float(row["torch"]) > 3 * float(row["compiled"])) is not expected
    assert 0 < float(row["compiled"]) <= choice.TOKENS / min(integer, widened)


def test_what_was_measured_is_not_measured_again(folder: Path) -> None:
    choose_prefill("auto", Way(FAST), Way(SLOW), "a model")
    integer, widened = Way(SLOW), Way(FAST)
    assert choose_prefill("auto", integer, widened, "a model") is True
    assert integer.lengths == widened.lengths == []
    assert choose_prefill("auto", integer, widened, "another model") is False
    assert len(integer.lengths) == len(widened.lengths) == 1 + choice.ROUNDS
    assert {row["name"] for row in choice.read_table().values()} == {"a model", "another model"}
    assert choice.table_file() == folder / "prefill.json"


@pytest.mark.parametrize(("asked", "expected"), [("int8", True), ("fp32", False)])
def test_what_is_asked_for_is_done_without_timing(asked: str, expected: bool) -> None:
    integer, widened = Way(0), Way(0)
    assert choose_prefill(asked, integer, widened, "a model") is expected
    assert integer.lengths == [1]  # compiled before the first request
    assert widened.lengths == []
    assert choice.read_table() == {}


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "null", "\x00\xff"])
def test_a_damaged_table_is_measured_and_written_anew(folder: Path, content: str) -> None:
    folder.mkdir()
    choice.table_file().write_text(content, encoding="utf-8")
    assert choice.read_table() == {}
    assert choose_prefill("auto", Way(FAST), Way(SLOW), "a model") is True
    assert [row["name"] for row in choice.read_table().values()] == ["a model"]


@pytest.mark.parametrize("row", [{}, [], 3, None, {"name": "a model", "compiled": "fast", "torch": 1}])
def test_a_damaged_row_is_measured_and_written_anew(row: object) -> None:
    choose_prefill("auto", Way(FAST), Way(SLOW), "a model")
    (key,) = choice.read_table()
    choice.table_file().write_text(json.dumps({key: row}), encoding="utf-8")
    assert choose_prefill("auto", Way(FAST), Way(SLOW), "a model") is True
    assert float(choice.read_table()[key]["compiled"]) > 0


def test_bytes_that_are_no_text_are_a_damaged_table(folder: Path) -> None:
    folder.mkdir()
    choice.table_file().write_bytes(b"\xff\xfe\x00")
    assert choose_prefill("auto", Way(FAST), Way(SLOW), "a model") is True


def test_where_the_table_cannot_be_written_the_choice_holds_and_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("a file where the folder should be", encoding="utf-8")
    assert choose_prefill("auto", Way(SLOW), Way(FAST), "a model") is False
    assert "is not kept" in caplog.text
    assert choice.read_table() == {}


def test_the_timed_prompt_fits_a_small_window_and_models_of_one_name_do_not_share() -> None:
    lengths: list[int] = []

    def run(ids: np.ndarray) -> None:
        lengths.append(len(ids))

    for shape in ("wide", "narrow"):
        choose_prefill("auto", run, run, "a model of two shapes", shape, 64)
    assert set(lengths) == {64}
    assert len(lengths) == 2 * 2 * (1 + choice.ROUNDS)


def test_others_may_run_between_the_runs_that_are_timed() -> None:
    compiled, widened = Way(0), Way(0)
    runs = [len(compiled.lengths) + len(widened.lengths) for _ in choice.choose_prefill("auto", compiled, widened, "m")]
    assert runs == list(range(1, 1 + 2 * (1 + choice.ROUNDS)))
