"""Text generation: an answer in a chat, or the plain continuation of a text."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from engine.config import SamplingParams
from engine.errors import BadRequest
from engine.results import Timing
from pipelines.adapter import folder_of, read_adapter
from pipelines.generation.results import GenerationResult, GenerationUpdate
from pipelines.results import Shortened
from pipelines.text import check_text, require_kind, room_for_text, run_info, shorten_text, stopping

if TYPE_CHECKING:
    from engine.engine import Engine

Mode = Literal["chat", "continue"]
DEFAULT_PRESET = "Balanced"

# Small models repeat themselves: every preset carries a light repetition penalty.
PRESETS: dict[str, SamplingParams] = {
    "Deterministic": SamplingParams(max_tokens=256, temperature=0.0, repetition_penalty=1.1),
    "Balanced": SamplingParams(max_tokens=256, temperature=0.7, top_p=0.9, repetition_penalty=1.1),
    "Creative": SamplingParams(max_tokens=256, temperature=1.0, min_p=0.05, repetition_penalty=1.1),
}


class GenerationPipeline:
    """Writes on from a prompt.

    Parameters
    ----------
    engine : a loaded `engine.engine.Engine` of kind "causal" or "seq2seq".
    adapter : folder of an adapter that the text is written with (`brisk train-adapter`, or `peft`).

    Raises
    ------
    BadModel, BadRequest : see `pipelines.adapter.read_adapter`.
    """

    def __init__(self, engine: Engine, *, adapter: str | Path | None = None) -> None:
        require_kind(engine, "text generation", "causal", "seq2seq")
        self.engine = engine
        self.adapter = read_adapter(adapter, "generation")
        self._folder = folder_of(self.adapter)

    def __call__(
        self, prompt: str, *, mode: Mode = "chat", params: SamplingParams = PRESETS[DEFAULT_PRESET], system: str = "",
        reply: str = "",
    ) -> GenerationResult:  # fmt: skip
        """The whole text at once.

        Parameters
        ----------
        prompt, mode, params, system, reply : as for `stream`.

        Returns
        -------
        GenerationResult with `generated_text` (without the prompt), `prompt_tokens`, `new_tokens` and `seed`.

        Raises
        ------
        BadRequest : as for `stream`.
        """
        update = None
        for update in self.stream(prompt, mode=mode, params=params, system=system, reply=reply):  # noqa: B007
            pass  # the last one counts
        assert update is not None, "a stream gives at least one update"
        timing = update.info.timing
        return GenerationResult(
            update.generated_text, timing.prompt_tokens, timing.new_tokens, update.seed, update.info
        )

    def stream(
        self, prompt: str, *, mode: Mode = "chat", params: SamplingParams = PRESETS[DEFAULT_PRESET], system: str = "",
        reply: str = "",
    ) -> Iterator[GenerationUpdate]:  # fmt: skip
        """The text so far after every token that made some of it readable.

        Parameters
        ----------
        prompt : what to answer ("chat") or to continue ("continue"). One that does not fit beside `params.max_tokens`
            is shortened to its head and tail, and `info.shortened` says by how much.
        mode : "chat" or "continue".
        params : a seed of None draws one; `seed` of every update says which.
        system : instruction that stands before the chat; "" keeps the model's own. Only in "chat".
        reply : how the answer begins; the model writes on from there, and what comes back is what it wrote. Only in
            "chat".

        Returns
        -------
        An iterator of GenerationUpdate; closing it stops the engine.

        Raises
        ------
        BadRequest : empty or unreadable text, unknown mode, a chat with a model that has no chat template, or
            `max_tokens` that leave no room to the prompt. Raised at the call, before the first update.
        """
        ids, shortened = self._prompt(prompt, mode, system, reply, params.max_tokens)
        if params.seed is None:
            params = replace(params, seed=secrets.randbelow(2**31))
        return self._updates(ids, params, shortened)

    def _updates(
        self, ids: list[int], params: SamplingParams, shortened: Shortened | None
    ) -> Iterator[GenerationUpdate]:
        text, timing, shown = "", Timing(prompt_tokens=len(ids)), False
        seed = params.seed or 0
        with stopping(self.engine.stream(ids, params, adapter=self._folder)) as tokens:
            for token in tokens:
                text += token.text
                timing = token.timing or timing
                if token.text or timing.finish_reason:
                    shown = True
                    yield GenerationUpdate(text, run_info(self.engine, timing, shortened), seed)
        if not shown:
            yield GenerationUpdate(text, run_info(self.engine, timing, shortened), seed)

    def _prompt(
        self, prompt: str, mode: Mode, system: str, reply: str, max_tokens: int
    ) -> tuple[list[int], Shortened | None]:
        prompt = check_text(prompt, "prompt")
        tokenizer = self.engine.tokenizer
        if mode not in get_args(Mode):
            raise BadRequest(f"The mode '{mode}' is unknown: choose {' or '.join(get_args(Mode))}.")
        if mode == "continue":
            prompt, shortened = shorten_text(
                tokenizer, prompt, room_for_text(self.engine, beside=1, max_tokens=max_tokens)
            )
            return tokenizer.encode(prompt), shortened
        if not tokenizer.has_chat_template:
            raise BadRequest(f"{self.engine.info.model} has no chat template: choose 'continue', or load a chat model.")
        before = [{"role": "system", "content": check_text(system, "system prompt")}] if system.strip() else []
        begun = tokenizer.encode(check_text(reply, "reply"), add_bos=False) if reply else []
        # Two seams may split anew.
        beside = len(tokenizer.chat([*before, {"role": "user", "content": ""}])) + len(begun) + 2
        prompt, shortened = shorten_text(
            tokenizer, prompt, room_for_text(self.engine, beside=beside, max_tokens=max_tokens)
        )
        return [*tokenizer.chat([*before, {"role": "user", "content": prompt}]), *begun], shortened
