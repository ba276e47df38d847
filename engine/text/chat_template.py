"""A model's chat template: Jinja from an untrusted file, run in a sandbox, as Transformers runs it.

The text comes out in pieces that say which special tokens the TEMPLATE wrote; the same strings inside a message are
the writer's plain words and must never end a turn or open another one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes, parser
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.errors import BadModel, BadRequest

MAX_TEMPLATE_CHARS = 200_000  # the longest in use are below 30,000
ROLES = ("system", "user", "assistant", "tool")


class ChatTemplate:
    """Renders messages.

    Parameters
    ----------
    source : the template.
    special : the strings of all special tokens.
    tokens : the strings of those that templates name: bos_token, eos_token, ...
    name : of the model, for messages.

    Raises `BadModel` for a template that is over-long or does not parse.
    """

    def __init__(self, source: str, special: Sequence[str], tokens: Mapping[str, str], name: str) -> None:
        if len(source) > MAX_TEMPLATE_CHARS:
            raise BadModel(f"The chat template of {name} has {len(source)} characters, over {MAX_TEMPLATE_CHARS}.")
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateError as error:
            raise BadModel(f"The chat template of {name} is not valid Jinja ({error}).") from error
        self._tokens = dict(tokens)
        longest_first = sorted(filter(None, special), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._constants = source

    def render(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> list[tuple[str, bool]]:
        """Messages ({"role", "content"}) as [(text, may hold special tokens)].

        One piece where no message holds a special token's string, as almost always; else the pieces between the
        template's own tokens are marked as plain text. Raises `BadRequest` for a message the template refuses.
        """
        _check(messages)
        values = [text for message in messages for text in message.values()]
        risky = any(self._special.search(text) for text in values)
        mark = self._unused_character(values)
        if risky:  # "<|im_end|>" passes through the template with marks between its letters: no token any more
            messages = [{key: self._spread(text, mark) for key, text in message.items()} for message in messages]
        try:
            text = self._template.render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
                tools=None,
                documents=None,
                **self._tokens,
            )
        except Exception as error:  # templates may fail in any way Python can
            raise BadRequest(f"The model's chat template refuses these messages: {error}.") from error
        if not risky:
            return [(text, True)] if text else []
        pieces: list[tuple[str, bool]] = []
        at = 0
        for match in self._special.finditer(text):
            pieces += [(text[at : match.start()].replace(mark, ""), False), (match[0], True)]
            at = match.end()
        pieces.append((text[at:].replace(mark, ""), False))
        return [piece for piece in pieces if piece[0]]

    def around(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool
    ) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
        """What `render` writes before and after the content of the last message, which itself is left out.

        Raises `BadRequest` as `render`, and where the template does not show that content once, as it is.
        """
        _check(messages)
        mark = self._unused_character([text for message in messages for text in message.values()])
        before: list[tuple[str, bool]] = []
        after: list[tuple[str, bool]] = []
        for text, special in self.render([*messages[:-1], {**messages[-1], "content": mark}], add_generation_prompt):
            head, *tail = text.split(mark)
            if len(tail) > 1 or (tail and after):
                raise BadRequest("The model's chat template shows a message twice, so a text cannot be put apart.")
            (after if after else before).append((head, special))
            if tail:
                after.append((tail[0], special))
        if not after:
            raise BadRequest("The model's chat template does not show the message as it is.")
        return before, after

    def _spread(self, text: str, mark: str) -> str:
        return self._special.sub(lambda match: mark.join(match[0]), text)

    def _unused_character(self, texts: Sequence[str]) -> str:
        used = set().union(self._constants, *texts)
        return next(character for character in map(chr, range(0xE000, 0x10FFFF)) if character not in used)


def _check(messages: Sequence[Mapping[str, str]]) -> None:
    if not messages:
        raise BadRequest("A chat needs at least one message.")
    for message in messages:
        if message.get("role") not in ROLES:
            raise BadRequest(f"The role {message.get('role')!r} is unknown: use one of {', '.join(ROLES)}.")
        if not all(isinstance(text, str) for text in message.values()) or "content" not in message:
            raise BadRequest("Each chat message needs a 'role' and a 'content', both text.")


class _Generation(Extension):
    """`{% generation %}` marks what a trainer learns from; here its body is simply text."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own interface)

    def parse(self, parser: parser.Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja with the settings, filters and functions that `apply_chat_template` of Transformers gives templates."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
