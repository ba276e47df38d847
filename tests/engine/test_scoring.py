"""Scores, log-probabilities, features and spans of the engine on tiny models: Transformers' own numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine import Engine
from tests.engine.conftest import Models
from tests.engine.reference import PROMPTS, expected_logits, opened, random_tokens, transformers_model


def total_logprob(folder: Path, prompt: list[int], choice: list[int]) -> float:
    rows = expected_logits(folder, [*prompt, *choice]).log_softmax(-1)
    return sum(float(rows[len(prompt) - 1 + i, token]) for i, token in enumerate(choice))


@pytest.mark.parametrize("kernels", [True, False])
def test_a_score_is_the_logprob_of_the_continuation(models: Models, kernels: bool) -> None:
    folder = models("qwen3")
    choices = [[5], [6, 7, 8], [6, 7], [9, 5, 5, 100]]
    with opened(folder, kernels=kernels) as engine:
        for prompt, scores in zip(PROMPTS[1:4], engine.score(PROMPTS[1:4], choices), strict=True):
            expected = [total_logprob(folder, prompt, choice) for choice in choices]
            assert scores.logprobs == pytest.approx(expected, abs=1e-3)
            assert scores.tokens == (1, 3, 2, 4)
            own = engine.logprobs([[*prompt, *choices[1]]])[0].logprobs[-3:]
            assert scores.logprobs[1] == pytest.approx(float(own.sum()), abs=1e-3)
            assert scores.timing.prompt_tokens == len(prompt)


def test_the_order_of_choices_does_not_matter(engine: Engine) -> None:
    choices = [[5], [6, 7, 8], [6, 7]]
    engine.score(PROMPTS[2], choices)  # from here on its beginning is reused: cold, fp32 may differ in the last bit
    first = engine.score(PROMPTS[2], choices)[0].logprobs
    assert engine.score(PROMPTS[2], choices[::-1])[0].logprobs == first[::-1]
    assert engine.score(PROMPTS[2], " great")[0].logprobs == engine.score(PROMPTS[2], [" great"])[0].logprobs


def test_logprobs_equal_transformers(engine: Engine, models: Models) -> None:
    for text, found in zip(PROMPTS, engine.logprobs(PROMPTS), strict=True):
        rows = expected_logits(models("llama"), text).log_softmax(-1)
        expected = [float(rows[i, token]) for i, token in enumerate(text[1:])]
        assert found.token_ids.tolist() == text
        assert found.logprobs.dtype == np.float32
        np.testing.assert_allclose(found.logprobs, expected, atol=2e-4)


@pytest.mark.parametrize("layer", [-1, 0, 1, 2])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_features_equal_transformers_hidden_states(models: Models, family: str, layer: int) -> None:
    with opened(models(family)) as engine, torch.inference_mode():
        mean, last = (engine.embed(PROMPTS[1:4], layer, pooling) for pooling in ("mean", "last"))
        for row, text in enumerate(PROMPTS[1:4]):
            output = transformers_model(models(family))(torch.tensor([text]), output_hidden_states=True)
            states = output.hidden_states[layer][0].numpy()
            np.testing.assert_allclose(mean[row], states.mean(0), atol=1e-4)
            np.testing.assert_allclose(last[row], states[-1], atol=1e-4)
        assert mean.dtype == np.float32
        assert engine.embed([]).shape == (0, 64)


def test_spans_stand_in_the_context_best_first(engine: Engine) -> None:
    allowed = random_tokens(30, seed=4)[0]
    spans = engine.spans(PROMPTS[2], allowed, top_k=3, max_tokens=5).spans
    assert len(spans) == 3
    ends = [*engine.tokenizer.eos_ids, engine.tokenizer.encode("\n")[0]]
    for span in spans:
        run = allowed[span.start : span.end]
        scores = engine.score(PROMPTS[2], [[*run, end] for end in ends])[0].logprobs
        assert span.logprob == pytest.approx(float(np.logaddexp.reduce(scores)), abs=1e-3)
    assert [span.logprob for span in spans] == sorted((span.logprob for span in spans), reverse=True)
