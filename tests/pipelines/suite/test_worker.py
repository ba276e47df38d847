"""The suite's worker for the tasks: their own prompts, as they would be asked, and what the engine counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipelines.classification import heads
from pipelines.classification.heads import Head, save_head
from pipelines.evaluation.data import unique_reviews
from pipelines.suite.worker import Tasks


@pytest.fixture
def worker(tiny_llama: Path, imdb_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tasks]:
    monkeypatch.setenv("IMDB_DIR", str(imdb_dir))
    unique_reviews.cache_clear()
    tasks = Tasks()
    tasks.start()
    tasks.load(model=str(tiny_llama), precision="fp32", kernels=False)
    yield tasks
    tasks.engine.close()
    unique_reviews.cache_clear()


def test_label_prompts_are_those_of_classification(worker: Tasks) -> None:
    found = worker.label_prompts(6)
    tokenizer = worker.engine.tokenizer
    assert len(found["prompts"]) == 6
    assert [tokenizer.decode(choice).strip() for choice in found["choices"]] == ["positive", "negative"]
    texts = [tokenizer.decode(prompt) for prompt in found["prompts"]]
    assert all("The acting was" in text for text in texts) and len(set(texts)) == 6
    assert worker.engine.prompt_tokens_computed == 0  # nothing was run to find them


def test_a_head_judges_the_same_reviews(worker: Tasks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert worker.label_prompts(4)["head"] == ""
    info = worker.engine.info
    weight = np.zeros((2, info.hidden), np.float32)
    always = Head("glad", info.model, 1, 64, "last", ("negative", "positive"), weight, np.array([0, 1], np.float32), {})
    monkeypatch.setattr(heads, "FOLDER", tmp_path)
    save_head(always, tmp_path)
    assert worker.label_prompts(4)["head"] == "glad"
    rounds = [worker.by_head("glad", 6, part, 3) for part in range(3)]
    positive = sum(review.label for review in worker._reviews(6))
    assert sum(one["right"] for one in rounds) == positive > 0 and all(one["seconds"] > 0 for one in rounds)


def test_writing_prompts_are_summaries_and_questions_in_turn(worker: Tasks) -> None:
    prompts = worker.writing_prompts(4)["prompts"]
    texts = [worker.engine.tokenizer.decode(prompt) for prompt in prompts]
    assert all("The acting was" in text for text in texts)
    assert [text.count("in the writer's own words?") for text in texts] == [0, 1, 0, 0]
    assert len({tuple(prompt) for prompt in prompts}) == 4
    assert worker.engine.prompt_tokens_computed == 0


def test_four_tasks_share_the_text(worker: Tasks) -> None:
    found = worker.four_tasks(2)
    assert found["computed"] > 0 and found["reused"] > found["computed"] / 4


def test_without_reuse_nothing_is_shared(tiny_llama: Path, imdb_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMDB_DIR", str(imdb_dir))
    unique_reviews.cache_clear()
    tasks = Tasks()
    tasks.start()
    tasks.load(model=str(tiny_llama), precision="fp32", kernels=False, prefix_cache_mb=0)
    try:
        assert tasks.four_tasks(2)["reused"] == 0
    finally:
        tasks.engine.close()
        unique_reviews.cache_clear()
