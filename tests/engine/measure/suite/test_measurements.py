"""The suite's own measurements, on workers that answer what a test wrote down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from engine.measure.peers.registry import Absent
from engine.measure.speed import beside as speed_beside
from engine.measure.speed import roofline, rounds
from engine.measure.speed.compare import Field
from engine.measure.speed.figures import Shape
from engine.measure.suite import beside, parts, start, streams
from engine.measure.suite.parts import GROUP, Part, declared, registered
from engine.measure.suite.table import run_suite
from engine.measure.suite.targets import BESIDE_BOUNDS, BOUNDS, Bound
from engine.measure.worker import WorkerFailed
from tests.engine.measure.speed.test_roofline import arch
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

    def cpu_s(self) -> float:
        return 0.0


def decoding(one: float, many: float, long: float) -> Any:
    def run(prompts: list[list[int]], new: int) -> dict[str, Any]:
        speed = many if len(prompts) > 1 else long if len(prompts[0]) > 1000 else one
        made = len(prompts) * (new - 1)
        tokens = [[1] * new for _ in prompts]
        return {"ttft_s": 1.0, "decode_s": made / speed, "decoded": made, "whole_s": 9.0, "tokens": tokens}

    return run


@pytest.fixture(autouse=True)
def _no_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "REST_S", 0)
    monkeypatch.setattr(streams, "REST_S", 0)
    monkeypatch.setattr(start, "REST_S", 0)


def field(*workers: Any, window: int = 4096) -> Field:
    loaded = {worker.name: {"max_context": window} for worker in workers}
    return Field(1, {worker.name: worker for worker in workers}, loaded, ids=list(range(1, 50)))


def quiet(text: str) -> None:
    pass


def test_long_contexts_are_compared_with_what_their_bytes_predict() -> None:
    def step(length: int) -> float:
        return roofline.decode(arch(), length + 32, 1, 100.0, "half").nbytes

    own = Answering("Brisk int8", run=decoding(100, 300, 80))
    stand = field(own, window=4160)
    stand.loaded["Brisk int8"] |= {"weight_bytes": 100.0, "kv": "half"}
    short, long = streams.context_targets(stand, arch(), 2, quiet)
    assert short.reached == pytest.approx(0.8 * step(2048) / step(128))
    assert long.reached == pytest.approx(0.8 * step(4096) / step(128))
    assert [len(request["prompts"][0]) for _, request in own.asked] == [128, 2048, 4096] * 2
    stand.loaded["Brisk int8"]["max_context"] = 4096
    fits, does_not = streams.context_targets(stand, arch(), 2, quiet)
    assert fits.reached == short.reached and does_not.reached is None and "4096" in does_not.figure
    for target in streams.context_targets(stand, None, 2, quiet):
        assert target.reached is None and "bytes are not known" in target.figure


def test_streams_are_compared_with_one_and_with_a_batch() -> None:
    own = Answering("Brisk int8", run=decoding(100, 250, 80))
    peer = Answering("Transformers fp32", run=decoding(14, 50, 10))
    alone, beside = streams.stream_targets(field(own, peer), SHAPE, 2, quiet)
    assert alone.reached == pytest.approx(2.5) and beside.reached == pytest.approx(5)
    assert {len(request["prompts"]) for _, request in peer.asked} == {8}
    _, missing = streams.stream_targets(field(own), SHAPE, 1, quiet)
    assert missing.reached is None and "did not run" in missing.figure


def at(prefill: float, decode: float) -> Any:
    """Answers at these speeds; beside N neighbours everyone is N + 1 times as slow."""

    def run(prompts: list[list[int]], new: int) -> dict[str, Any]:
        slower = len(RUNNING[-1]) + 1
        ttft, took = len(prompts[0]) / prefill * slower, (new - 1) / decode * slower
        return {"ttft_s": ttft, "decode_s": took, "decoded": new - 1, "whole_s": ttft + took, "tokens": [[1] * new]}

    return run


RUNNING: list[list[int]] = []  # the neighbours of each time there were some


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours that are only counted."""

    @contextmanager
    def neighbours(count: int) -> Iterator[list[int]]:
        RUNNING.append(list(range(count)))
        yield RUNNING[-1]

    RUNNING.clear()
    monkeypatch.setattr(speed_beside, "neighbours", neighbours)


