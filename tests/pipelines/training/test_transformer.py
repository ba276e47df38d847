"""`brisk train` from texts to a folder: what it writes is what the engine reads, and it goes on where it was cut."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from engine.config import EngineConfig
from engine.engine import Engine
from engine.errors import BadRequest, UserError
from engine.measure.reviews import BadData
from engine.training.log import Log
from engine.training.loop import Interrupted
from pipelines.classification.heads import load_head
from pipelines.classification.pipeline import ClassificationPipeline
from pipelines.classification.rows import Row
from pipelines.training import transformer
from pipelines.training.objectives import bits_a_byte, predict
from pipelines.training.options import CONFIGS, Distillation, TransformerOptions, config
from pipelines.training.transformer import train_transformer

TINY = replace(
    config("imdb-words"), embedding=16, heads=2, layers=2, feed_forward=24, max_tokens=16, batch=8, epochs=8,
    lr=1e-2, min_frequency=1, dropout=0.0, word_dropout=0.0, save_every_s=60, patience=0,
)  # fmt: skip
TINY_LM = replace(TINY, kind="language-model", tokens="bpe", vocabulary=300, epochs=2)
WORDS = ["the", "film", "of", "a", "summer", "and", "its", "people", "in", "some", "old", "town"]


def texts(count: int = 160, seed: int = 0) -> list[Row]:
    """Rows whose label is told by one word."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        words = list(rng.choice(WORDS, rng.integers(4, 9)))
        words.insert(int(rng.integers(len(words))), ("dull", "bright")[i % 2])
        rows.append(Row(" ".join(words), ("bad", "good")[i % 2], f"row {i}"))
    return rows


def run(folder: Path, options: TransformerOptions = TINY, rows: list[Row] | None = None, **more: Any) -> Any:
    torch.set_num_threads(1)  # an engine may have set another number, and matrices this small are slower on two
    said: list[str] = []
    return train_transformer(rows or texts(), options, folder, Log(said.append, False), **more), said


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run(tmp_path_factory.mktemp("trained") / "tiny")[0]


def test_it_learns_and_says_so(trained: Any) -> None:
    assert trained.labels == ("bad", "good") and not trained.model.training
    last = trained.history[-1]
    assert last["validation_accuracy"] > 0.9 and last["validation_loss"] < 0.4
    held = texts(40, seed=9)
    found = predict(trained.model, trained.encode([row.text for row in held]))
    assert np.mean([trained.labels[p.argmax()] == row.label for p, row in zip(found, held, strict=True)]) > 0.9
    report = json.loads((trained.folder / "training.json").read_text())
    assert report["options"]["layers"] == 2 and report["history"][-1]["epoch"] == len(trained.history)
    assert report["machine"]["threads"] == torch.get_num_threads()


def test_the_engine_gives_the_same_probabilities(trained: Any) -> None:
    """The folder is a model like any other, and its head a head: what training computed, the engine computes. Texts
    over the window are shortened alike."""
    head = load_head(str(trained.folder / "classifier.json"))
    asked = [row.text for row in texts(6, seed=4)] + [" ".join([*WORDS, "bright"] * 3)]
    expected = predict(trained.model, trained.encode(asked))
    with Engine(EngineConfig(model=str(trained.folder), precision="fp32")) as engine:
        classify = ClassificationPipeline(engine)
        for text, row in zip(asked, expected, strict=True):
            scores = {one["label"]: one["score"] for one in classify(text, head=head).scores}
            assert [scores[label] for label in trained.labels] == pytest.approx(row, abs=2e-5)


