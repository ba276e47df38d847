"""A request at work: signs of life, stopping, errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from engine.config import EngineConfig
from engine.errors import BadModel, BadRequest
from engine.serving.cancellation import Cancellation
from pipelines.ui.holder import EngineHolder
from pipelines.ui.work import BEAT_S, FRAME_S, UPDATES_PER_S, Step, follow
from tests.pipelines.paced_engine import PacedEngine, at_rest, holding


def values(steps: Iterator[Step[Any]]) -> list[Any]:
    return [step.value for step in steps if step.value is not None]


def test_the_last_value_is_never_lost() -> None:
    holder = holding(PacedEngine(reply=lambda prompt: "a b c d e"))
    texts = [update.generated_text for update in values(follow(holder, "generation", lambda p: p.stream("Hi")))]
    assert texts[-1] == "a b c d e"


def test_values_come_at_the_pace_of_a_screen() -> None:
    holder = holding(PacedEngine(pace=0.002))
    began = time.monotonic()
    shown = values(follow(holder, "generation", lambda p: p.stream("Hi")))
    assert 2 <= len(shown) <= (time.monotonic() - began) / FRAME_S + 3


def test_requests_at_work_together_share_the_updates() -> None:
    holder, together = holding(PacedEngine(pace=0.004)), 10
    shown: list[int] = []
    began = time.monotonic()
    threads = [
        threading.Thread(
            target=lambda: shown.append(len(values(follow(holder, "generation", lambda p: p.stream("Hi")))))
        )
        for _ in range(together)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The first and the last value of each come whenever they come.
    assert 2 * together <= sum(shown) <= (time.monotonic() - began) * UPDATES_PER_S + 3 * together


@pytest.mark.slow
def test_a_long_step_is_not_a_silent_one() -> None:
    holder = holding(PacedEngine(pace=3 * BEAT_S))
    steps = list(follow(holder, "classification", lambda p: [p("text", ["a", "b"], calibrate=False)]))
    assert len([step for step in steps if step.value is None]) >= 2
    assert steps[-1].value is not None and steps[-1].seconds > 2 * BEAT_S


def test_requests_wait_for_the_engine_and_say_for_what() -> None:
    gate = threading.Event()

    def slow(config: EngineConfig, on_progress: Any) -> PacedEngine:
        on_progress("Reading the weights", 0.25)
        assert gate.wait(10)
        return PacedEngine(reply=lambda prompt: "done")

    holder = EngineHolder(slow)
    holder.begin(EngineConfig())
    steps = follow(holder, "generation", lambda p: p.stream("Hi"))
    stages = [next(steps).stage for _ in range(3)]
    assert stages[-1] == "Waiting for the model: Reading the weights 25%"
    gate.set()
    assert values(steps)[-1].generated_text == "done"


def test_no_engine_no_wait() -> None:
    def fails(config: EngineConfig, on_progress: Any) -> Any:
        raise BadModel("No such model.")

    holder = EngineHolder(fails)
    list(holder.reload(EngineConfig()))
    with pytest.raises(BadModel, match=r"No engine is loaded: No such model\."):
        list(follow(holder, "generation", lambda p: p.stream("Hi")))


def test_closing_stops_a_stream() -> None:
    holder = holding(engine := PacedEngine(pace=0.02))
    steps = follow(holder, "generation", lambda p: p.stream("Hi"))
    next(step for step in steps if step.value is not None)
    steps.close()  # type: ignore[attr-defined]
    assert at_rest(engine) and 0 < engine.steps < 200


def test_closing_stops_a_search_between_two_windows() -> None:
    holder = holding(engine := PacedEngine(pace=0.05, max_context=200))
    context = "one two three four five six seven eight nine ten. " * 200
    steps = follow(holder, "question_answering", lambda p: [p("What?", context)])
    while engine.steps < 2:
        next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert at_rest(engine, 1.0) and engine.steps < 10


def test_a_pipeline_that_tidies_up_may_still_ask_the_engine() -> None:
    holder = holding(engine := PacedEngine(pace=0.02))
    tidied: list[object] = []

    def start(pipeline: Any) -> Iterator[str]:
        try:
            while True:
                time.sleep(0.02)
                yield "asked"
        finally:
            tidied.append(engine.score("the end", ["a"]))

    steps = follow(holder, "generation", start)
    next(step for step in steps if step.value is not None)
    steps.close()  # type: ignore[attr-defined]
    assert at_rest(engine) and len(tidied) == 1


def test_a_run_that_is_cancelled_ends_without_a_word() -> None:
    holder = holding(engine := PacedEngine(pace=0.02))
    run = Cancellation()
    steps = follow(holder, "generation", lambda p: p.stream("Hi"), run)
    next(step for step in steps if step.value is not None)
    run.cancel()
    assert list(steps) == []
    assert at_rest(engine) and 0 < engine.steps < 200


def test_errors_come_through() -> None:
    holder = holding(PacedEngine())
    with pytest.raises(BadRequest, match="The prompt is empty"):
        list(follow(holder, "generation", lambda p: p.stream("")))
    with pytest.raises(ZeroDivisionError):
        list(follow(holder, "generation", lambda p: [1 / 0]))


def test_a_request_under_way_hears_of_an_exchange() -> None:
    engines = [PacedEngine(pace=0.02), PacedEngine(reply=lambda prompt: "new")]
    holder = EngineHolder(lambda config, on_progress: engines.pop(0))
    list(holder.reload(EngineConfig()))
    steps = follow(holder, "generation", lambda p: p.stream("Hi"))
    next(step for step in steps if step.value is not None)
    list(holder.reload(EngineConfig(precision="fp32")))
    with pytest.raises(BadRequest, match="exchanged while this request ran: run it again"):
        list(steps)
    assert values(follow(holder, "generation", lambda p: p.stream("Hi")))[-1].generated_text == "new"
