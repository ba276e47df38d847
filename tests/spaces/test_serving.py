"""The assembled folder, started as a Space starts it and asked through its endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from gradio_client import Client

from pipelines import TASKS
from spaces.build import ROOT, assemble
from tests.serving import served

pytestmark = pytest.mark.model

CONTEXT = "The lighthouse was finished in 1874. Its keeper, Anna Berg, lived there for forty years with two goats."


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, default_model_folder: object) -> Iterator[Client]:
    folder = assemble(ROOT / "build" / "test-space")  # always there: Numba caches compiled kernels by their path
    log = tmp_path_factory.mktemp("space") / "log"
    # A Space tells Gradio where to listen with these two.
    with served(folder, log, "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT") as url:
        yield Client(url, verbose=False)


REQUESTS: dict[str, dict[str, Any]] = {
    "/classify": {"text": "A warm, funny film, and I cried twice.", "labels": "positive, negative"},
    "/summarize": {"text": CONTEXT * 2, "length": "short"},
    "/answer": {"question": "When was the lighthouse finished?", "context": CONTEXT, "no_answer_threshold": 1},
    "/generate": {"prompt": "Name a colour.", "max_tokens": 8, "seed": 1},
}


def test_every_task_is_asked() -> None:
    assert {task.endpoint for task in TASKS.values()} == set(REQUESTS)


@pytest.mark.parametrize("endpoint", REQUESTS)
def test_the_assembled_space_answers(client: Client, endpoint: str) -> None:
    result = client.predict(**REQUESTS[endpoint], api_name=endpoint)
    assert result["timing"]["device"]
    if endpoint == "/classify":
        assert [set(row) for row in result["scores"]] == [{"label", "score"}] * 2
        assert result["label"] == "positive"
    elif endpoint == "/summarize":
        assert result["summary_text"] and result["compression"] > 0
    elif endpoint == "/answer":
        assert result["answer"] == CONTEXT[result["start"] : result["end"]] != ""
    else:
        assert result["generated_text"] and result["details"]["generated_tokens"] <= 8