def test_beside_neighbours_the_two_peers_are_compared_at_each_count(pretended: None) -> None:
    own = Answering("Brisk int8, KV int8", run=at(300, 100))
    llama = Answering("llama.cpp Q8_0", run=at(200, 50))
    base, other = Answering("Transformers fp32", run=at(400, 40)), Answering("OpenVINO int8", run=at(900, 900))
    stand = field(own, base, llama, other)
    measured = beside.measure_short(stand, Shape(512, 128, 1), 5, quiet)
    assert [len(running) for running in RUNNING] == [0, 1, 2, 4] * 3  # three rounds at most, all counts in each
    assert not other.asked and {(len(r["prompts"][0]), r["new"]) for _, r in own.asked} == {(128, 48)}
    found = {target.bound.key: target for target in beside.beside_targets(measured, stand)}
    assert list(found) == [bound.key for bound in BESIDE_BOUNDS]
    for count, speed in ((1, "50.0"), (2, "33.3"), (4, "20.0")):
        assert found[f"beside_{count}_llama"].reached == pytest.approx(2)
        transformers = found[f"beside_{count}_transformers"]
        assert transformers.reached == pytest.approx(2.5) and transformers.holds is False
        assert transformers.figure.startswith(f"Brisk int8, KV int8: {speed} (")
        prefill = found[f"beside_{count}_prefill"]
        assert prefill.reached == pytest.approx(0.75) and prefill.baseline.startswith("Transformers fp32: ")
    assert measured.rows[0].decode_kept == 1 and measured.rows[-1].decode_kept == pytest.approx(0.2)


def test_beside_neighbours_a_peer_that_is_missing_is_named(pretended: None) -> None:
    stand = field(Answering("Brisk int8", run=at(300, 100)), Answering("Transformers fp32", run=at(400, 20)))
    stand.absent.append(Absent("llama.cpp Q8_0", "not installed"))
    measured = beside.measure_short(stand, SHAPE, 1, quiet)
    assert (measured.shape.prompt, measured.shape.new) == (20, 5)  # no more than everyone has room for
    found = {target.bound.key: target for target in beside.beside_targets(measured, stand)}
    assert found["beside_4_transformers"].reached == pytest.approx(5)
    for kind in ("llama", "prefill"):
        assert found[f"beside_1_{kind}"].figure == "llama.cpp Q8_0 did not run (not installed)"


def test_without_int8_there_is_nothing_to_measure() -> None:
    with pytest.raises(WorkerFailed, match="not among --precision"):
        streams.context_targets(field(Answering("Brisk fp32")), arch(), 1, quiet)


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


def test_what_fails_is_a_row_and_the_rest_is_measured(pretended: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise WorkerFailed("the tasks ended: exit code 1.")

    monkeypatch.setattr(start, "start_once", lambda model, threads: 1.0)
    own = Answering("Brisk int8", run=decoding(100, 250, 80))
    others = [Part((Bound("one", "a part", 1.0), Bound("two", "of another package", 2.0)), fail)]
    suite = run_suite(field(own), result(Brisk_int8=(1, 1)), None, "m", 1, quiet, others)
    found = {target.bound.key: target for target in suite.targets}
    assert set(found) == {*BOUNDS, "one", "two"}  # no target is left out
    assert found["one"].figure == "the tasks ended: exit code 1." and found["two"].holds is None
    assert found["start"].holds is True and found["context_2048"].holds is None
    assert suite.beside is not None and found["beside_2_llama"].holds is None


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
