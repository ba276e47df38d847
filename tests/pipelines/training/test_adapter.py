"""Training an adapter: it learns, goes on where it was cut, and the pipelines run what is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from engine.engine import Engine
from engine.errors import BadRequest
from engine.training import loop
from engine.training.log import Log
from engine.training.loop import Interrupted
from pipelines.classification.pipeline import ClassificationPipeline
from pipelines.training.adapter import AdapterOptions, TrainedAdapter, split, train_adapter
from pipelines.training.adapter_report import compare
from pipelines.training.lessons import Lesson
from tests.engine.reference import opened
from tests.tiny import make_tiny_model

OPTIONS = AdapterOptions("classification", rank=4, lr=2e-2, batch=8, epochs=8, patience=0, validation=0.2, test=0.2)
LESSONS = [
    Lesson(f"film {i} was a {'joy' if i % 2 else 'bore'}", "", "yes" if i % 2 else "no", f"row {i}") for i in range(40)
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with opened(make_tiny_model(tmp_path_factory.mktemp("tiny"), "llama", max_positions=256)) as engine:
        yield engine


def run(engine: Engine, folder: Path, options: AdapterOptions = OPTIONS) -> TrainedAdapter:
    return train_adapter(engine, LESSONS, options, folder, Log(lambda sentence: None, bar=False), "a test")


@pytest.fixture(scope="module")
def trained(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> TrainedAdapter:
    return run(engine, tmp_path_factory.mktemp("adapter") / "mine")


def test_it_learns_and_its_folder_is_served(engine: Engine, trained: TrainedAdapter) -> None:
    losses = [record["validation_loss"] for record in trained.history]
    assert min(losses[1:]) < 0.7 * losses[0] and len(trained.tested) == 8
    pipeline = ClassificationPipeline(engine, adapter=trained.folder)
    hits = [pipeline(lesson.text).scores[0]["label"] == lesson.answer for lesson in LESSONS]
    assert sum(hits) >= 36
    [line] = compare(engine, trained, "classification")
    assert line.startswith("accuracy: bare ") and line.endswith(", n = 8.")


def test_a_cut_training_ends_at_the_same_adapter(
    engine: Engine, trained: TrainedAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    whole = loop._Loop._step

    def cut(self: Any, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise Interrupted("cut")
        whole(self, *arguments)

    options = AdapterOptions(**{**OPTIONS.__dict__, "save_every_s": 0.0})
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(loop._Loop, "_step", cut)
        run(engine, tmp_path / "mine", options)
    again = run(engine, tmp_path / "mine", options)
    one, two = (load_file(made.folder / "adapter_model.safetensors") for made in (trained, again))
    assert one.keys() == two.keys() and all((one[name] == two[name]).all() for name in one)


def test_lessons_about_one_thing_stay_together() -> None:
    lessons = [Lesson(f"text {i}", "", "x", f"row {i}", about=f"film {i % 10}") for i in range(40)]
    parts = split(lessons, (0.2, 0.1), 0)
    films = [{lesson.about for lesson in part} for part in parts]
    assert [len(part) for part in films] == [7, 2, 1] and sum(map(len, parts)) == 40
    assert not films[0] & films[1] and not films[1] & films[2] and not films[0] & films[2]
    with pytest.raises(BadRequest, match="There are 4 lessons on 4 texts: give at least 8"):
        split(lessons[:4], (0.1, 0.1), 0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"task": "poetry"}, "The task is 'poetry'"), ({"rank": 0}, "rank is 0"), ({"alpha": 0.0}, "alpha is 0"),
        ({"dropout": 1.0}, "dropout is 1"), ({"batch": 0}, "batch is 0"), ({"max_tokens": 2}, "max_tokens is 2"),
        ({"validation": 0.0}, "validation is 0"), ({"test": 0.95}, "test is 0.95"),
    ],
)  # fmt: skip
def test_bad_options_are_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        AdapterOptions(**{"task": "classification", **options})


def test_the_report_on_questions_has_those_without_an_answer(engine: Engine, tmp_path: Path) -> None:
    lessons = [
        Lesson(f"Film {i} cost {i} euros.", "How much?", f"{i} euros" if i % 2 else "", f"row {i}") for i in range(20)
    ]
    options = AdapterOptions("question_answering", rank=2, epochs=1, validation=0.2, test=0.4)
    trained = train_adapter(engine, lessons, options, tmp_path / "a", Log(lambda sentence: None, bar=False))
    lines = compare(engine, trained, "question_answering")
    assert [line.partition(":")[0].partition(" of which")[0] for line in lines] == [
        "F1, answered", "exact, answered", f"AUC of 'no answer', {sum(not one.answer for one in trained.tested)}",
    ]  # fmt: skip
