"""The tokenizer inside a GGUF file, made into tokenizer.json.

GGUF stores the tokens, their kinds and the merges, but only the NAME of the pre-tokenizer. Here the names that are
known stand with exactly what they mean; a name that is not known is refused, for a wrong one damages every text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.weights.gguf_file import GgufError, field

if TYPE_CHECKING:
    import gguf
    import tokenizers

# Kinds of tokens (llama.cpp, llama_token_type).
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4

# Splits before byte-level BPE, as in the tokenizer.json of the models the names come from; "default" as in
# llama.cpp's llama-vocab.cpp. An empty tuple is GPT-2's own, which the ByteLevel pre-tokenizer has built in.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_DEFAULT = (
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
)
SPLITS: dict[str, tuple[str, ...]] = {
    "smollm": (),
    "gpt-2": (),
    "qwen2": (_QWEN2,),
    "deepseek-r1-qwen": (_QWEN2,),
    "llama-bpe": (_LLAMA3,),
    "llama3": (_LLAMA3,),
    "llama-v3": (_LLAMA3,),
    "default": _DEFAULT,
}
_NFC_NAMES = ("qwen2", "deepseek-r1-qwen")
_LLAMA3_NAMES = ("llama-bpe", "llama3", "llama-v3")  # whole words of the vocabulary come before merges


def write_tokenizer(reader: gguf.GGUFReader, config: dict[str, Any], folder: Path) -> tuple[str, ...]:
    """Write tokenizer.json, tokenizer_config.json, generation_config.json and, where there is one, the chat template.

    Parameters
    ----------
    reader : the file.
    config : what `read_config` gave; the ids of the special tokens are added to it.
    folder : where the files go.

    Returns
    -------
    Sentences to show.

    Raises
    ------
    GgufError : the tokenizer is unknown or unsound.
    """
    kind = field(reader, "tokenizer.ggml.model", str)
    tokens: list[str] = field(reader, "tokenizer.ggml.tokens", list)
    if len(set(tokens)) != len(tokens) or len(tokens) > config["vocab_size"]:
        raise GgufError(f"its {len(tokens):,} tokens repeat, or are more than its {config['vocab_size']:,} embeddings")
    notes: tuple[str, ...] = ()
    pre = field(reader, "tokenizer.ggml.pre", str, "")
    try:
        if kind == "gpt2":
            if not pre:
                pre = "default"
                notes = ("The GGUF names no pre-tokenizer, so llama.cpp's default serves: words may be cut oddly.",)
            tokenizer = _byte_level(reader, tokens, pre)
        elif kind == "llama":
            tokenizer = _sentencepiece(reader, tokens)
        else:
            raise GgufError(f"its tokenizer '{kind}' is not gpt2 (byte-level BPE) or llama (SentencePiece BPE)")
        ids = _special_ids(reader, tokens)
        _mark_special(reader, tokens, tokenizer)
        usual = kind == "llama" or pre in _LLAMA3_NAMES
        if field(reader, "tokenizer.ggml.add_bos_token", bool, usual) and "bos" in ids:
            _begin_with(tokens[ids["bos"]], ids["bos"], tokenizer)
    except GgufError:
        raise
    except Exception as error:  # the tokenizers library raises plain Exception
        raise GgufError(f"its tokenizer is unsound ({error})") from error
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)

    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **{f"{name}_token": tokens[i] for name, i in ids.items() if name != "eot"},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    if template := field(reader, "tokenizer.chat_template", str, ""):
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    ends = list(dict.fromkeys(ids[name] for name in ("eos", "eot") if name in ids))
    generation = {f"{name}_token_id": ids[name] for name in ("bos", "pad") if name in ids}
    if ends:
        generation["eos_token_id"] = ends if len(ends) > 1 else ends[0]  # type: ignore[assignment]
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=1), encoding="utf-8")
    config.update(generation)
    return notes


def _byte_level(reader: gguf.GGUFReader, tokens: list[str], pre: str) -> tokenizers.Tokenizer:
    """GPT-2's byte-level BPE with the pre-tokenizer of that name."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    if pre not in SPLITS:
        raise GgufError(f"its pre-tokenizer '{pre}' is not one of {', '.join(SPLITS)}")
    merges = [tuple(merge.split(" ")) for merge in field(reader, "tokenizer.ggml.merges", list)]
    if any(len(merge) != 2 for merge in merges):
        raise GgufError("one of its merges is not a pair")
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=pre in _LLAMA3_NAMES))
    steps: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in SPLITS[pre]]
    if pre == "smollm":
        steps = [pre_tokenizers.Digits(individual_digits=True)]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not SPLITS[pre]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if pre in _NFC_NAMES:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(reader: gguf.GGUFReader, tokens: list[str]) -> tokenizers.Tokenizer:
    """SentencePiece BPE with byte fallback (Llama 1 and 2, Mistral, TinyLlama), in the form Transformers gives it.

    SentencePiece joins the neighbours whose union scores best, so the merges are all pairs of tokens that make a
    token, best score first.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers

    scores: list[float] = field(reader, "tokenizer.ggml.scores", list)
    kinds: list[int] = field(reader, "tokenizer.ggml.token_type", list)
    if not len(scores) == len(kinds) == len(tokens):
        raise GgufError("it has not one score and one kind for each token")
    vocabulary = {token: i for i, token in enumerate(tokens)}
    plain = {token for token, kind in zip(tokens, kinds, strict=True) if kind == 1}
    merges = [
        (token[:cut], token[cut:])
        for token in sorted(plain, key=lambda token: (-scores[vocabulary[token]], vocabulary[token]))
        for cut in range(1, len(token))
        if token[:cut] in plain and token[cut:] in plain
    ]
    unknown = next((token for token, kind in zip(tokens, kinds, strict=True) if kind == _UNKNOWN), None)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    prefix = field(reader, "tokenizer.ggml.add_space_prefix", bool, True)
    space = [normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), *space] if prefix else space)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    return tokenizer


def _special_ids(reader: gguf.GGUFReader, tokens: list[str]) -> dict[str, int]:
    keys = {"bos": "bos", "eos": "eos", "eot": "eot", "unk": "unknown", "pad": "padding"}
    ids = {name: field(reader, f"tokenizer.ggml.{key}_token_id", int, -1) for name, key in keys.items()}
    if any(i >= len(tokens) for i in ids.values()):
        raise GgufError("one of its special tokens is outside its vocabulary")
    return {name: i for name, i in ids.items() if i >= 0}


def _mark_special(reader: gguf.GGUFReader, tokens: list[str], tokenizer: tokenizers.Tokenizer) -> None:
    from tokenizers import AddedToken

    kinds: list[int] = field(reader, "tokenizer.ggml.token_type", list, [])
    for token, kind in zip(tokens, kinds, strict=False):
        if kind in (_CONTROL, _UNKNOWN):
            tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True)])
        elif kind == _USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, normalized=False)])
    if tokenizer.get_vocab_size() != len(tokens):
        raise GgufError("its special tokens are not all in its vocabulary")


def _begin_with(token: str, token_id: int, tokenizer: tokenizers.Tokenizer) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer.post_processor = TemplateProcessing(
        single=[token, "$A"], pair=[token, "$A", "$B"], special_tokens=[(token, token_id)]
    )
