"""The Transformer: its gradient, its heads, what padding does; and the folder it is saved as, against Transformers and
the engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine import Engine, EngineConfig, SamplingParams
from engine.errors import BadModel, BadRequest
from engine.training.export import load_weights, save_model
from engine.training.losses import IGNORED, cross_entropy
from engine.training.transformer import Sizes, Transformer
from engine.training.vocabulary import train_bpe, train_words
from tests.tiny import CORPUS

SMALL = {"embedding": 32, "heads": 2, "layers": 2, "feed_forward": 48, "context": 64, "dropout": 0.0}


def random_model(**changes: int | float | bool) -> Transformer:
    """With weights large enough that every part of it shows in the logits."""
    model = Transformer(Sizes(**{"vocabulary": 40, **SMALL, **changes})).eval()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.15 * torch.randn(weight.shape, generator=generator))
    return model


@pytest.mark.parametrize("changes", [{}, {"labels": 3}, {"labels": 3, "causal": False}])
def test_padding_changes_nothing(changes: dict[str, int]) -> None:
    model = random_model(**changes)
    rng = np.random.default_rng(0)
    rows = [torch.from_numpy(rng.integers(0, 40, n)) for n in (9, 4, 1)]
    ids, lengths = torch.zeros(3, 9, dtype=torch.int64), torch.tensor([9, 4, 1])
    for place, row in zip(ids, rows, strict=True):
        place[: len(row)] = row
    together = model(ids, lengths)
    for i, row in enumerate(rows):
        alone = model(row[None], torch.tensor([len(row)]))[0]
        found = together[i] if "labels" in changes else together[i, : len(row)]
        assert torch.allclose(found, alone, atol=1e-5)


def test_a_causal_model_sees_nothing_ahead() -> None:
    first, second = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 3, 9]])
    lengths = torch.tensor([4])
    for causal in (True, False):
        model = random_model(labels=2, causal=causal)
        same = torch.allclose(model.hidden(first, lengths)[:, :3], model.hidden(second, lengths)[:, :3], atol=1e-6)
        assert same == causal


@pytest.mark.parametrize("labels", [0, 2])
def test_the_gradient_is_the_losss_slope(labels: int) -> None:
    """Back-propagation against differences of the loss, in float64, at some numbers of every parameter."""
    model = random_model(labels=labels).double()
    ids, lengths = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 0, 0]]), torch.tensor([5, 3])
    targets = torch.tensor([0, 1]) if labels else torch.tensor([[1, 4, 1, 5, 9], [2, 6, 5, IGNORED, IGNORED]])

    def loss() -> torch.Tensor:
        return cross_entropy(model(ids, lengths).flatten(0, -2), targets.flatten())

    loss().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        flat, slope = weight.data.view(-1), weight.grad.view(-1)
        for i in {0, len(flat) // 2, int(slope.abs().argmax())}:
            kept, h = float(flat[i]), 1e-6
            flat[i] = kept + h
            above = loss().item()
            flat[i] = kept - h
            below = loss().item()
            flat[i] = kept
            assert (above - below) / (2 * h) == pytest.approx(float(slope[i]), rel=1e-4, abs=1e-7), name


def test_weights_begin_as_gpt2s_do() -> None:
    sizes = Sizes(vocabulary=3000, embedding=128, heads=4, layers=8, feed_forward=256)
    model = Transformer(sizes, seed=1)
    spread = {name: weight.std().item() for name, weight in model.named_parameters() if weight.ndim == 2}
    assert spread["wte.weight"] == pytest.approx(0.02, rel=0.02)
    for branch in ("h.0.c_proj.weight", "h.7.c_out.weight"):
        assert spread[branch] == pytest.approx(0.02 / 4, rel=0.03)
    assert torch.equal(model.wte.weight, Transformer(sizes, seed=1).wte.weight)
    assert not torch.equal(model.wte.weight, Transformer(sizes, seed=2).wte.weight)
    untrained = cross_entropy(model(torch.tensor([[1, 2, 3]]), torch.tensor([3]))[0], torch.tensor([4, 5, 6]))
    assert untrained.item() == pytest.approx(np.log(3000), rel=0.02), "nothing is known yet"


def test_norms_biases_and_embeddings_do_not_decay() -> None:
    model = random_model(labels=2)
    decays, rest = model.groups(0.1)
    counted = [sum(w.numel() for w in group["params"]) for group in (decays, rest)]  # type: ignore[attr-defined]
    assert sum(counted) == sum(w.numel() for w in model.parameters())
    assert decays["weight_decay"] == 0.1 and rest["weight_decay"] == 0
    assert all(w.ndim == 2 for w in decays["params"])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"heads": 5}, "does not divide into 5 heads"),
        ({"labels": 1}, "1 labels tells nothing apart"),
        ({"causal": False}, "make it causal"),
        ({"layers": 0}, "layers is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_sizes_that_make_no_model(changes: dict[str, float], sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        Sizes(**{"vocabulary": 40, **SMALL, **changes})  # type: ignore[arg-type]


def test_a_text_beyond_the_positions_is_refused() -> None:
    with pytest.raises(BadRequest, match="65 tokens, and the model has 64"):
        random_model()(torch.zeros(1, 65, dtype=torch.int64), torch.tensor([65]))


@pytest.mark.parametrize("kind", ["bpe", "words"])
def test_the_saved_folder_is_the_same_model(tmp_path: Path, kind: str) -> None:
    """Its logits in Transformers, and its states and tokens in the engine."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = train_bpe(CORPUS, 300) if kind == "bpe" else train_words(CORPUS, 1)
    model = random_model(vocabulary=tokenizer.get_vocab_size(), labels=2)
    folder = save_model(model, tokenizer, tmp_path / "model")
    ids = tokenizer.encode(CORPUS[0]).ids
    batch = torch.tensor([ids]), torch.tensor([len(ids)])
    model.classify = None
    wanted = model(*batch)[0]
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.allclose(loaded(batch[0]).logits[0], wanted, atol=1e-4)
    assert AutoTokenizer.from_pretrained(folder)(CORPUS[0])["input_ids"] == ids
    with Engine(EngineConfig(str(folder), precision="fp32", device="cpu")) as engine:
        assert engine.info.backend == "native"
        assert engine.tokenizer.encode(CORPUS[0]) == ids
        states = engine.embed([ids], -1, "mean")[0]
        assert np.allclose(states, model.hidden(*batch)[0].mean(0).detach().numpy(), atol=1e-4)
        text = engine.generate([ids], SamplingParams(max_tokens=1))[0]
        assert text.token_ids == (int(wanted[-1].argmax()),)


