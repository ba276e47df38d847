"""Divergences against known distributions, and of engines against themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backends.base import MAX_ROWS
from engine.backends.native import NativeBackend
from engine.config import EngineConfig
from engine.loading import load
from engine.measure.fidelity.excerpts import Excerpt
from engine.measure.fidelity.losses import Losses, Reference, compare, of_prompts, of_steps
from tests.engine.conftest import Models
from tests.engine.reference import random_tokens


def excerpts(*lengths: int) -> list[Excerpt]:
    return [Excerpt(tuple(ids), 3 * len(ids)) for ids in random_tokens(*lengths)]


def backend(folder: Path, **options: object) -> NativeBackend:
    config = EngineConfig(
        str(folder), backend="native", kernels=False, threads=1, max_batch=MAX_ROWS, **options  # type: ignore[arg-type]
    )  # fmt: skip
    loaded = load(config, lambda message, share: None).backend
    assert isinstance(loaded, NativeBackend)
    return loaded


def heard(_: int) -> None:
    """Nobody watches."""


def test_known_distributions() -> None:
    p, q = np.array([[0.5, 0.25, 0.25]]), np.array([[0.25, 0.25, 0.5]])
    [found] = compare(np.log(p).astype(np.float32) + 7, np.log(q).astype(np.float32) - 3, np.array([2]))
    kl, same, nats, reference_nats = found
    assert kl == pytest.approx(0.5 * math.log(2) - 0.25 * math.log(2), rel=1e-6)
    assert same == 0
    assert (nats, reference_nats) == (pytest.approx(math.log(2)), pytest.approx(2 * math.log(2)))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 200), st.integers(0, 2**31), st.floats(0.01, 5))
def test_divergence_is_never_negative_and_nothing_beside_itself(vocabulary: int, seed: int, spread: float) -> None:
    generator = np.random.default_rng(seed)
    a, b = (generator.normal(size=(4, vocabulary)).astype(np.float32) * np.float32(spread) for _ in range(2))
    next_ids = generator.integers(0, vocabulary, 4)
    assert (compare(a, b, next_ids)[:, 0] > -1e-6).all()
    itself = compare(a, a, next_ids)
    assert (itself[:, 0] == 0).all() and (itself[:, 1] == 1).all() and (itself[:, 2] == itself[:, 3]).all()


def test_sums_are_kept_by_text() -> None:
    losses = Losses.of(excerpts(5, 9))
    losses.add(1, np.array([[0.5, 1, 2, 3], [0.25, 0, 4, 5]]))
    losses.add(1, np.array([[1.0, 1, 1, 1]]))
    assert losses.positions.tolist() == [0, 3]
    assert losses.bytes.tolist() == [15, 27]
    assert [column[1] for column in (losses.kl, losses.same, losses.nats, losses.reference_nats)] == [1.75, 2, 7, 9]


@pytest.fixture(scope="module")
def full(models: Models) -> Iterator[tuple[NativeBackend, list[Excerpt], Reference]]:
    reference = backend(models("llama"), precision="fp32")
    texts = excerpts(30, 7, *[12] * (MAX_ROWS + 1), 2)  # more texts than run side by side
    yield reference, texts, Reference(reference, texts, heard)


@pytest.mark.parametrize("way", [of_prompts, of_steps])
def test_fp32_beside_itself_loses_nothing(full: tuple[NativeBackend, list[Excerpt], Reference], way: object) -> None:
    reference, texts, expected = full
    found = way(expected, reference, texts, heard)  # type: ignore[operator]
    assert found.positions.tolist() == [len(text.tokens) - 1 for text in texts]
    assert (found.same == found.positions).all()
    assert np.abs(found.kl).max() < 1e-6
    np.testing.assert_allclose(found.nats, found.reference_nats, rtol=1e-5)


def test_the_texts_own_nats_are_those_of_the_engine(full: tuple[NativeBackend, list[Excerpt], Reference]) -> None:
    reference, texts, expected = full
    found = of_prompts(expected, reference, texts[:2], heard)
    for text, nats in zip(texts, found.reference_nats, strict=False):
        assert nats == pytest.approx(-reference.token_logprobs(0, 0, text.tokens).sum(), rel=1e-4)


@pytest.mark.parametrize(
    "options", [{"precision": "int8"}, {"precision": "int4"}, {"precision": "fp32", "kv_precision": "int8"}]
)
def test_what_is_lost_is_seen_by_both_ways_alike(
    models: Models, full: tuple[NativeBackend, list[Excerpt], Reference], options: dict[str, str]
) -> None:
    _, texts, expected = full
    lossy = backend(models("llama"), **options)
    prompts, steps = of_prompts(expected, lossy, texts, heard), of_steps(expected, lossy, texts, heard)
    assert prompts.kl.sum() > 1e-3 * prompts.positions.sum() / 10
    # Rounding may tip a value of an int8 head to the next step: small beside what is lost.
    assert steps.kl.sum() == pytest.approx(prompts.kl.sum(), rel=0.05)
    assert torch.isfinite(torch.from_numpy(prompts.nats)).all()
