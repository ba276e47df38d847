"""`python -m engine.measure.check`: does every fast path give what the slow one gives?

Prints tables, exits 1 where one differs.

Parity: our decoder against Transformers on small random models of every family. Identity: greedy tokens on the
real model against Transformers' `generate`, and of each lossless switch against the plain path (`identities`).
`--fidelity` instead: what each precision loses against fp32 on held-out text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console
from rich.table import Table

from engine.cache.static import StaticCache
from engine.config import DEFAULT_MODEL, Precision
from engine.errors import BadRequest, UserError
from engine.measure import check_prompts
from engine.measure.lossless import identities
from engine.model.build import BuildOptions, build_parameters
from engine.model.decoder import Decoder, Segment
from engine.model.families import describe

LOGIT_BOUND = 1e-4  # fp32, max |difference|


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
    params = build_parameters(arch, dict(model.state_dict()), BuildOptions("fp32", 128))
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


def main(
    model: Annotated[str, typer.Option(help="Registry name, folder, .gguf file or Hub id.")] = DEFAULT_MODEL,
    prompts: Annotated[int, typer.Option(min=1, max=1000, help="Prompts of the identity checks.")] = 100,
    tokens: Annotated[
        int | None,
        typer.Option(
            min=0, help="Greedy tokens a prompt (32); with --fidelity, tokens predicted in all, 0 for all (20,000)."
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
        from engine.measure.fidelity import report as losses

        measured = losses.run(model, reviews, 20_000 if tokens is None else tokens, only)
        losses.show(measured, form)
        raise typer.Exit(1 if losses.failed(measured.rows) else 0)
    tokens = 32 if tokens is None else tokens
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

    table = Table(title=f"Greedy identity on {model}: against our decoder alone, nothing reused, nothing guessed")
    for column in ("compared with", "precision", "tokens", "identical", "", "of which"):
        table.add_column(column)
    notes: list[str] = []
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    for precision in precisions:
        for one in identities(model, precision, check_prompts.prompts(prompts), tokens):
            same = f"{one.prompts - len(one.differing)} of {one.prompts}"
            holds = verdict(not one.differing)
            table.add_row(one.what, one.precision, str(one.tokens), same, holds, one.note)
            notes += [f"{one.what}, {one.precision}: {sentence}" for sentence in one.differing]
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
