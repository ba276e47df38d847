"""The holder: loads in the background, exchanges engines, keeps the old one when the new one fails."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from engine.config import EngineConfig
from engine.errors import BadModel, BadRequest
from pipelines.ui.holder import EngineHolder, Status
from tests.pipelines.paced_engine import PacedEngine, holding

FIRST, SECOND = EngineConfig(), EngineConfig(precision="fp32")


class Shelf:
    """Opens the engines, or raises the errors, it was given; `gate` holds a load back."""

    def __init__(self, *items: Any) -> None:
        self.items = list(items)
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, config: EngineConfig, on_progress: Any) -> Any:
        on_progress("Reading the weights", 0.5)
        assert self.gate.wait(10)
        item = self.items.pop(0)
        if isinstance(item, BaseException):
            raise item
        return item


def settle(holder: EngineHolder, config: EngineConfig) -> Status:
    return list(holder.reload(config))[-1]


def test_a_load_goes_on_in_the_background_and_says_how_far_it_is() -> None:
    shelf = Shelf(engine := PacedEngine())
    shelf.gate.clear()
    holder = EngineHolder(shelf)
    holder.begin(FIRST)
    while holder.status.message != "Reading the weights":
        holder.wait(1)
    status = holder.status
    assert (status.phase, status.share, status.busy, holder.engine) == ("loading", 0.5, True, None)
    shelf.gate.set()
    while holder.status.busy:
        holder.wait(1)
    status = holder.status
    assert (status.phase, status.config, holder.engine) == ("ready", FIRST, engine)
    assert status.info is not None and status.info.model == engine.info.model


def test_the_first_load_that_fails_says_why() -> None:
    status = settle(EngineHolder(Shelf(BadModel("model.safetensors is cut short: fetch it again."))), FIRST)
    assert (status.phase, status.error) == ("failed", "model.safetensors is cut short: fetch it again.")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BadModel("No model is called so."), "No model is called so."),
        (MemoryError(), "not enough memory"),
        (ZeroDivisionError("a bug"), "could not be loaded (ZeroDivisionError): the log says more."),
    ],
)
def test_a_reload_that_fails_keeps_the_old_engine(error: BaseException, words: str) -> None:
    shelf = Shelf(old := PacedEngine(), error)
    holder = EngineHolder(shelf)
    settle(holder, FIRST)
    status = settle(holder, SECOND)
    assert words in status.error and "\n" not in status.error
    assert (status.phase, status.config) == ("ready", FIRST)
    assert status.info is not None and status.info.model == old.info.model
    assert holder.engine is old and not old.closed
    assert holder.pipeline("generation")("Hello").generated_text


def test_a_reload_closes_the_old_engine_once_the_new_one_serves() -> None:
    shelf = Shelf(old := PacedEngine(), new := PacedEngine(model="new"))
    holder = EngineHolder(shelf)
    settle(holder, FIRST)
    before = holder.pipeline("generation")
    shelf.gate.clear()
    statuses = holder.reload(SECOND)
    assert next(statuses).busy and holder.engine is old and not old.closed
    shelf.gate.set()
    last = list(statuses)[-1]
    assert last.info is not None and last.info.model == "new" and old.closed and not new.closed
    assert holder.pipeline("generation") is not before


def test_the_same_engine_again_stays_open() -> None:
    holder = EngineHolder(Shelf(engine := PacedEngine(), BadModel("No such model.")))
    settle(holder, FIRST)
    before = holder.pipeline("generation")
    assert settle(holder, SECOND).error == "No such model."
    status = settle(holder, FIRST)
    assert (status.phase, status.busy, status.error) == ("ready", False, "")
    assert holder.engine is engine and not engine.closed
    assert holder.pipeline("generation") is before  # a request that runs on it goes on


def test_one_load_at_a_time() -> None:
    shelf = Shelf(PacedEngine())
    shelf.gate.clear()
    holder = EngineHolder(shelf)
    holder.begin(FIRST)
    with pytest.raises(BadRequest, match="being loaded already"):
        holder.begin(SECOND)
    shelf.gate.set()


def test_a_pipeline_is_made_once_an_engine() -> None:
    holder = holding(PacedEngine())
    assert holder.pipeline("classification") is holder.pipeline("classification")


def test_a_task_the_model_cannot_do_is_refused() -> None:
    with pytest.raises(BadRequest, match="cannot do summarization"):
        holding(PacedEngine(kind="classification")).pipeline("summarization")


def test_no_pipeline_without_an_engine() -> None:
    with pytest.raises(BadRequest, match="No engine"):
        EngineHolder(Shelf()).pipeline("generation")


def test_the_status_says_what_the_engine_says_now() -> None:
    holder = holding(engine := PacedEngine(compiling=True))
    assert holder.status.info is not None and holder.status.info.compiling
    engine.info = replace(engine.info, compiling=False)
    for status in (holder.status, holder.wait(0)):
        assert status.info is not None and not status.info.compiling
    holder.close()
    assert holder.status.info is not None


def test_closing_frees_the_engine_even_one_that_comes_later() -> None:
    holder = holding(engine := PacedEngine())
    holder.close()
    assert engine.closed and holder.engine is None
    shelf = Shelf(late := PacedEngine())
    shelf.gate.clear()
    holder = EngineHolder(shelf)
    holder.begin(FIRST)
    holder.close()
    shelf.gate.set()
    while holder.status.busy or not late.closed:
        holder.wait(0.1)
    assert late.closed
