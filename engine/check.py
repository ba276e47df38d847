"""`python -m engine.check`: does every fast path give what the slow one gives? Prints tables, exits 1 where not.

Parity: our decoder against Transformers on small random models of every family. Identity: greedy tokens on the
real model in fp32 against Transformers' `generate`, and of each lossless switch against the plain path.
`--fidelity` instead: what each precision loses against fp32 on held-out text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console
from rich.table import Table

from engine.cache.static import StaticCache
from engine.config import DEFAULT_MODEL, EngineConfig, Precision, SamplingParams
from engine.decoder import Decoder, Segment
from engine.engine import Engine
from engine.errors import BadRequest, UserError
from engine.families import describe
from engine.parameters import build

LOGIT_BOUND = 1e-4  # fp32, max |difference|

PROMPTS = (
    "The film begins with", "Once upon a time, in a small village by the sea,", "The capital of France is",
    "def fibonacci(n):", "Dear Sir or Madam,", "The three most important rules of cooking are",
    "In 1969, the first humans", "She opened the door and", "The weather today", "Q: What is the largest planet?\nA:",
    "I did not like this movie because", "The quick brown fox", "Ingredients:\n- 2 eggs\n-", "Water boils at",
    "According to the theory of evolution,", "My favourite book is", "The stock market", "To be, or not to be,",
    "Roses are red,", "Der schnelle braune Fuchs",
)  # fmt: skip


def random_models() -> Iterator[tuple[str, Any]]:
    """A small random Transformers model of every family we run ourselves."""
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import AutoConfig

    sizes = {
        "vocab_size": 307, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    }  # fmt: skip
    gpt2 = {"vocab_size": 307, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128,
            "bos_token_id": 0, "eos_token_id": 0}  # fmt: skip
    for name, given in (
        ("llama", sizes),
        ("mistral", {**sizes, "sliding_window": None}),
        ("qwen2", sizes),
        ("qwen3", {**sizes, "head_dim": 32}),
        ("gpt2", gpt2),
    ):
        torch.manual_seed(0)
        config = AutoConfig.for_model(name, initializer_range=0.2, **given)
        yield name, AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()


@torch.inference_mode()
def parity(model: Any) -> tuple[float, float, float]:
    """Max |logit difference| alone, in a ragged batch, and with the prompt cut into chunks of 7."""
    arch = describe(model.config.to_dict())
    params = build(arch, dict(model.state_dict()), "fp32", context=128,
                   device=torch.device("cpu"), compute_dtype=torch.float32)  # fmt: skip
    decoder = Decoder(arch, params, StaticCache(arch.layers, 4, arch.kv_heads, 128, arch.head_dim))
    generator = torch.Generator().manual_seed(1)
    texts = [torch.randint(arch.vocabulary, (n,), generator=generator) for n in (1, 90, 33, 7)]
    expected = [model(text[None]).logits[0] for text in texts]

    def worst(found: list[torch.Tensor]) -> float:
        return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))

    alone = [decoder.logits(decoder.hidden(text, [Segment(0, 0, len(text))])) for text in texts]
    packed = [Segment(slot, 0, len(text)) for slot, text in enumerate(texts)]
    ragged = decoder.logits(decoder.hidden(torch.cat(texts), packed)).split([len(text) for text in texts])
    chunked = [
        torch.cat([
            decoder.logits(decoder.hidden(part, [Segment(0, 7 * i, len(part))])) for i, part in enumerate(text.split(7))
        ])
        for text in texts
    ]  # fmt: skip
    return worst(alone), worst(list(ragged)), worst(chunked)


@contextmanager
def _opened(config: EngineConfig) -> Iterator[Engine]:
    engine = Engine(config)
    try:
        yield engine
    finally:
        engine.close()


def _tokens(engine: Engine, prompts: list[str], count: int) -> list[tuple[int, ...]]:
    return [done.token_ids for done in engine.generate(prompts, SamplingParams(max_tokens=count))]


def transformers_tokens(engine: Engine, prompts: list[str], count: int) -> list[tuple[int, ...]]:
    """Greedy tokens of Transformers' own `generate` in fp32, one prompt at a time."""
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


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Length of the common beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def identities(model: str, prompts: list[str], count: int) -> Iterator[tuple[str, str, int, list[str]]]:
    """(what is compared, precision, tokens a prompt, a sentence for each prompt that differs)."""

    def differing(found: list[tuple[int, ...]], expected: list[tuple[int, ...]]) -> list[str]:
        wrong = [(prompt, a, b) for prompt, a, b in zip(prompts, found, expected, strict=True) if a != b]
        return [f"{prompt!r} differs after {_common(a, b)} tokens" for prompt, a, b in wrong]

    few = max(1, count // 4)  # without a cache every token runs the whole text
    both: tuple[Precision, ...] = ("fp32", "int8")
    for precision in both:
        config = EngineConfig(model, precision=precision)
        with _opened(config) as engine:
            alone = [_tokens(engine, [prompt], count)[0] for prompt in prompts]
            if precision == "fp32":
                yield (
                    "Transformers generate",
                    precision,
                    count,
                    differing(transformers_tokens(engine, prompts, count), alone),
                )
            yield "all prompts at once", precision, count, differing(_tokens(engine, prompts, count), alone)
            with ThreadPoolExecutor(8) as pool:
                together = list(pool.map(lambda prompt: _tokens(engine, [prompt], count)[0], prompts))
            yield "eight threads at once", precision, count, differing(together, alone)
        if precision == "fp32":
            short = [tokens[:few] for tokens in alone]
            off = {"KV cache off": replace(config, kv_cache=False), "compiled step off": replace(config, kernels=False)}
            for what, switched in off.items():
                with _opened(switched) as engine:
                    yield what, precision, few, differing(_tokens(engine, prompts, few), short)


def main(
    model: Annotated[str, typer.Option(help="Registry name, folder, .gguf file or Hub id.")] = DEFAULT_MODEL,
    prompts: Annotated[int, typer.Option(min=1, max=len(PROMPTS), help="Prompts of the identity checks.")] = 20,
    tokens: Annotated[
        int | None,
        typer.Option(
            min=0, help="Greedy tokens a prompt (64); with --fidelity, tokens of all reviews, 0 whole (20,000)."
        ),
    ] = None,
    fidelity: Annotated[bool, typer.Option(help="What each precision loses against fp32 on held-out reviews.")] = False,
    reviews: Annotated[int, typer.Option(min=1, help="Reviews of --fidelity.")] = 200,
    only: Annotated[str, typer.Option(help="Of --fidelity only the rows whose name contains this.")] = "",
    form: Annotated[
        Literal["table", "md", "json"], typer.Option("--format", help="How --fidelity is printed.")
    ] = "table",
) -> None:
    """Hold every fast path to its slow twin; exit code 1 where one differs."""
    if fidelity:
        from engine.fidelity import report as losses

        measured = losses.run(model, reviews, 20_000 if tokens is None else tokens, only)
        losses.show(measured, form)
        raise typer.Exit(1 if losses.failed(measured.rows) else 0)
    tokens = 64 if tokens is None else tokens
    if not 4 <= tokens <= 1024:
        raise BadRequest(f"--tokens is {tokens}: give 4 to 1024 greedy tokens a prompt.")
    console = Console()
    failed = False

    def verdict(holds: bool) -> str:
        nonlocal failed
        failed |= not holds
        return "[green]holds[/]" if holds else "[red]FAILS[/]"

    table = Table(
        title=f"Parity with Transformers, fp32, random models: max |logit difference| (bound {LOGIT_BOUND:g})"
    )
    for column in ("family", "alone", "ragged batch", "chunked prefill", ""):
        table.add_column(column)
    for name, reference in random_models():
        found = parity(reference)
        table.add_row(name, *(f"{value:.1e}" for value in found), verdict(max(found) <= LOGIT_BOUND))
    console.print(table)

    table = Table(title=f"Greedy identity on {model}, {prompts} prompts: against our decoder alone, cached, compiled")
    for column in ("compared with", "precision", "tokens", "identical", ""):
        table.add_column(column)
    notes: list[str] = []
    for what, precision, count, differing in identities(model, list(PROMPTS[:prompts]), tokens):
        same = f"{prompts - len(differing)} of {prompts}"
        table.add_row(what, precision, str(count), same, verdict(not differing))
        notes += [f"{what}, {precision}: {sentence}" for sentence in differing]
    console.print(table)
    for note in notes:
        console.print(note, markup=False)
    raise typer.Exit(1 if failed else 0)


def run(command: Callable[..., None]) -> None:
    """A typer command whose user errors are one sentence on stderr and exit code 2."""
    try:
        typer.run(command)
    except UserError as error:
        Console(stderr=True).print(str(error), markup=False)
        raise SystemExit(2) from None


if __name__ == "__main__":
    run(main)
