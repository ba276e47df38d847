"""The same token ids in and out of a library that takes text alone, and no answer of another length."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from engine.errors import BadRequest
from engine.measure.peers.mistral_rs import MistralRs, matrices, numbered, tokenizer_of


class Runner:
    """Writes the numbers after the last of the prompt, one a part, `missing` of them too few."""

    def __init__(self, missing: int = 0) -> None:
        self.missing = missing

    def send_chat_completion_request(self, request: SimpleNamespace) -> Iterator[Any]:
        assert request.temperature == 0 and request.ignore_eos and request.stream
        last = int(request.messages.rpartition("<")[2][:-1])
        for i in range(request.max_tokens - self.missing):
            delta = SimpleNamespace(content=f"<{last + 1 + i}>")
            yield SimpleNamespace(choices=[SimpleNamespace(delta=delta)])


def server(runner: Runner) -> MistralRs:
    made = MistralRs()
    made._lib = SimpleNamespace(ChatCompletionRequest=SimpleNamespace)  # stands in for what `start` and `load` make
    made._runner = runner
    made._ids = {f"<{i}>": i for i in range(100)}
    made._words = {i: word for word, i in made._ids.items()}
    return made


def test_every_token_id_comes_back_from_its_word(tiny_llama: Path) -> None:
    vocabulary = numbered(tiny_llama)
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    tokenizer = Tokenizer.from_str(json.dumps(tokenizer_of(vocabulary)))
    words = {i: word for word, i in vocabulary.items()}
    for ids in ([5, 5, 17, 3], list(range(len(vocabulary)))):
        text = "".join(words[i] for i in ids)
        assert tokenizer.encode(text, add_special_tokens=False).ids == ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_the_end_keeps_its_name(tiny_llama: Path) -> None:
    from transformers import AutoTokenizer

    ours = AutoTokenizer.from_pretrained(tiny_llama)
    assert numbered(tiny_llama)[ours.eos_token] == ours.eos_token_id


def test_matrices_are_counted_and_vectors_are_not(tiny_llama: Path) -> None:
    weights = load_file(tiny_llama / "model.safetensors")
    assert matrices(tiny_llama) == sum(w.size for w in weights.values() if w.ndim == 2) > 0


def test_a_prompt_is_continued_by_as_many_tokens_as_asked_for() -> None:
    answer = server(Runner()).run([[3, 4, 5]], 6)
    assert answer["tokens"] == [list(range(6, 12))] and answer["decoded"] == 5
    assert answer["whole_s"] == pytest.approx(answer["ttft_s"] + answer["decode_s"])


def test_a_text_of_another_length_is_refused() -> None:
    with pytest.raises(RuntimeError, match="5 tokens came in 5 parts where 6"):
        server(Runner(missing=1)).run([[3, 4, 5]], 6)


def test_several_texts_at_once_are_refused_with_the_cause(tiny_llama: Path) -> None:
    with pytest.raises(BadRequest, match="several prompts at once"):
        MistralRs().load(str(tiny_llama), "Q8_0", threads=1, batch=2)
