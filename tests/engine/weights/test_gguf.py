"""GGUF in, the same model out; and whatever is wrong with a GGUF ends in one sentence."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from engine.errors import BadModel
from engine.text.tokenizer import Tokenizer
from engine.weights import load_state
from engine.weights.files import silent
from engine.weights.gguf_model import convert
from tests.engine.weights.gguf_maker import Q, make_gguf
from tests.tiny import FAMILIES, make_tiny_model

TEXTS = ("The film was great.", "  I'll see it 123 times\n\n— naïve 漢字 👍 ", "<|im_end|> no", "a\tb  c")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("gguf") / request.param, request.param)


@pytest.fixture(scope="module")
def llama_gguf(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    return make_gguf(tiny_llama, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def converted(path: Path, folder: Path) -> tuple[str, tuple[str, ...]]:
    folder.mkdir(exist_ok=True)
    return convert(path, folder, silent)


def test_weights_config_and_logits_survive(model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    kinds, notes = converted(make_gguf(model, tmp_path / "m.gguf"), tmp_path / "out")
    assert (kinds, notes) == ("F32", ())
    before, after = load_file(model / "model.safetensors"), load_state(tmp_path / "out")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    ids = torch.tensor([[5, 9, 300, 17, 42, 99, 7, 7]])
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)(ids).logits
        found = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)(ids).logits
    assert torch.equal(found, expected)


def test_the_tokenizer_survives(tiny_llama: Path, llama_gguf: Path, tmp_path: Path) -> None:
    converted(llama_gguf, tmp_path)
    before, after = Tokenizer.from_folder(tiny_llama), Tokenizer.from_folder(tmp_path)
    for text in TEXTS:
        assert after.encode(text) == before.encode(text)
        message = [{"role": "user", "content": text}]
        assert after.chat(message) == before.chat(message)
    assert after.eos_ids == before.eos_ids == {2} and after.bos_id == before.bos_id == 1


@pytest.mark.parametrize("kind", [Q.F16, Q.BF16, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0])
def test_quantized_weights_become_what_they_stand_for(kind: Q, tiny_llama: Path, tmp_path: Path) -> None:
    kinds, _ = converted(make_gguf(tiny_llama, tmp_path / "m.gguf", quantized=kind), tmp_path / "out")
    assert kinds == kind.name
    name = "model.layers.1.mlp.down_proj.weight"
    weight = load_file(tiny_llama / "model.safetensors")[name].numpy()
    expected = gguf.dequantize(gguf.quantize(weight, kind), kind)
    assert np.array_equal(load_state(tmp_path / "out")[name].numpy(), expected)


# Types the library reads but does not write; blocks of 256, so this model is wider.
READ_ONLY = [
    Q.Q2_K, Q.Q3_K, Q.Q4_K, Q.Q5_K, Q.Q6_K, Q.TQ1_0, Q.TQ2_0, Q.MXFP4, Q.IQ1_S, Q.IQ1_M, Q.IQ2_XXS, Q.IQ2_XS, Q.IQ2_S,
    Q.IQ3_XXS, Q.IQ3_S, Q.IQ4_NL, Q.IQ4_XS,
]  # fmt: skip


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("wide") / "m", hidden=256, layers=1)


@pytest.mark.parametrize("kind", READ_ONLY)
def test_types_only_read_are_read_too(kind: Q, wide: Path, tmp_path: Path) -> None:
    path = make_gguf(wide, tmp_path / "m.gguf", quantized=kind, raw=True)
    converted(path, tmp_path / "out")
    stored = next(tensor for tensor in gguf.GGUFReader(path).tensors if tensor.name == "blk.0.ffn_up.weight")
    found = load_state(tmp_path / "out")["model.layers.0.mlp.up_proj.weight"].numpy()
    assert np.array_equal(found, gguf.dequantize(stored.data, kind)) and found.any()


def test_the_factors_of_llama_3_are_recognised(tiny_llama: Path, tmp_path: Path) -> None:
    """The reference factors come from Transformers' own llama3 scaling."""
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = AutoConfig.from_pretrained(tiny_llama)
    plain = 1 / 500000.0 ** (torch.arange(0, 16, 2).float() / 16)
    scaling = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8192}  # fmt: skip
    config.rope_parameters = {**scaling, "rope_theta": 500000.0}
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    for factors, holds in ((plain / scaled, True), (plain / scaled * torch.linspace(1, 2, 8), False)):
        path = tmp_path / "m.gguf"
        make_gguf(tiny_llama, path, llama__rope__freq_base=500000.0)
        reader = gguf.GGUFReader(path)
        writer = gguf.GGUFWriter(tmp_path / "with.gguf", "llama")
        for entry in reader.fields.values():
            if not entry.name.startswith(("GGUF.", "general.")):
                sub = entry.types[1] if entry.types[0] == gguf.GGUFValueType.ARRAY else None
                writer.add_key_value(entry.name, entry.contents(), entry.types[0], sub_type=sub)
        for tensor in reader.tensors:
            writer.add_tensor(tensor.name, tensor.data)
        writer.add_tensor("rope_freqs.weight", factors.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        if holds:
            converted(tmp_path / "with.gguf", tmp_path / "out")
            assert json.loads((tmp_path / "out/config.json").read_text())["rope_scaling"] == scaling
        else:
            with pytest.raises(BadModel, match="rope_freqs"):
                converted(tmp_path / "with.gguf", tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tokenizer__ggml__pre": "novel"}, "pre-tokenizer 'novel'"),
        ({"tokenizer__ggml__model": "bert"}, "tokenizer 'bert'"),
        ({"tokenizer__ggml__eos_token_id": 4000}, "outside its vocabulary"),
        ({"tokenizer__ggml__merges": ["a b c"]}, "not a pair"),
        ({"tokenizer__ggml__merges": ["a", "zz"]}, "not a pair"),
        ({"tokenizer__ggml__tokens": ["a", "a"]}, "repeat"),
        ({"llama__block_count": 1}, "which a llama model does not have"),
        ({"llama__block_count": 3}, "has no 'blk.2"),
        ({"llama__block_count": None}, "has no 'llama.block_count'"),
        ({"llama__attention__head_count": 0}, "is 0"),
        ({"llama__attention__head_count": 8}, "rows where"),
        ({"llama__attention__layer_norm_rms_epsilon": "x"}, "where a float is due"),
        ({"llama__expert_count_extra": 4}, "mixture of experts"),
        ({"llama__rope__scaling__type_extra": "yarn"}, "rotary scaling 'yarn'"),
        ({"llama__rope__dimension_count_extra": 8}, "rotate only in part"),
    ],
)
def test_what_cannot_be_carried_over_is_refused(
    changes: dict[str, object], told: str, tiny_llama: Path, tmp_path: Path
) -> None:
    path = make_gguf(tiny_llama, tmp_path / "bad.gguf", **changes)  # type: ignore[arg-type]
    with pytest.raises(BadModel, match=told) as caught:
        converted(path, tmp_path / "out")
    assert str(caught.value).startswith("bad.gguf ")


