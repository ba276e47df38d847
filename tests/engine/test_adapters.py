"""The engine with task adapters: the words of merged weights, a shared reading, everyone in one batch."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from engine import BadRequest, SamplingParams
from engine.errors import BadModel
from tests.engine.conftest import Models
from tests.engine.model.adapters.folders import TARGETS, merged, write
from tests.engine.reference import GREEDY, PROMPTS, expected_tokens, opened, tokens_of

CALL = [301, 302]  # ids that stand in no random text below
PLAIN = {"kernels": False}


def adapter(models: Models, folder: Path, family: str = "llama", **config: Any) -> Path:
    return write(folder, AutoModelForCausalLM.from_pretrained(models(family)), TARGETS[family], **config)


def text(count: int, seed: int = 0) -> list[int]:
    return [token % 300 for token in np.random.default_rng(seed).integers(3, 300, count).tolist()]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("switches", [{}, {"kv_cache": False}, {"kernels": True}], ids=["plain", "no-cache", "kernels"])
def test_greedy_tokens_are_those_of_merged_weights(
    models: Models, tmp_path: Path, family: str, switches: dict[str, Any]
) -> None:
    folder = adapter(models, tmp_path / "a", family)
    model = AutoModelForCausalLM.from_pretrained(models(family))
    merged(model, folder, 2.0)
    model.save_pretrained(tmp_path / "merged")
    for name in os.listdir(models(family)):
        if not (tmp_path / "merged" / name).exists():
            (tmp_path / "merged" / name).write_bytes((models(family) / name).read_bytes())
    with opened(models(family), **{**PLAIN, **switches}) as engine:
        found = [one.token_ids for one in engine.generate(PROMPTS[:3], GREEDY, adapter=folder)]
        bare = tokens_of(engine, PROMPTS[:3])
    assert found == [expected_tokens(tmp_path / "merged", prompt, len(found[0])) for prompt in PROMPTS[:3]]
    assert found != bare


def test_adapters_share_what_the_bare_model_read(models: Models, tmp_path: Path) -> None:
    one, two = (adapter(models, tmp_path / name, alora_invocation_tokens=CALL, seed=i) for i, name in enumerate("ab"))
    plain = adapter(models, tmp_path / "c")
    body = text(100)
    prompt = [*body, *CALL, 5, 6]
    with opened(models("llama"), **PLAIN) as engine, opened(models("llama"), prefix_cache_mb=0, **PLAIN) as alone:
        for folder, reused in ((None, 0), (one, 100), (two, 100), (one, 103), (plain, 0), (plain, 103), (None, 103)):
            found = engine.generate([prompt], GREEDY, adapter=folder)[0]
            assert found.token_ids == alone.generate([prompt], GREEDY, adapter=folder)[0].token_ids
            assert found.timing is not None and found.timing.reused_tokens == reused, folder
        scored = engine.score([prompt], [[7], [8, 9]], adapter=two)[0]
        assert scored.timing.reused_tokens == 103
        np.testing.assert_allclose(
            scored.logprobs, alone.score([prompt], [[7], [8, 9]], adapter=two)[0].logprobs, atol=1e-4
        )
        assert abs(scored.logprobs[0] - engine.score([prompt], [[7]])[0].logprobs[0]) > 1e-3
        spans = engine.spans(prompt, body[:20], max_tokens=3, adapter=two)
        assert spans.timing.reused_tokens == 103
        assert spans.spans[0].tokens == alone.spans(prompt, body[:20], max_tokens=3, adapter=two).spans[0].tokens


@pytest.mark.parametrize("kernels", [False, True])
def test_requests_of_all_adapters_run_together(models: Models, tmp_path: Path, kernels: bool) -> None:
    """Each gets the tokens that it gets alone."""
    folders = [None, *(adapter(models, tmp_path / f"{i}", seed=i, rank=2 + 3 * i) for i in range(3))]
    using = [folders[i % 4] for i in range(8)]
    params = SamplingParams(max_tokens=24, min_tokens=24, logprobs=0)
    with opened(models("llama"), kernels=kernels, prefix_cache_mb=0, speculation=False) as engine:
        alone = [engine.generate([p], params, adapter=a)[0] for p, a in zip(PROMPTS, using, strict=True)]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda i: engine.generate([PROMPTS[i]], params, adapter=using[i])[0], range(8)))
    assert [one.token_ids for one in together] == [one.token_ids for one in alone]
    if kernels:
        assert [one.logprobs for one in together] == [one.logprobs for one in alone]  # to the last bit
    assert len({one.token_ids for one in alone}) == 8


def test_what_cannot_be_is_one_sentence_and_the_engine_lives_on(models: Models, tmp_path: Path) -> None:
    called = adapter(models, tmp_path / "called", alora_invocation_tokens=CALL)
    other = adapter(models, tmp_path / "other", "gpt2")
    with opened(models("llama"), **PLAIN) as engine:
        calls = (
            lambda folder: engine.generate([[5, 6, 7]], adapter=folder),
            lambda folder: engine.score([[5, 6, 7]], [[8]], adapter=folder),
            lambda folder: engine.spans([5, 6, 7], [8], adapter=folder),
            lambda folder: list(engine.stream([5, 6, 7], adapter=folder)),
        )
        for call in calls:
            with pytest.raises(
                BadRequest, match=r"The adapter called acts from .* on, which the prompt does not hold\."
            ):
                call(called)
            with pytest.raises(BadModel, match="which is none of this model's matrices"):
                call(other)
            with pytest.raises(BadModel, match="is no adapter"):
                call(tmp_path / "none")
        assert engine.generate([[5, 6, 7]], GREEDY)[0].token_ids
        shelf = engine._backend.shelf
        assert shelf is not None and not any(shelf.pool._running.values())
    for switches in ({"adapter_mb": 0}, {"backend": "transformers"}):
        with (
            opened(models("llama"), **PLAIN, **switches) as engine,
            pytest.raises(BadRequest, match="without adapters"),
        ):
            engine.generate([[5]], adapter=called)


def test_a_folder_that_is_written_anew_is_read_anew(models: Models, tmp_path: Path) -> None:
    folder = adapter(models, tmp_path / "a")
    with opened(models("llama"), **PLAIN) as engine:
        first = engine.generate([text(40)], GREEDY, adapter=folder)[0].token_ids
        adapter(models, tmp_path / "a", seed=9)
        os.utime(folder / "adapter_model.safetensors", ns=(1, 1))
        second = engine.generate([text(40)], GREEDY, adapter=str(folder))[0]
        assert second.token_ids != first
        assert second.timing is not None and second.timing.reused_tokens == 0
