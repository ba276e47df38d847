"""The suite's own measurements, on workers that answer what a test wrote down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.measure.speed.compare import Field
from engine.measure.speed.figures import Shape
from engine.measure.speed.worker import WorkerFailed
from engine.measure.suite import start, streams, tasks
from engine.measure.suite.table import run_suite
from engine.measure.suite.targets import BOUNDS
from tests.engine.measure.suite.test_targets import result

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


def scored(seconds: float, odd: bool) -> Any:
    def score(prompts: list[list[int]], choices: Any, batch: int = 0) -> dict[str, Any]:
        rows = [[-1.0, -2.0] if not (odd and prompt == [3]) else [-2.0, -1.0] for prompt in prompts]
        return {"seconds": seconds * len(prompts), "logprobs": rows}

    return score


ASKED = {"prompts": [[i] for i in range(10)], "choices": [[1], [2]], "head": ""}


def test_scoring_counts_reviews_a_second_and_labels_that_agree() -> None:
    own = Answering("Brisk", label_prompts=ASKED, score=scored(0.1, False))
    peer = Answering("Transformers fp32", score=scored(0.4, True))
    target, head = tasks.scoring(field(peer), own, 5, quiet)  # type: ignore[arg-type]
    assert target.reached == pytest.approx(4) and "same label on 9 of 10" in target.figure
    given = [prompt for do, request in own.asked if do == "score" for prompt in request["prompts"]]
    assert sorted(given) == ASKED["prompts"]  # every review once
    assert [request["batch"] for _, request in peer.asked] == [8] * 5
    assert head.key == "head" and head.reached is None and "no head" in head.figure
    missing = tasks.scoring(field(), own, 5, quiet)  # type: ignore[arg-type]
    assert [(one.key, one.reached) for one in missing] == [("scoring", None), ("head", None)]


def test_a_head_is_timed_beside_the_labels_of_the_whole_model() -> None:
    asked = {**ASKED, "head": "sentiment"}
    judged = {"seconds": 0.1, "right": 1}  # of two reviews a round
    own = Answering("Brisk", label_prompts=asked, score=scored(0.1, False), by_head=judged)
    peer = Answering("Transformers fp32", score=scored(0.4, False))
    _, head = tasks.scoring(field(peer), own, 5, quiet)  # type: ignore[arg-type]
    assert head.reached == pytest.approx(8) and head.holds is True
    assert "Brisk, sentiment: 20.0 (20.0 to 20.0) reviews/s" in head.figure and "right on 5 of 10" in head.figure
    assert [request["part"] for do, request in own.asked if do == "by_head"] == [0, 1, 2, 3, 4]


def test_four_tasks_are_counted_against_the_average_task() -> None:
    own = Answering("Brisk", four_tasks={"computed": 1500, "reused": 2500})
    target = tasks.four_tasks(own, 5, quiet)  # type: ignore[arg-type]
    assert target.reached == pytest.approx(1.5) and target.holds is False
    assert "300 tokens a review, 500 reused" in target.figure and "200 tokens" in target.baseline


def written(speed: float, last: int) -> Any:
    def generate(prompts: list[list[int]], new: int) -> dict[str, Any]:
        return {"decode_s": 10 / speed, "decoded": 10, "tokens": [[*prompt, last] for prompt in prompts]}

    return generate


def test_guessing_counts_only_where_texts_are_the_same() -> None:
    prompts = {"prompts": [[i] for i in range(10)]}
    on, off = (
        Answering("on", writing_prompts=prompts, generate=written(30, 7)),
        Answering("off", generate=written(20, 7)),
    )
    target = tasks.lookup(on, off, 5, quiet)  # type: ignore[arg-type]
    assert target.reached == pytest.approx(1.5) and "10 of 10 texts the same" in target.figure
    other = Answering("off", generate=written(20, 8))
    target = tasks.lookup(on, other, 5, quiet)  # type: ignore[arg-type]
    assert target.reached is None and "texts differ" in target.figure


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

    monkeypatch.setattr("engine.measure.suite.table.task_targets", fail)
    monkeypatch.setattr(start, "start_once", lambda model, threads: 1.0)
    own = Answering("Brisk int8", run=decoding(100, 250, 80))
    found = {t.key: t for t in run_suite(field(own), result(Brisk_int8=(1, 1)), "m", 1, quiet)}
    assert set(found) == set(BOUNDS)  # no target is left out
    assert found["scoring"].figure == "the tasks ended: exit code 1." and found["lookup"].holds is None
    assert found["start"].holds is True and found["context"].holds is True
