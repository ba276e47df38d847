"""Our own worker, on a tiny model in plain torch: what it times is what the engine does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config import SamplingParams
from engine.errors import BadRequest
from engine.measure.speed.brisk import Brisk

PLAIN = {"precision": "fp32", "kernels": False, "max_batch": 4}


@pytest.fixture(scope="module")
def loaded(tiny_llama: Path) -> Iterator[Brisk]:
    server = Brisk()
    server.start()
    server.info = server.load(model=str(tiny_llama), **PLAIN)  # type: ignore[attr-defined]
    yield server
    server.engine.close()


def test_loading_says_what_is_loaded(loaded: Brisk) -> None:
    info = loaded.info  # type: ignore[attr-defined]
    assert (info["dtype"], info["kv"], info["max_context"]) == ("fp32", "fp32", 512)
    assert info["weight_bytes"] == loaded.engine.info.weight_bytes > 0
    assert {"torch", "numba", "transformers"} <= set(info["versions"])


def test_nothing_is_reused_or_guessed_unless_asked(loaded: Brisk) -> None:
    assert loaded.engine.config.prefix_cache_mb == 0 and not loaded.engine.config.speculation
    prompt = list(range(10, 60))
    loaded.run([prompt], 2)
    before = loaded.engine.prompt_tokens_computed
    loaded.run([prompt], 2)
    assert loaded.engine.prompt_tokens_computed - before == 50


def test_one_stream_is_timed_from_its_first_token(loaded: Brisk) -> None:
    prompt = list(range(10, 40))
    answer = loaded.run([prompt], 9)
    [done] = loaded.engine.generate([prompt], SamplingParams(max_tokens=9, min_tokens=9))
    assert answer["tokens"] == [list(done.token_ids)] and answer["decoded"] == 8
    assert 0 < answer["ttft_s"] < answer["whole_s"]
    assert answer["decode_s"] == pytest.approx(answer["whole_s"] - answer["ttft_s"])


def test_streams_are_counted_only_while_all_decode(loaded: Brisk) -> None:
    prompts = [list(range(10 + i, 40 + i)) for i in range(3)]
    answer = loaded.run(prompts, 400)  # so many that one is not done before the next has begun
    assert [len(tokens) for tokens in answer["tokens"]] == [400, 400, 400]
    assert 0 < answer["decoded"] <= 1197  # 3 streams of 399 after the first token, less what was made before or after
    assert answer["ttft_s"] + answer["decode_s"] <= answer["whole_s"]


def test_a_bad_request_of_a_stream_is_raised(loaded: Brisk) -> None:
    with pytest.raises(BadRequest, match="window"):
        loaded.run([list(range(10, 40))], 500)


def test_scores_are_the_engines(loaded: Brisk) -> None:
    prompts, choices = [[5, 6, 7], [8, 9]], [[10], [11, 12]]
    answer = loaded.score(prompts, choices)
    expected = [list(scores.logprobs) for scores in loaded.engine.score(prompts, choices)]
    assert answer["logprobs"] == expected and answer["seconds"] > 0


def test_written_texts_end_where_the_model_ends(loaded: Brisk) -> None:
    prompts = [[5, 6, 7], [8, 9, 10, 11]]
    answer = loaded.generate(prompts, 6)
    done = loaded.engine.generate(prompts, SamplingParams(max_tokens=6))
    assert answer["tokens"] == [list(one.token_ids) for one in done]
    assert answer["decoded"] == sum(len(one.token_ids) - 1 for one in done) and answer["decode_s"] > 0


def test_text_becomes_the_models_tokens(loaded: Brisk) -> None:
    assert loaded.encode("a film")["ids"] == loaded.engine.tokenizer.encode("a film")
