"""`python -m engine.measure.check`: does every fast path give what the slow one gives?

Prints tables, exits 1 where one differs.

Parity: our decoder against Transformers on small random models of every family. Identity: greedy tokens on the
real model against Transformers' `generate`, and of each lossless switch against the plain path (`identities`).
`--fidelity` instead: what each precision loses against fp32 on held-out text.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from engine.config import DEFAULT_MODEL, Precision
from engine.errors import BadRequest
from engine.measure.command import run_app, say
from engine.measure.sheet import FORMATS, Sheet, show

if TYPE_CHECKING:
    from engine.measure.lossless import Identity

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")  # whose lossless switches are checked
HOLDS, FAILS = "holds", "FAILS"


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
    form: Annotated[str, typer.Option("--format", help=f"How it is printed: {', '.join(FORMATS)}.")] = "table",
) -> None:
    """Hold every fast path to its slow twin; exit code 1 where one differs.

    Parameters
    ----------
    model : registry name, folder, .gguf file or Hub id.
    prompts : how many, of the identity checks.
    tokens : greedy ones a prompt, 4 to 1,024, by default 32; with `fidelity` those predicted in all, by default 20,000,
        0 for all.
    fidelity : measure instead what each precision loses against fp32 on held-out reviews.
    reviews : how many, of the fidelity.
    only : part of the name of the rows of fidelity that are measured.
    form : one of `FORMATS`.

    Raises
    ------
    BadRequest : the request cannot be run.
    typer.Exit : always, with the exit code.
    """
    if form not in FORMATS:
        raise BadRequest(f"The format '{form}' is unknown: choose among {', '.join(FORMATS)}.")
    if fidelity:
        from engine.measure.fidelity import report as losses

        measured = losses.run(model, reviews, 20_000 if tokens is None else tokens, only)
        losses.print_report(measured, form)
        raise typer.Exit(1 if losses.failed(measured.rows) else 0)
    tokens = 32 if tokens is None else tokens
    if not 4 <= tokens <= 1024:
        raise BadRequest(f"--tokens is {tokens}: give 4 to 1024 greedy tokens a prompt.")
    from engine.measure import check_prompts
    from engine.measure.lossless import identities
    from engine.measure.parity import parity, random_models

    say("logits of random models")
    differences = {name: parity(reference) for name, reference in random_models()}
    same: list[Identity] = []
    for precision in PRECISIONS:
        for one in identities(model, precision, check_prompts.prompts(prompts), tokens):
            say(f"greedy tokens, {precision}: {one.what}")
            same.append(one)
    notes = [f"{one.what}, {one.precision}: {sentence}" for one in same for sentence in one.differing]
    sheets = [_parity_sheet(differences), _identity_sheet(model, same)]
    show(form, sheets, notes, {"parity": differences, "identity": [asdict(one) for one in same]})
    raise typer.Exit(1 if any(FAILS in row for sheet in sheets for row in sheet.rows) else 0)


def _parity_sheet(found: dict[str, tuple[float, float, float]]) -> Sheet:
    """Differences of logits by family."""
    from engine.measure.parity import LOGIT_BOUND

    title = f"Parity with Transformers, fp32, random models: max |logit difference| (bound {LOGIT_BOUND:g})"
    rows = [
        (name, *(f"{value:.1e}" for value in values), HOLDS if max(values) <= LOGIT_BOUND else FAILS)
        for name, values in found.items()
    ]
    return Sheet(title, ("family", "alone", "ragged batch", "chunked prefill", "verdict"), tuple(rows))


def _identity_sheet(model: str, found: list[Identity]) -> Sheet:
    title = f"Greedy identity on {model}: against our decoder alone, nothing reused, nothing guessed"
    rows = [
        (one.what, one.precision, str(one.tokens), f"{one.prompts - len(one.differing)} of {one.prompts}",
         FAILS if one.differing else HOLDS, one.note)
        for one in found
    ]  # fmt: skip
    return Sheet(title, ("compared with", "precision", "tokens", "identical", "verdict", "of which"), tuple(rows))


if __name__ == "__main__":
    sys.exit(run_app(main))
