"""Options are checked where they are made, each with one sentence."""

from __future__ import annotations

import math
from typing import Any

import pytest

from engine.config import EngineConfig, SamplingParams
from engine.errors import BadRequest


@pytest.mark.parametrize(
    "given",
    [
        {"max_tokens": 0}, {"max_tokens": -3}, {"min_tokens": 9, "max_tokens": 8}, {"temperature": -1},
        {"temperature": math.nan}, {"temperature": math.inf}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.5},
        {"top_p": math.nan}, {"min_p": -0.1}, {"repetition_penalty": 0}, {"seed": -1}, {"stop": ("",)},
        {"stop": tuple("abcdefghijklmnopqrstu")}, {"logprobs": -1},
    ],
)  # fmt: skip
def test_a_bad_sampling_option_is_named(given: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        SamplingParams(**given)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "given",
    [
        {"model": ""}, {"model": "a\0b"}, {"precision": "int3"}, {"backend": "magic"}, {"threads": -1},
        {"threads": 10_000}, {"max_context": -1}, {"max_batch": 0},
    ],
)  # fmt: skip
def test_a_bad_engine_option_is_named(given: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"\.$"):
        EngineConfig(**given)


def test_one_stop_string_may_stand_alone() -> None:
    assert SamplingParams(stop="END").stop == ("END",)  # type: ignore[arg-type]
