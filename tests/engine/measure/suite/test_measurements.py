"""The suite's own measurements, on workers that answer what a test wrote down."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from engine.measure.speed.compare import Field
from engine.measure.speed.figures import Shape
from engine.measure.suite import parts, start, streams
from engine.measure.suite.parts import GROUP, Part, declared, registered
from engine.measure.suite.table import run_suite
from engine.measure.suite.targets import BOUNDS, Bound
from engine.measure.worker import WorkerFailed
from tests.engine.measure.suite.test_targets import result

OTHERS = (Part((Bound("one", "a part", 1.0),), lambda stand, model, repeat, say: []),)
SHAPE = Shape(prompt=20, new=5, batch=1)


class Answering:
    """A worker with a speed for each prompt length and number of streams."""

    def __init__(self, name: str, **answers: Any) -> None:
        self.name, self._answers, self.asked = name, answers, []  # type: ignore[var-annotated]

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        self.asked.append((do, request))
        answer = self._answers[do]
        found: dict[str, Any] = answer(**request) if callable(answer) else answer
        return found


def decoding(one: float, many: float, long: float) -> Any:
    def run(prompts: list[list[int]], new: int) -> dict[str, Any]:
        speed = many if len(prompts) > 1 else long if len(prompts[0]) > 1000 else one
        made = len(prompts) * (new - 1)
        tokens = [[1] * new for _ in prompts]
        return {"ttft_s": 1.0, "decode_s": made / speed, "decoded": made, "whole_s": 9.0, "tokens": tokens}

    return run


@pytest.fixture(autouse=True)
def _no_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "REST_S", 0)
    monkeypatch.setattr(start, "REST_S", 0)


def field(*workers: Any, window: int = 4096) -> Field:
    loaded = {worker.name: {"max_context": window} for worker in workers}
    return Field(1, {worker.name: worker for worker in workers}, loaded, ids=list(range(1, 50)))


def quiet(text: str) -> None:
    pass


def test_context_compares_long_with_short() -> None:
    own = Answering("Brisk int8", run=decoding(100, 300, 80))
    target = streams.context_target(field(own), 2, quiet)
    assert target.reached == pytest.approx(0.8) and target.holds is True
    assert [len(request["prompts"][0]) for _, request in own.asked] == [128, 2048, 128, 2048]
    target = streams.context_target(field(own, window=512), 2, quiet)
    assert target.reached is None and "512" in target.figure


def test_streams_are_compared_with_one_and_with_a_batch() -> None:
    own = Answering("Brisk int8", run=decoding(100, 250, 80))
    peer = Answering("Transformers fp32", run=decoding(14, 50, 10))
    alone, beside = streams.stream_targets(field(own, peer), SHAPE, 2, quiet)
    assert alone.reached == pytest.approx(2.5) and beside.reached == pytest.approx(5)
    assert {len(request["prompts"]) for _, request in peer.asked} == {8}
    _, missing = streams.stream_targets(field(own), SHAPE, 1, quiet)
    assert missing.reached is None and "did not run" in missing.figure


def test_without_int8_there_is_nothing_to_measure() -> None:
    with pytest.raises(WorkerFailed, match="not among --precision"):
        streams.context_target(field(Answering("Brisk fp32")), 1, quiet)


def test_a_process_that_gives_no_token_says_why(tmp_path: Path) -> None:
    with pytest.raises(WorkerFailed, match="gave no token"):
        start.start_once(str(tmp_path / "nothing"), 1)


def test_a_start_ends_at_the_first_token(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import os, sys, time\ntime.sleep(0.3)\nprint(17, flush=True)\nprint(sys.argv[1:], file=sys.stderr)"
    monkeypatch.setattr(start, "SCRIPT", script)
    assert 0.3 <= start.start_once("m", 1) < 30
    monkeypatch.setattr(start, "SCRIPT", "import time\ntime.sleep(60)")
    monkeypatch.setattr(start, "LONGEST_S", 0.3)
    with pytest.raises(WorkerFailed, match="gave no token within"):
        start.start_once("m", 1)


def test_the_first_start_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([99.0, 3.0, 1.0, 2.0])
    monkeypatch.setattr(start, "start_once", lambda model, threads: next(seconds))
    target = start.start_target("m", 1, 3, quiet)
    assert target.reached == 2.0 and target.holds is True and "(1.00 to 3.00)" in target.figure


def test_what_fails_is_a_row_and_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise WorkerFailed("the tasks ended: exit code 1.")

    monkeypatch.setattr(start, "start_once", lambda model, threads: 1.0)
    own = Answering("Brisk int8", run=decoding(100, 250, 80))
    others = [Part((Bound("one", "a part", 1.0), Bound("two", "of another package", 2.0)), fail)]
    targets = run_suite(field(own), result(Brisk_int8=(1, 1)), "m", 1, quiet, others)
    found = {target.bound.key: target for target in targets}
    assert set(found) == {*BOUNDS, "one", "two"}  # no target is left out
    assert found["one"].figure == "the tasks ended: exit code 1." and found["two"].holds is None
    assert found["start"].holds is True and found["context"].holds is True


def test_what_other_packages_measure_is_found_by_their_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("a", f"{__name__}:OTHERS", GROUP)
    monkeypatch.setattr(parts, "entry_points", lambda group: [point] if group == GROUP else [])
    monkeypatch.setattr(parts, "ROOT", tmp_path)
    assert registered() == list(OTHERS)
    declaring = f'[project.entry-points."{GROUP}"] # what it measures\na = "{point.value}"\n\n[tool]\nb = "c:d"\n'
    (tmp_path / "pyproject.toml").write_text(declaring, encoding="utf-8")
    assert declared(tmp_path / "pyproject.toml") == [point]
    assert registered() == list(OTHERS)  # installed from this checkout: once
    monkeypatch.setattr(parts, "entry_points", lambda group: [])
    assert registered() == list(OTHERS)