def test_an_unnamed_pre_tokenizer_is_reported(tiny_llama: Path, tmp_path: Path) -> None:
    _, notes = converted(make_gguf(tiny_llama, tmp_path / "m.gguf", tokenizer__ggml__pre=None), tmp_path / "out")
    assert len(notes) == 1 and "names no pre-tokenizer" in notes[0]
    tokenizer = Tokenizer.from_folder(tmp_path / "out")
    assert all(tokenizer.decode(tokenizer.encode(text)) == text for text in TEXTS)


@pytest.mark.parametrize(
    ("pre", "pieces"),
    [
        ("smollm", ["I", "'ll", " see", " ", "1", "2", "3", "4", "!", "\n", "\n", "ok"]),
        ("gpt-2", ["I", "'ll", " see", " 1234", "!", "\n", "\n", "ok"]),
        ("qwen2", ["I", "'ll", " see", " ", "1", "2", "3", "4", "!\n\n", "ok"]),
        ("llama-bpe", ["I", "'ll", " see", " ", "123", "4", "!\n\n", "ok"]),
        ("default", ["I", "'", "ll", " see", " ", "123", "4", "!", "\n", "\n", "ok"]),
    ],
)
def test_pre_tokenizers_cut_as_their_models_do(pre: str, pieces: list[str], tiny_llama: Path, tmp_path: Path) -> None:
    import tokenizers

    converted(make_gguf(tiny_llama, tmp_path / "m.gguf", tokenizer__ggml__pre=pre), tmp_path / "out")
    inner = tokenizers.Tokenizer.from_file(str(tmp_path / "out/tokenizer.json"))
    text = "I'll see 1234!\n\nok"
    assert [text[a:b] for _, (a, b) in inner.pre_tokenizer.pre_tokenize_str(text)] == pieces


