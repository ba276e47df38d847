"""`text-generation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from brisk.calls.common import Calls, in_parallel
from engine.config import SamplingParams
from engine.errors import BadRequest
from pipelines.generation.pipeline import GenerationPipeline
from pipelines.text import check_text

MAX_NEW_TOKENS, TEMPERATURE, TOP_K = 256, 0.7, 50  # what Transformers 4 took where nothing was said
REASONS = {
    "num_beams": "one beam is decoded",
    "prefix": "put it before the prompt",
    "handle_long_generation": "a prompt over the window keeps its head and tail",
    "return_tensors": "results are text",
    "max_time": "give max_new_tokens; EngineConfig and streams of `engine` are there for more",
    "generation_config": "give its values as arguments",
    "streamer": "brisk.Engine(...).stream(prompt) gives tokens as they come",
}
Message = Mapping[str, str]


@dataclass(frozen=True)
class _Prompt:
    """One prompt: the text or the messages given, and its token ids where it is a chat."""

    given: Any
    ids: list[int] | None
    length: int  # tokens


class TextGeneration(Calls[GenerationPipeline]):
    """Texts, as Transformers 4's `pipeline("text-generation")` gave them.

    It differs in four things. A prompt over the window keeps its head and tail. `repetition_penalty` is 1 unless given.
    A stop string is not part of the text, and `stop_sequence` stops at the whole of it, not at its first token. And
    `seed` repeats a draw, where Transformers had `set_seed` for the whole process.
    """

    task = "text-generation"
    makes = GenerationPipeline

    def __call__(
        self,
        text_inputs: str | Sequence[Any],
        *,
        max_new_tokens: int | None = None,
        max_length: int | None = None,
        min_new_tokens: int = 0,
        do_sample: bool | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        no_repeat_ngram_size: int = 0,
        num_return_sequences: int = 1,
        return_full_text: bool | None = None,
        stop_strings: str | Sequence[str] | None = None,
        stop_sequence: str | None = None,
        seed: int | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        batch_size: int | None = None,
        **others: object,
    ) -> Any:
        """What the model writes after each prompt.

        Parameters
        ----------
        text_inputs : a text to continue, a chat (a list of `{"role", "content"}`, which ends with the user's turn, or
            with the beginning of the model's), or a list of texts or of chats.
        max_new_tokens, max_length : most tokens to write, and most of prompt and output together; the first wins.
            Neither: 256 new ones.
        min_new_tokens : no end of the text before so many tokens.
        do_sample : False is greedy. None and True draw.
        temperature, top_k, top_p, min_p : of the draw; None is 0.7, 50, 1 and 0. Refused where `do_sample` is False.
        repetition_penalty : above 1, tokens of prompt and output become less likely.
        no_repeat_ngram_size : no run of so many tokens twice in the output; 0 is off.
        num_return_sequences : texts a prompt; several need a draw.
        return_full_text : False leaves the prompt out of what comes back. None is True.
        stop_strings, stop_sequence : strings that end the text.
        seed : of the draw; the n-th text of a prompt draws with `seed + n`. None draws a new one each time.
        clean_up_tokenization_spaces : changes nothing, for no tokenizer here leaves such spaces.
        batch_size : texts that run together; None leaves it to the engine.

        Returns
        -------
        `[{"generated_text"}]` for one prompt, one dict a sequence; a list of such lists for a list. `generated_text` is
        a text; for a chat the messages with the answer as the last of them, or with `return_full_text=False` the
        answer's text.

        Raises
        ------
        BadRequest : an empty prompt, a chat for a model without a chat template, numbers out of range, or an argument
            that cannot be honoured.
        """
        self._refuse(others, REASONS)
        if num_return_sequences < 1:
            raise BadRequest(f"num_return_sequences is {num_return_sequences}: give 1 or more.")
        drawn = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        if do_sample is False:
            for name, value in drawn.items():
                if value is not None:
                    raise BadRequest(f"{self.task} cannot honour '{name}' where do_sample is False: leave one out.")
            if num_return_sequences > 1:
                raise BadRequest("Greedy texts are all the same: set do_sample=True, or num_return_sequences=1.")
        else:
            usual = {"temperature": TEMPERATURE, "top_k": TOP_K, "top_p": 1.0, "min_p": 0.0}
            drawn = {name: usual[name] if value is None else value for name, value in drawn.items()}
        stop = [stop_strings] if isinstance(stop_strings, str) else list(stop_strings or ())
        params = SamplingParams(
            max_tokens=max(MAX_NEW_TOKENS if max_new_tokens is None else max_new_tokens, min_new_tokens),
            min_tokens=min_new_tokens,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram_size=no_repeat_ngram_size,
            seed=seed,
            stop=(*stop, *([stop_sequence] if stop_sequence else [])),
            **({} if do_sample is False else drawn),  # type: ignore[arg-type]  # no None is left
        )
        single = isinstance(text_inputs, str) or _is_chat(text_inputs)
        prompts = [self._prompt(given) for given in ([text_inputs] if single else text_inputs)]
        most = None if max_new_tokens is not None else max_length
        asked = [
            (prompt, self._params(params, prompt, most, number))
            for prompt in prompts
            for number in range(num_return_sequences)
        ]
        whole = return_full_text is not False
        written = in_parallel(lambda one: self._write(*one, whole), asked, batch_size or self.engine.config.max_batch)
        rows = [written[i : i + num_return_sequences] for i in range(0, len(written), num_return_sequences)]
        return rows[0] if single else rows

    @staticmethod
    def _params(params: SamplingParams, prompt: _Prompt, most: int | None, number: int) -> SamplingParams:
        if most is not None:
            if most <= prompt.length:
                raise BadRequest(f"max_length is {most}, and the prompt alone has {prompt.length} tokens: give more.")
            params = replace(params, max_tokens=most - prompt.length)
        return params if params.seed is None else replace(params, seed=params.seed + number)

    def _prompt(self, given: Any) -> _Prompt:
        tokenizer = self.engine.tokenizer
        if not _is_chat(given):
            return _Prompt(given, None, len(tokenizer.encode(check_text(given, "prompt"))))
        if not tokenizer.has_chat_template:
            raise BadRequest(f"{self.engine.info.model} has no chat template: give a text, or load a chat model.")
        messages = [{"role": one["role"], "content": check_text(one["content"], "message")} for one in given]
        begun = messages.pop()["content"] if messages[-1]["role"] == "assistant" and len(messages) > 1 else ""
        ids = [*tokenizer.chat(messages), *(tokenizer.encode(begun, add_bos=False) if begun else [])]
        return _Prompt(given, ids, len(ids))

    def _write(self, prompt: _Prompt, params: SamplingParams, whole: bool) -> dict[str, Any]:
        if prompt.ids is None:
            text = self.pipeline(prompt.given, mode="continue", params=params).generated_text
            return {"generated_text": prompt.given + text if whole else text}
        text = self.engine.generate([prompt.ids], params)[0].text
        if not whole:
            return {"generated_text": text}
        messages = [dict(one) for one in prompt.given]
        if messages[-1]["role"] == "assistant":
            text = messages.pop()["content"] + text
        return {"generated_text": [*messages, {"role": "assistant", "content": text}]}


def _is_chat(given: Any) -> bool:
    return (
        isinstance(given, (list, tuple))
        and len(given) > 0
        and all(isinstance(one, Mapping) and {"role", "content"} <= set(one) for one in given)
    )