def test_a_cut_training_ends_at_the_same_weights(tmp_path: Path, trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, although it was cut before an epoch's validation and the vocabulary is read back from the folder."""
    measure, calls = transformer.measure, 0

    def cut(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Interrupted("cut")
        return measure(*arguments)

    monkeypatch.setattr(transformer, "measure", cut)
    with pytest.raises(Interrupted):
        run(tmp_path / "tiny", replace(TINY, save_every_s=0.05))
    again, said = run(tmp_path / "tiny")
    assert any(line.startswith("Going on at step") for line in said)
    for name in ("model.safetensors", "classifier.safetensors"):
        ours, whole = load_file(tmp_path / "tiny" / name), load_file(trained.folder / name)
        assert ours.keys() == whole.keys() and all(torch.equal(ours[key], whole[key]) for key in ours)
    assert [one["validation_loss"] for one in again.history] == [one["validation_loss"] for one in trained.history]


def test_other_texts_or_options_do_not_go_on_from_it(trained: Any) -> None:
    films = [row._replace(about=f"film {i // 5}") for i, row in enumerate(texts())]  # another split of the same texts
    for options, rows in ((replace(TINY, lr=1e-3), None), (TINY, texts(seed=1)), (TINY, films)):
        with pytest.raises(UserError, match="holds a training with other options or texts"):
            run(trained.folder, options, rows)


def test_a_language_model_beats_one_that_is_not_trained(tmp_path: Path) -> None:
    rows = [row._replace(label="") for row in texts()]
    found, said = run(tmp_path / "lm", TINY_LM, rows)
    assert found.labels == () and found.history[-1]["validation_accuracy"] is None and "head of" not in said[0]
    asked = [row.text for row in texts(10, seed=5)]
    ids = found.encode(asked)
    fresh = transformer.Transformer(found.model.sizes, seed=0).eval()
    assert bits_a_byte(found.model, ids, asked) < 0.8 * bits_a_byte(fresh, ids, asked)
    with Engine(EngineConfig(model=str(found.folder), precision="fp32")) as engine:
        total = -sum(float(one.logprobs.sum()) for one in engine.logprobs([list(map(int, ids[0]))]))
        with torch.inference_mode():
            ours = found.model(torch.from_numpy(ids[0])[None].long(), torch.tensor([len(ids[0])]))[0].log_softmax(-1)
        own = -sum(float(ours[i, token]) for i, token in enumerate(ids[0][1:]))
        assert total == pytest.approx(own, abs=1e-3)


def test_bits_a_byte_of_a_model_that_knows_nothing(tmp_path: Path) -> None:
    """All logits 0: every token costs log2(V) bits, the one behind each text too, but the stream's first."""
    sizes = transformer.Sizes(32, 8, 2, 1, 8, 4)
    model = transformer.Transformer(sizes).eval()
    with torch.no_grad():
        model.wte.weight.zero_()
    ids = [np.array([5, 6, 7], np.int32), np.array([8, 9], np.int32)]
    assert bits_a_byte(model, ids, ["abcd", "efg"]) == pytest.approx(6 * 5 / 7, rel=1e-6)


def test_a_student_hears_its_teacher(tmp_path: Path) -> None:
    """Of words that stand in no labelled text it can know from the teacher alone."""
    rows = texts()
    rows += [Row(row.text.replace("dull", "grim").replace("bright", "merry"), "", row.name) for row in texts(seed=1)]
    said = np.array([[0.0, 4.0 if {"bright", "merry"} & set(row.text.split()) else -4.0] for row in rows], np.float32)
    found, _ = run(tmp_path / "student", rows=rows, teacher=said, distillation=Distillation(soft=1.0))
    held = [row.text.replace("dull", "grim").replace("bright", "merry") for row in texts(20, seed=3)]
    p = predict(found.model, found.encode(held))
    right = [found.labels[one.argmax()] == row.label for one, row in zip(p, texts(20, seed=3), strict=True)]
    assert np.mean(right) > 0.9
    assert json.loads((found.folder / "training.json").read_text())["distillation"]["soft"] == 1.0


def test_word_vectors_begin_the_embedding(tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text("".join(f"{word} {' '.join(['0.5'] * 16)}\n" for word in ("dull", "bright", "unknownword")))
    _, said = run(tmp_path / "words", replace(TINY, epochs=1), vectors=file)
    assert said[0].startswith("2 of ") and "have a vector" in said[0]
    with pytest.raises(BadRequest, match="Word vectors need whole words"):
        run(tmp_path / "bpe", TINY_LM, vectors=file)
    with pytest.raises(BadRequest, match=r"vectors of 16 numbers.*the embedding has 32"):
        run(tmp_path / "wide", replace(TINY, embedding=32), vectors=file)


def test_one_that_sees_both_ways_is_weights_alone(tmp_path: Path) -> None:
    found, said = run(tmp_path / "both", replace(TINY, causal=False, epochs=1))
    assert said[-1].startswith("It sees both ways") and (found.folder / "checkpoints" / "best.safetensors").is_file()
    assert {path.name for path in found.folder.iterdir()} == {"checkpoints", "training.json"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row._replace(label="good") for row in texts()], "The rows have 1 label"),
        (texts(6), "has 3 rows: give at least 5"),
        ([*texts(10), Row(" ", "good", "row 10")], "The text 'row 10' has no token"),
    ],
)
def test_rows_that_nothing_can_be_learnt_from(tmp_path: Path, rows: list[Row], message: str) -> None:
    with pytest.raises((BadData, BadRequest), match=message):
        run(tmp_path / "none", replace(TINY, validation=0.4), rows)


def test_no_film_is_on_both_sides(tmp_path: Path) -> None:
    rows = [row._replace(about=f"film {i // 5}") for i, row in enumerate(texts())]
    own, held = transformer._split(rows, TINY, True)
    assert not {rows[i].about for i in own} & {rows[i].about for i in held}
    assert sorted([*own, *held]) == list(range(len(rows))) and 0.05 < len(held) / len(rows) < 0.2
    assert {rows[i].label for i in held} == {"bad", "good"}


def test_too_few_rows_to_set_some_aside(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="10 texts are too few to set 10% of them aside"):
        run(tmp_path / "few", TINY, texts(10))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "regression"}, "kind is 'regression': choose one of classification"),
        ({"optimizer": "lion"}, "optimizer is 'lion'"),
        ({"max_tokens": 4}, "max_tokens is 4"),
        ({"min_frequency": 0}, "min_frequency and vocabulary"),
        ({"seed": -1}, "seed is -1"),
        ({"validation": 1.0}, "validation is 1.0"),
    ],
)
def test_options_out_of_range(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        replace(TINY, **wrong)


def test_every_configuration_is_whole() -> None:
    for name, (about, options) in CONFIGS.items():
        assert config(name) is options and about and options.loop().epochs == options.epochs
    with pytest.raises(BadRequest, match="There is no configuration 'gpt': choose imdb-transformer"):
        config("gpt")
