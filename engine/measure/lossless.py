"""Does every lossless switch give the same greedy tokens? Batches, threads, caches, reuse and speculation.

Each is compared, token for token, with the slow twin: one prompt at a time, nothing reused, nothing guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import takewhile

import torch

from engine.config import EngineConfig, Precision, SamplingParams
from engine.engine import Engine

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Identity:
    """One comparison: of how many `prompts`, with how many `tokens` each, and a sentence for each that differs.

    `note` says that what was compared took place: tokens reused, tokens guessed right.
    """

    what: str
    precision: str
    prompts: int
    tokens: int
    differing: tuple[str, ...]
    note: str = ""


def identities(
    model: str, precision: Precision, prompts: Sequence[str], count: int, references: int = 20
) -> Iterator[Identity]:
    """Compare `count` greedy tokens of each prompt, and of the first `references` prompts what is slow to compare.

    Parameters
    ----------
    model : registry name, folder, .gguf file or Hub id.
    precision : how weights are stored; in fp32 they are compared with Transformers too, and without cache and compiled
        step.
    prompts : texts.
    count : greedy tokens a prompt, 4 or more.
    references : how many prompts, the first ones, what is slow to compare is compared on.

    Yields
    ------
    A comparison at a time, as it is made.
    """
    few = max(1, count // 4)  # without a cache every token runs the whole text
    first = list(prompts[:references])
    plain = EngineConfig(model, precision=precision, prefix_cache_mb=0, speculation=False)
    default = EngineConfig(model, precision=precision)
    alone: list[Tokens] = []

    def compared(what: str, found: Sequence[Tokens], note: str = "", most: int = count) -> Identity:
        expected = [tokens[:most] for tokens in alone]
        wrong = [
            f"{prompt!r} differs after {_common(a, b)} tokens"
            for prompt, a, b in zip(prompts, found, expected, strict=False)
            if a != b
        ]
        return Identity(what, precision, len(found), most, tuple(wrong), note)

    with Engine(plain) as engine:
        alone += _alone(engine, prompts, count)
        if precision == "fp32":
            yield compared("Transformers generate", transformers_tokens(engine, first, count))
        yield compared("all prompts at once", _together(engine, prompts, count))
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda prompt: _alone(engine, [prompt], count)[0], prompts))
        yield compared("eight threads at once", found)
    with Engine(replace(plain, speculation=True)) as engine:
        yield compared("speculation", *_guessed(engine, prompts, count))
    with Engine(replace(default, speculation=False)) as engine:
        yield compared("prefix reuse, cold", _alone(engine, prompts, count), _reused(engine))
        yield compared("prefix reuse, warm", _together(engine, prompts, count), _reused(engine))
    with Engine(default) as engine:
        yield compared("reuse, speculation, all at once", _together(engine, prompts, count), _reused(engine))
    if precision == "fp32":
        off = {"KV cache off": replace(plain, kv_cache=False), "compiled step off": replace(plain, kernels=False)}
        for what, switched in off.items():
            with Engine(switched) as engine:
                yield compared(what, _together(engine, first, few), most=few)


def _together(engine: Engine, prompts: Sequence[str], count: int) -> list[Tokens]:
    return [done.token_ids for done in engine.generate(list(prompts), SamplingParams(max_tokens=count))]


def _alone(engine: Engine, prompts: Sequence[str], count: int) -> list[Tokens]:
    return [_together(engine, [prompt], count)[0] for prompt in prompts]


def _reused(engine: Engine) -> str:
    return f"{engine.prompt_tokens_reused:,} prompt tokens reused by then"


def _guessed(engine: Engine, prompts: Sequence[str], count: int) -> tuple[list[Tokens], str]:
    done = [engine.generate(prompt, SamplingParams(max_tokens=count))[0] for prompt in prompts]
    right, made = sum(one.timing.guessed_tokens for one in done), sum(len(one.token_ids) for one in done)
    return [one.token_ids for one in done], f"{right:,} of {made:,} tokens guessed"


def transformers_tokens(engine: Engine, prompts: Sequence[str], count: int) -> list[Tokens]:
    """Greedy tokens of Transformers' own `generate` in fp32, one prompt at a time.

    Parameters
    ----------
    engine : gives the model's folder and the tokenizer.
    prompts : texts.
    count : most tokens of each.
    """
    from transformers import AutoModelForCausalLM

    from engine.weights import resolve

    model = AutoModelForCausalLM.from_pretrained(resolve(engine.config.model).folder, dtype=torch.float32).eval()
    eos = sorted(engine.tokenizer.eos_ids) or None
    found = []
    for prompt in prompts:
        ids = engine.tokenizer.encode(prompt)
        out = model.generate(
            torch.tensor([ids]), max_new_tokens=count, do_sample=False, eos_token_id=eos, pad_token_id=0
        )
        found.append(tuple(out[0, len(ids) :].tolist()))
    return found


def _common(a: Tokens, b: Tokens) -> int:
    """Length of the common beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
