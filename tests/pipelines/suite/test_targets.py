"""What the tasks gain, measured on workers that answer what a test wrote down."""

from __future__ import annotations

from typing import Any

import pytest

from engine.measure.suite import streams
from engine.measure.suite.parts import declared, registered
from engine.measure.worker import ROOT
from pipelines.suite import targets
from tests.engine.measure.suite.test_measurements import Answering, field, quiet


@pytest.fixture(autouse=True)
def _no_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "REST_S", 0)


def test_the_project_registers_them_for_the_suite() -> None:
    [point] = declared(ROOT / "pyproject.toml")
    assert point.load() is targets.PARTS
    assert set(targets.PARTS) <= set(registered())
    bounds = [bound for part in targets.PARTS for bound in part.bounds]
    assert [f"{bound.key}: {bound.text()}" for bound in bounds] == [
        "scoring: at least 2.00x", "head: at least 2.00x", "four_tasks: at most 1.40x", "lookup: at least 1.20x",
    ]  # fmt: skip


def scored(seconds: float, odd: bool) -> Any:
    def score(prompts: list[list[int]], choices: Any, batch: int = 0) -> dict[str, Any]:
        rows = [[-1.0, -2.0] if not (odd and prompt == [3]) else [-2.0, -1.0] for prompt in prompts]
        return {"seconds": seconds * len(prompts), "logprobs": rows}

    return score


ASKED = {"prompts": [[i] for i in range(10)], "choices": [[1], [2]], "head": ""}


def test_scoring_counts_reviews_a_second_and_labels_that_agree() -> None:
    own = Answering("Brisk", label_prompts=ASKED, score=scored(0.1, False))
    peer = Answering("Transformers fp32", score=scored(0.4, True))
    target, head = targets.scoring(field(peer), own, 5, quiet)  # type: ignore[arg-type]
    assert target.reached == pytest.approx(4) and "same label on 9 of 10" in target.figure
    given = [prompt for do, request in own.asked if do == "score" for prompt in request["prompts"]]
    assert sorted(given) == ASKED["prompts"]  # every review once
    assert [request["batch"] for _, request in peer.asked] == [8] * 5
    assert head.bound.key == "head" and head.reached is None and "no head" in head.figure
    missing = targets.scoring(field(), own, 5, quiet)  # type: ignore[arg-type]
    assert [(one.bound.key, one.reached) for one in missing] == [("scoring", None), ("head", None)]


def test_a_head_is_timed_beside_the_labels_of_the_whole_model() -> None:
    asked = {**ASKED, "head": "sentiment"}
    judged = {"seconds": 0.1, "right": 1}  # of two reviews a round
    own = Answering("Brisk", label_prompts=asked, score=scored(0.1, False), by_head=judged)
    peer = Answering("Transformers fp32", score=scored(0.4, False))
    _, head = targets.scoring(field(peer), own, 5, quiet)  # type: ignore[arg-type]
    assert head.reached == pytest.approx(8) and head.holds is True
    assert "Brisk, sentiment: 20.0 (20.0 to 20.0) reviews/s" in head.figure and "right on 5 of 10" in head.figure
    assert [request["part"] for do, request in own.asked if do == "by_head"] == [0, 1, 2, 3, 4]


def test_four_tasks_are_counted_against_the_average_task() -> None:
    own = Answering("Brisk", four_tasks={"computed": 1500, "reused": 2500})
    target = targets.four_tasks(own, 5, quiet)  # type: ignore[arg-type]
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
    target = targets.lookup(on, off, 5, quiet)  # type: ignore[arg-type]
    assert target.reached == pytest.approx(1.5) and "10 of 10 texts the same" in target.figure
    other = Answering("off", generate=written(20, 8))
    target = targets.lookup(on, other, 5, quiet)  # type: ignore[arg-type]
    assert target.reached is None and "texts differ" in target.figure
