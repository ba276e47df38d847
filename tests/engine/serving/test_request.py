"""One request: what is shown while it runs, how it ends, and what is kept of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config import SamplingParams
from engine.errors import BadRequest
from engine.serving.request import Inputs, Request, many
from engine.text.tokenizer import Tokenizer
from tests.tiny import save_tiny_tokenizer

WINDOW = 64


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Tokenizer:
    return Tokenizer.from_folder(tiny_llama)


def run(tokenizer: Tokenizer, tokens: list[int], prompt: list[int] | None = None, **params: Any) -> Request:
    """A request whose model says `tokens`, one after another, until it ends."""
    running = Request(prompt or [5], SamplingParams(**{"max_tokens": 60, **params}), tokenizer, WINDOW)
    for token in tokens:
        if running.finish_reason:
            break
        logits = np.zeros(384, np.float32)
        logits[token] = 9
        running.advance(logits)
    return running


TEXTS = st.text(st.sampled_from("ab \n😀日é"), min_size=1, max_size=12)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, stop=st.text(st.sampled_from("ab \n😀"), min_size=1, max_size=3))
def test_a_stream_joined_is_the_text_before_the_stop_string(tokenizer: Tokenizer, text: str, stop: str) -> None:
    eos = min(tokenizer.eos_ids)
    running = run(tokenizer, [*tokenizer.encode(text), eos], stop=(stop,))
    assert running.completion().text == text.split(stop)[0]
    assert running.finish_reason == ("stop_string" if stop in text else "stop")
    shown = ""
    for token in running.tokens:  # nothing shown is ever taken back, and no character is shown in halves
        shown += token.text
        assert text.startswith(shown)


def test_a_text_cut_at_max_tokens_shows_all_it_has(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("😀")
    assert len(ids) > 1
    running = run(tokenizer, ids[:-1], max_tokens=len(ids) - 1)
    assert running.finish_reason == "length"
    assert running.completion().text == tokenizer.decode(ids[:-1])  # half an emoji, as the full decode has it
    held = run(tokenizer, tokenizer.encode("ab"), max_tokens=len(tokenizer.encode("ab")), stop=("abc",))
    assert held.completion().text == "ab"  # the beginning of a stop string that never came


def test_the_window_ends_a_text_too(tokenizer: Tokenizer) -> None:
    running = run(tokenizer, [70] * 60, prompt=[5] * (WINDOW - 3))
    assert (running.finish_reason, len(running.tokens)) == ("length", 3)


def test_the_end_of_text_token_is_kept_but_not_shown(tokenizer: Tokenizer) -> None:
    eos = min(tokenizer.eos_ids)
    done = run(tokenizer, [70, 71, eos, 72]).completion()
    assert done.token_ids == (70, 71, eos)
    assert done.text == tokenizer.decode([70, 71])
    assert done.timing.finish_reason == "stop"
    assert (done.timing.prompt_tokens, done.timing.new_tokens) == (1, 3)


def test_the_repetition_penalty_covers_the_prompt_and_what_was_made(tokenizer: Tokenizer) -> None:
    running = Request([70], SamplingParams(max_tokens=3, repetition_penalty=2.0), tokenizer, WINDOW)
    for _ in range(3):
        logits = np.full(384, -1, np.float32)
        logits[[70, 71, 72, 73]] = [9, 8, 7, 6]
        running.advance(logits)
    assert [token.id for token in running.tokens] == [71, 72, 73]


def test_logprobs_only_where_they_were_asked_for(tokenizer: Tokenizer) -> None:
    silent, told = (
        run(tokenizer, [70], max_tokens=1).completion(),
        run(tokenizer, [70], max_tokens=1, logprobs=2).completion(),
    )
    assert (silent.logprobs, silent.top_logprobs) == (None, None)
    assert told.logprobs is not None
    assert told.top_logprobs is not None
    assert told.top_logprobs[0][0] == (70, told.logprobs[0])
    assert len(told.top_logprobs[0]) == 2


def test_the_events_are_the_tokens_then_none(tokenizer: Tokenizer) -> None:
    running = run(tokenizer, [70, 71], max_tokens=2)
    events = [running.events.get(timeout=1) for _ in range(3)]
    assert events == [*running.tokens, None]


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
