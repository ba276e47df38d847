"""What callers give, as token ids that fit."""

from __future__ import annotations

import pytest

from engine.config import SamplingParams
from engine.errors import BadRequest
from engine.serving.request import Inputs, many
from engine.text.tokenizer import Tokenizer
from tests.tiny import save_tiny_tokenizer


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tiny_tokenizer(folder)
    return Inputs(Tokenizer.from_folder(folder), 384, 16)


def test_one_prompt_or_several() -> None:
    assert many("a") == ["a"] and many([1, 2]) == [[1, 2]] and many(["a", "b"]) == ["a", "b"] and many([]) == []


def test_ids_fit_the_window_beside_what_is_asked_for(inputs: Inputs) -> None:
    assert inputs.ids([5] * 10, 6) == [5] * 10
    assert inputs.request([5] * 3, SamplingParams(max_tokens=4), None, None).prompt_tokens == 3
    with pytest.raises(BadRequest, match="has 10 tokens and 7 more are asked for, but the window is 16"):
        inputs.ids([5] * 10, 7)


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [("", "The choice is empty"), ([384], "outside 0 to 383"), ([-1], "outside 0 to 383")],
)
def test_bad_ids_are_one_sentence(inputs: Inputs, prompt: str | list[int], sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        inputs.tokens(prompt, "choice")


def test_a_context_is_something_and_ends_are_known(inputs: Inputs) -> None:
    with pytest.raises(BadRequest, match="There is no text to take an answer from"):
        inputs.context([])
    assert inputs.context([7, 8]) == [7, 8] and inputs.tokens("\n")[0] in inputs.ends("\n")
