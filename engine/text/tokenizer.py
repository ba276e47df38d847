"""Text to token ids and back, with the special tokens and the chat template kept out of the writer's reach.

Wraps the `tokenizers` library and needs no Transformers, which would take a second to import.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from engine.errors import BadModel, BadRequest
from engine.text.chat_template import ChatTemplate
from engine.text.detokenizer import StreamDecoder, is_byte_level, make_stream

MAX_TEXT_CHARS = 2_000_000
"""Longest text encoded. Measured on 10 kB, 100 kB and 1 MB of one letter, space, digit, emoji, combining mark or word,
with the pre-tokenizers of GPT-2, SmolLM2 and Qwen2: time grows linearly, at most 2 microseconds a character, so no
unbroken word needs a limit of its own and the longest text takes about 4 seconds."""
MAX_JSON_BYTES = 64 << 20  # tokenizer.json of the largest vocabularies in use is below 40 MB

NO_TEMPLATE = "This model has no chat template: use raw continuation, or choose an instruct model."
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")


class Tokenizer:
    """One model's tokenizer.

    Parameters
    ----------
    serialized : the text of tokenizer.json.
    settings : the special tokens by name ("bos_token", "eos_token_id", ...), as strings or ids.
    template : the chat template, or None.
    name : of the model, for messages.

    Attributes
    ----------
    eos_ids : ids that end a text (generation_config.json, else config.json, else tokenizer_config.json).
    bos_id : the id that begins a text, or None.
    vocab_size : ids the tokenizer knows, special ones included; a model's embedding may have more rows.
    has_chat_template : whether `chat` works.
    """

    eos_ids: frozenset[int]
    bos_id: int | None
    vocab_size: int
    has_chat_template: bool

    def __init__(self, serialized: str, settings: Mapping[str, Any], template: str | None, name: str) -> None:
        inner = _load(serialized, name)
        self._plain = inner  # for a user's text: special tokens are words
        self._plain.encode_special_tokens = True
        self._serialized, self._name = serialized, name
        self._byte_level = is_byte_level(inner)
        self.vocab_size = inner.get_vocab_size(with_added_tokens=True)
        added = inner.get_added_tokens_decoder()
        special = {token: entry.content for token, entry in added.items() if entry.special}
        self._hidden = frozenset(special)
        named = {key: text for key in _NAMED_TOKENS if (text := _token_text(settings.get(key))) is not None}
        self.bos_id = self._first_id(named.get("bos_token"), settings.get("bos_token_id"))
        self.eos_ids = self._ids(settings.get("eos_token_id")) or self._ids(named.get("eos_token"))
        self._template = ChatTemplate(template, list(special.values()), named, name) if template else None
        self.has_chat_template = self._template is not None

    @cached_property
    def _marked(self) -> tokenizers.Tokenizer:
        """For a template's text, where special tokens are special; read when the first one comes."""
        return _load(self._serialized, self._name)

    @classmethod
    def from_folder(cls, folder: Path) -> Tokenizer:
        """Read tokenizer.json and, where they are, tokenizer_config.json, chat_template.jinja and the configs.

        Raises `BadModel` naming the file that is missing or damaged.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise BadModel(
                f"'{folder.name}' has no tokenizer.json: save it with Transformers' "
                "AutoTokenizer.from_pretrained(...).save_pretrained(...)."
            )
        settings: dict[str, Any] = {}
        for file in ("config.json", "generation_config.json"):
            given = _read_json(folder / file)
            settings.update({key: given[key] for key in ("bos_token_id", "eos_token_id") if given.get(key) is not None})
        given = _read_json(folder / "tokenizer_config.json")
        settings.update({key: given.get(key) for key in _NAMED_TOKENS})
        return cls(_read(path), settings, _template(folder, given), f"'{folder.name}'")

    def encode(self, text: str, *, add_bos: bool | None = None) -> list[int]:
        """Token ids of a user's text. The string of a special token in it is plain text.

        `add_bos`: True begins with the begin-of-text token where the model has one, False never does, None does what
        the model's own tokenizer does. Raises `BadRequest` for NUL, lone surrogates and over-long text.
        """
        check_text(text)
        if add_bos is None:
            return list(self._plain.encode(text).ids)
        ids = list(self._plain.encode(text, add_special_tokens=False).ids)
        return [self.bos_id, *ids] if add_bos and self.bos_id is not None else ids

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids, no begin-of-text, with the characters [start, end) of `text` each covers.

        A character cut into several tokens is covered by each of them. Whether a leading space belongs to its token
        is the model's own choice. Raises as `encode`.
        """
        check_text(text)
        encoding = self._plain.encode(text, add_special_tokens=False)
        return list(encoding.ids), list(encoding.offsets)

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Text of `ids`; unknown ids give nothing, bytes that are no character give U+FFFD."""
        kept = [token for token in ids if not (skip_special and token in self._hidden)]
        return self._plain.decode(kept, skip_special_tokens=False)

    def chat(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> list[int]:
        """Ids of a conversation of {"role", "content"} by the model's template.

        Special tokens come from the template alone. `add_generation_prompt` opens the assistant's turn at the end.
        Raises `BadRequest` where the model has no template (see `has_chat_template`) or it refuses the messages.
        """
        if self._template is None:
            raise BadRequest(NO_TEMPLATE)
        for message in messages:
            for text in message.values():
                if isinstance(text, str):
                    check_text(text)
        return self._pieces(self._template.render(messages, add_generation_prompt))

    def around(
        self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True
    ) -> tuple[list[int], list[int]]:
        """Ids of a conversation before and after the content of its last message, which itself is left out.

        A text put between them is encoded apart, so that conversations on one text begin with the same ids whatever
        follows it. Raises as `chat`.
        """
        if self._template is None:
            raise BadRequest(NO_TEMPLATE)
        before, after = self._template.around(messages, add_generation_prompt)
        return self._pieces(before), self._pieces(after)

    def _pieces(self, pieces: Sequence[tuple[str, bool]]) -> list[int]:
        """Ids of a template's text, special tokens where the template wrote them."""
        ids: list[int] = []
        for text, special in pieces:
            check_text(text)
            inner = self._marked if special else self._plain
            ids += inner.encode(text, add_special_tokens=False).ids
        return ids

    def stream(self) -> StreamDecoder:
        """A fresh incremental decoder: `feed(id)` and `flush()` joined equal `decode(all ids)`."""
        return make_stream(self._plain, self._hidden, self._byte_level)

    def token_id(self, token: str) -> int | None:
        """Id of a token by its exact string (special or not), or None."""
        return self._plain.token_to_id(token)

    def _ids(self, given: Any) -> frozenset[int]:
        values = given if isinstance(given, list) else [given]
        found = (self._plain.token_to_id(value) if isinstance(value, str) else value for value in values)
        return frozenset(i for i in found if isinstance(i, int) and 0 <= i < 2**31)

    def _first_id(self, *given: Any) -> int | None:
        return next((i for value in given for i in self._ids(value)), None)