def test_weights_are_taken_over_and_a_head_is_not(tmp_path: Path) -> None:
    tokenizer = train_bpe(CORPUS, 300)
    before = random_model(vocabulary=300)
    save_model(before, tokenizer, tmp_path)
    after = Transformer(Sizes(300, **SMALL, labels=2), seed=3).eval()  # type: ignore[arg-type]
    head = after.classify.weight.clone() if after.classify is not None else None
    load_weights(after, tmp_path)
    ids, lengths = torch.tensor([[5, 6, 7]]), torch.tensor([3])
    assert torch.equal(after.hidden(ids, lengths), before.hidden(ids, lengths))
    assert after.classify is not None and head is not None and torch.equal(after.classify.weight, head)
    shorter = Transformer(Sizes(300, **{**SMALL, "context": 8}, labels=2), seed=3).eval()  # type: ignore[arg-type]
    load_weights(shorter, tmp_path)
    assert torch.equal(shorter.hidden(ids, lengths), before.hidden(ids, lengths))
    with pytest.raises(BadModel, match=r"whose wte.weight is \(300, 32\), and \(301, 32\) is to be trained"):
        load_weights(Transformer(Sizes(301, **SMALL)), tmp_path)  # type: ignore[arg-type]
    with pytest.raises(BadModel, match="cannot be read as a Transformer trained here"):
        load_weights(Transformer(Sizes(300, **{**SMALL, "layers": 3})), tmp_path)  # type: ignore[arg-type]
    with pytest.raises(BadModel, match=r"model\.safetensors cannot be read"):
        load_weights(before, tmp_path / "none")


def test_one_that_sees_both_ways_is_not_saved_as_gpt2(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="both ways"):
        save_model(random_model(labels=2, causal=False), train_bpe(CORPUS, 300), tmp_path)
