"""The protocol: requests and answers as lines, whatever a library prints, and a sentence for every way to fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.measure.worker import Worker, WorkerFailed, module_command
from tests.engine.measure.speed import fake_worker

FAKE = module_command(fake_worker)


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker("the fake", FAKE, {"BRISK_FAKE": "yes", "HOME": None}) as running:
        yield running


def test_answers_come_through_the_noise_of_libraries(worker: Worker) -> None:
    info = worker.ask("load", model="m", dtype="int8")
    assert info["dtype"] == "int8" and info["load_s"] >= 0 and info["load_peak"] >= 0
    answer = worker.ask("run", prompts=[[4, 5, 6]], new=3)
    assert answer["tokens"] == [[7, 8, 9]]


def test_memory_names_the_empty_process(worker: Worker) -> None:
    found = worker.ask("memory")
    assert 0 < found["empty"] <= found["peak"]


def test_the_environment_is_laid_over_and_none_takes_away(worker: Worker) -> None:
    assert worker.ask("environment", name="BRISK_FAKE")["value"] == "yes"
    assert worker.ask("environment", name="HOME")["value"] is None
    assert worker.ask("environment", name="PATH")["value"]


def test_a_refusal_is_its_own_sentence_and_the_worker_goes_on(worker: Worker) -> None:
    with pytest.raises(WorkerFailed, match=r"^the fake: This model is broken\.$"):
        worker.ask("load", model="broken")
    with pytest.raises(WorkerFailed, match=r"^the fake: ValueError: first line$"):
        worker.ask("fail")
    assert worker.ask("encode", text="a b") == {"ids": [1, 2]}


def test_a_worker_that_dies_leaves_its_last_words(worker: Worker) -> None:
    with pytest.raises(WorkerFailed, match="the fake ended: exit code 3, the last word"):
        worker.ask("die")
    with pytest.raises(WorkerFailed, match="the fake ended"):
        worker.ask("memory")


def test_a_worker_that_hangs_is_stopped() -> None:
    worker = Worker("the fake", FAKE)
    worker.ask("memory")  # it has started
    with pytest.raises(WorkerFailed, match="did not answer 'sleep'"):
        worker.ask("sleep", within=0.2)
    worker.close()


def test_what_cannot_be_started_is_named() -> None:
    with pytest.raises(WorkerFailed, match="nobody could not be started"):
        Worker("nobody", ["/nowhere/python"])


def test_closing_twice_is_no_error(worker: Worker) -> None:
    worker.close()
    worker.close()