def check_text(text: str) -> None:
    """Raise `BadRequest` for text no tokenizer should see: NUL, a lone surrogate, over `MAX_TEXT_CHARS`."""
    if len(text) > MAX_TEXT_CHARS:
        raise BadRequest(f"The text has {len(text):,} characters, over the limit of {MAX_TEXT_CHARS:,}: shorten it.")
    if "\0" in text:
        raise BadRequest("The text holds a NUL character, as binary files do: give plain text.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRequest(
            f"The text holds a lone surrogate (U+{ord(text[error.start]):04X} at character {error.start}), "
            "which is no valid character: save it as UTF-8 again."
        ) from error


def _load(serialized: str, name: str) -> tokenizers.Tokenizer:
    try:
        inner = tokenizers.Tokenizer.from_str(serialized)
    except Exception as error:  # the library raises plain Exception
        raise BadModel(f"tokenizer.json of {name} cannot be read as a tokenizer ({_short(error)}).") from error
    inner.no_truncation()
    inner.no_padding()
    return inner


def _template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return _read(path)
    given = settings.get("chat_template")
    if isinstance(given, list):  # several templates by name, as older checkpoints have them
        given = next((entry.get("template") for entry in given if entry.get("name") == "default"), None)
    return given if isinstance(given, str) and given else None


def _token_text(given: Any) -> str | None:
    text = given.get("content") if isinstance(given, Mapping) else given
    return text if isinstance(text, str) else None


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise BadModel(f"{path.name} of '{path.parent.name}' is larger than {MAX_JSON_BYTES >> 20} MiB.")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadModel(f"{path.name} of '{path.parent.name}' cannot be read ({_short(error)}).") from error


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        given = json.loads(_read(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadModel(f"{path.name} of '{path.parent.name}' is not valid JSON ({_short(error)}).") from error
    if not isinstance(given, dict):
        raise BadModel(f"{path.name} of '{path.parent.name}' does not hold a JSON object.")
    return given


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
