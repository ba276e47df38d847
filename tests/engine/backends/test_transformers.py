"""The Transformers backend: the same contract for causal, encoder-decoder and encoder models."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from engine import BadRequest, Engine, EngineConfig, SamplingParams
from engine.backends.pretrained import kind_of

Save = Callable[[str, Callable[[int], Any]], Path]


def loaded(folder: Path, precision: Any = "fp32", backend: Any = "transformers", kv_cache: bool = True) -> Engine:
    return Engine(EngineConfig(str(folder), precision=precision, backend=backend, kv_cache=kv_cache, kernels=False))


@pytest.fixture(scope="module")
def save(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Save:
    """Save a random model beside the tiny tokenizer."""
    root = tmp_path_factory.mktemp("encoders")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_llama)

    def save(name: str, make: Callable[[int], Any]) -> Path:
        torch.manual_seed(0)
        folder = root / name
        make(len(tokenizer)).save_pretrained(folder)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny_llama / file, folder / file)
        return folder

    return save


@pytest.fixture(scope="module")
def t5(save: Save) -> Path:
    config: Any = transformers.T5Config  # its declared signature lacks inherited fields
    return save("t5", lambda size: transformers.T5ForConditionalGeneration(config(
        vocab_size=size, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0,
        eos_token_id=1, pad_token_id=0, tie_word_embeddings=False, initializer_factor=4.0)))  # fmt: skip


@pytest.fixture(scope="module")
def answering(save: Save) -> Path:
    return save("answering", lambda size: transformers.DistilBertForQuestionAnswering(transformers.DistilBertConfig(
        vocab_size=size, dim=32, hidden_dim=64, n_layers=2, n_heads=4, max_position_embeddings=64)))  # fmt: skip


@pytest.fixture(scope="module")
def classifying(save: Save) -> Path:
    return save("classifying", lambda size: transformers.DistilBertForSequenceClassification(
        transformers.DistilBertConfig(vocab_size=size, dim=32, hidden_dim=64, n_layers=2, n_heads=4,
                                      max_position_embeddings=64, id2label={0: "bad", 1: "good"},
                                      label2id={"bad": 0, "good": 1})))  # fmt: skip


@pytest.mark.parametrize("kv_cache", [True, False])
def test_causal_gives_what_our_own_decoder_gives(tiny_llama: Path, kv_cache: bool) -> None:
    params = SamplingParams(max_tokens=16)
    prompts = ["hello there", "the cat sat on the mat"]
    with loaded(tiny_llama, backend="native") as ours, loaded(tiny_llama, kv_cache=kv_cache) as theirs:
        assert theirs.info.backend == "transformers"
        ours_out, theirs_out = ours.generate(prompts, params), theirs.generate(prompts, params)
        assert [c.token_ids for c in ours_out] == [c.token_ids for c in theirs_out]
        for prompt in prompts:
            np.testing.assert_allclose(
                ours.logprobs(prompt)[0].logprobs, theirs.logprobs(prompt)[0].logprobs, atol=1e-4
            )
        choices = [" world", "abc", " world"]
        np.testing.assert_allclose(
            ours.score(prompts[0], choices)[0].logprobs, theirs.score(prompts[0], choices)[0].logprobs, atol=1e-4
        )
        allowed = ours.tokenizer.encode(prompts[1])
        ours_spans, theirs_spans = (e.spans("hello", allowed, top_k=3, max_tokens=4).spans for e in (ours, theirs))
        assert [(s.start, s.end) for s in ours_spans] == [(s.start, s.end) for s in theirs_spans]
        np.testing.assert_allclose(ours.embed(prompts, layer=1), theirs.embed(prompts, layer=1), atol=1e-4)


def test_prompts_that_begin_alike_share_their_prefill_here_too(tiny_llama: Path) -> None:
    params = SamplingParams(max_tokens=8)
    shared = list(range(10, 70))
    with loaded(tiny_llama) as warm, loaded(tiny_llama, kv_cache=False) as plain:
        for ending in ([5], [6, 7], [5]):
            found, expected = (engine.generate([*shared, *ending], params)[0] for engine in (warm, plain))
            assert found.token_ids == expected.token_ids
            np.testing.assert_allclose(
                warm.score([*shared, *ending], [[7, 8], [9]])[0].logprobs,
                plain.score([*shared, *ending], [[7, 8], [9]])[0].logprobs,
                atol=1e-4,
            )
        assert found.timing.reused_tokens == 60
        assert plain.prompt_tokens_reused == 0
        assert warm.info.notes == plain.info.notes


def test_an_architecture_whose_cache_cannot_be_cut_says_that_nothing_is_shared(save: Save) -> None:
    folder = save("sliding", lambda size: transformers.MistralForCausalLM(transformers.MistralConfig(
        vocab_size=size, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=16, max_position_embeddings=128, eos_token_id=1, pad_token_id=0,
        bos_token_id=0)))  # fmt: skip
    shared = list(range(10, 50))
    with loaded(folder) as engine:
        assert any("share nothing" in note for note in engine.info.notes)
        first, again = (engine.generate(shared, SamplingParams(max_tokens=6))[0] for _ in range(2))
        assert first.token_ids == again.token_ids
        assert again.timing.reused_tokens == 0


@pytest.mark.parametrize("precision", ["half", "int8"])
def test_stored_precisions_are_smaller_and_say_what_they_cost(tiny_llama: Path, precision: str) -> None:
    with loaded(tiny_llama) as full, loaded(tiny_llama, precision) as stored:
        assert stored.info.weight_bytes < full.info.weight_bytes
        assert any("not time" in note for note in stored.info.notes)
        near = np.abs(full.logprobs("hello there")[0].logprobs - stored.logprobs("hello there")[0].logprobs).max()
        assert 0 < near < 0.5


def test_encoder_decoder_equals_its_own_generate(t5: Path) -> None:
    with loaded(t5, backend="auto") as engine:
        assert engine.info.kind == "seq2seq"
        assert any("t5" in note for note in engine.info.notes)  # the fallback is said
        ids = engine.tokenizer.encode("hello there my friend")
        model: Any = transformers.T5ForConditionalGeneration.from_pretrained(t5)
        expected = model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0].tolist()[1:]
        assert list(engine.generate([ids], SamplingParams(max_tokens=12))[0].token_ids) == expected


def test_encoder_decoder_scores_choices_from_one_encoding(t5: Path) -> None:
    with loaded(t5) as engine:
        ids = engine.tokenizer.encode("hello there")
        first, second, again = engine.score([ids], [[5, 6, 7], [8, 9], [5, 6, 7]])[0].logprobs
        assert first == pytest.approx(again, rel=1e-6)
        model: Any = transformers.T5ForConditionalGeneration.from_pretrained(t5)
        logits = model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[0, 8]])).logits[0]
        expected = logits.log_softmax(-1)[[0, 1], [8, 9]].sum().item()
        assert second == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("precision", "bound"), [("half", 0.01), ("int8", 0.2), ("int4", 0.5)])
def test_encoder_decoder_runs_in_stored_precisions(t5: Path, precision: str, bound: float) -> None:
    with loaded(t5) as full, loaded(t5, precision) as stored:
        assert stored.info.weight_bytes < full.info.weight_bytes
        expected, found = (e.score("hello there", [[5, 6, 7]])[0].logprobs[0] for e in (full, stored))
        assert 0 < abs(found - expected) < bound * abs(expected)


def test_encoder_decoder_needs_its_cache(t5: Path) -> None:
    with pytest.raises(BadRequest, match="KV cache only"), loaded(t5, kv_cache=False):
        pass


def test_classification_equals_the_model(classifying: Path) -> None:
    with loaded(classifying, backend="auto") as engine:
        assert engine.info.kind == "classification"
        tokenizer = transformers.AutoTokenizer.from_pretrained(classifying)
        model: Any = transformers.DistilBertForSequenceClassification.from_pretrained(classifying).eval()
        expected = model(**tokenizer("a good film", return_tensors="pt")).logits[0].softmax(-1).tolist()
        (found,) = engine.classify(["a good film"])
        assert list(found) == ["bad", "good"]
        assert list(found.values()) == pytest.approx(expected, abs=1e-5)
        with pytest.raises(BadRequest, match="classification model"):
            engine.generate("x")
        with pytest.raises(BadRequest, match="window is 64"):
            engine.classify(["word " * 100])


def test_answers_are_spans_of_a_long_context(answering: Path) -> None:
    context = "the cat sat on the mat with a hat and a bat. " * 12  # several windows of 64 tokens
    with loaded(answering) as engine:
        assert engine.info.kind == "question-answering"
        spans, none = engine.answer("who?", context, top_k=5)
        assert len(spans) == 5
        assert len(set(spans)) == 5
        assert [score for *_, score in spans] == sorted((score for *_, score in spans), reverse=True)
        assert all(0 <= start < end <= len(context) for start, end, _ in spans)
        assert 0 < none < 1


def test_kind_is_read_from_the_architecture() -> None:
    assert kind_of({"architectures": ["BertForSequenceClassification"]}) == "classification"
    assert kind_of({"architectures": ["RobertaForQuestionAnswering"]}) == "question-answering"
    assert kind_of({"architectures": ["BartForConditionalGeneration"], "is_encoder_decoder": True}) == "seq2seq"
    assert kind_of({"architectures": ["MambaForCausalLM"]}) == "causal"