def test_a_begin_token_is_added_where_the_file_says_so(tiny_llama: Path, tmp_path: Path) -> None:
    converted(make_gguf(tiny_llama, tmp_path / "m.gguf", tokenizer__ggml__add_bos_token=True), tmp_path / "out")
    tokenizer = Tokenizer.from_folder(tmp_path / "out")
    plain = tokenizer.encode("film", add_bos=False)
    assert tokenizer.encode("film") == tokenizer.encode("film", add_bos=True) == [1, *plain]
    assert tokenizer.chat([{"role": "user", "content": "x"}]).count(1) == 3  # the template's own, none more


def reference_sentencepiece(text: str, scores: dict[str, float]) -> list[str]:
    """SentencePiece's BPE as its paper has it: join the neighbours whose union scores best, leftmost first."""
    parts = list("▁" + text.replace(" ", "▁"))
    while True:
        best = max(
            ((scores[a + b], -i) for i, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in scores),
            default=None,
        )
        if best is None:
            return parts
        at = -best[1]
        parts[at : at + 2] = ["".join(parts[at : at + 2])]


def test_sentencepiece_joins_by_score(tiny_llama: Path, tmp_path: Path) -> None:
    pieces = ["▁a", "ab", "▁ab", "ba", "aba", "bab", "▁b", "abab", "▁▁", "aa", "bb"]
    letters = ["▁", "a", "b"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces, *letters]
    scores = [0.0] * 259 + [-1.0 - i for i in range(len(pieces))] + [-100.0] * 3
    kinds = [2, 3, 3] + [6] * 256 + [1] * (len(pieces) + 3)
    path = make_gguf(
        tiny_llama, tmp_path / "m.gguf", tokenizer__ggml__model="llama", tokenizer__ggml__tokens=tokens,
        tokenizer__ggml__token_type=kinds, tokenizer__ggml__scores_extra=scores, tokenizer__ggml__merges=None,
        tokenizer__ggml__pre=None,
    )  # fmt: skip
    converted(path, tmp_path / "out")
    tokenizer = Tokenizer.from_folder(tmp_path / "out")
    known = dict(zip(tokens, scores, strict=True))
    draw = random.Random(1)
    for _ in range(200):
        text = "".join(draw.choices("ab ", k=draw.randrange(1, 12)))
        assert tokenizer.encode(text) == [tokens.index(part) for part in reference_sentencepiece(text, known)], text
    assert tokenizer.decode(tokenizer.encode("a 漢 b")) == "a 漢 b"  # by bytes


def test_damage_anywhere_ends_in_one_sentence(llama_gguf: Path, tmp_path: Path) -> None:
    """Cut at many places, and single bytes of the header turned: refused by name, or read without harm."""
    whole = llama_gguf.read_bytes()
    header = gguf.GGUFReader(llama_gguf).data_offset
    draw = random.Random(3)
    cuts = [0, 3, 4, 8, 23, 24, *(draw.randrange(header) for _ in range(30)), header, len(whole) - 1]
    damaged = [whole[:cut] for cut in cuts]
    for _ in range(120):
        at = draw.randrange(header)
        damaged.append(whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :])
    damaged.append(whole[:8] + b"\xff" * 16 + whole[24:])  # 2^64 - 1 tensors and keys
    path = tmp_path / "hurt.gguf"
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            converted(path, tmp_path / "out")
        except BadModel as error:
            refused += 1
            assert str(error).startswith("hurt.gguf ") and "\n" not in str(error)
    assert refused >= len(cuts) + 1


def test_weights_that_are_no_numbers_are_refused(llama_gguf: Path, tmp_path: Path) -> None:
    content = bytearray(llama_gguf.read_bytes())
    content[-4:] = np.float32(np.nan).tobytes()
    (tmp_path / "nan.gguf").write_bytes(content)
    with pytest.raises(BadModel, match=r"nan\.gguf .*not finite"):
        converted(tmp_path / "nan.gguf", tmp_path / "out")
