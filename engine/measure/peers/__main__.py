"""`python -m engine.measure.peers build`: install the peers and convert the model for them (see `make peers`)."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from engine.config import DEFAULT_MODEL
from engine.measure.command import run_app, say, split
from engine.measure.peers.build import build as build_all
from engine.measure.peers.registry import PEERS, Absent, find
from engine.weights import resolve

app = typer.Typer(help=__doc__, add_completion=False, rich_markup_mode=None)


@app.command()
def build(
    peers: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(PEERS)}.")] = ",".join(PEERS),
    model: Annotated[str, typer.Option(help="The model to convert.")] = DEFAULT_MODEL,
) -> None:
    """Build what is missing; exit code 1 where a peer cannot be had, which is named with the cause."""
    outcomes = build_all(split(peers, tuple(PEERS), "Peer"), resolve(model).folder, say)
    for outcome in outcomes:
        say(f"{outcome.name}: {outcome.problem or 'ready'}")
    raise typer.Exit(1 if any(outcome.problem for outcome in outcomes) else 0)


@app.command()
def status(model: Annotated[str, typer.Option(help="The model to run.")] = DEFAULT_MODEL) -> None:
    """Which peers can run here, and why others cannot."""
    folder = resolve(model).folder
    for name in PEERS:
        for one in find(name, folder):
            ready = f"{one.peer.title} {one.variant.dtype}: ready" if not isinstance(one, Absent) else ""
            say(ready or f"{one.name}: absent, {one.reason}")  # type: ignore[union-attr]


if __name__ == "__main__":
    sys.exit(run_app(app))
