"""`--kernels`: which way this machine's measured table chose for prompts, and by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.measure.sheet import Sheet
from engine.measure.speed.candidates import Candidate
from engine.measure.speed.compare import Say


def measure_table(own: Sequence[Candidate], threads: int, say: Say) -> list[dict[str, Any]]:
    """Load each candidate, which measures what the table does not hold yet; then every row of the table.

    Parameters
    ----------
    own : candidates of our engine.
    threads : CPU threads of each.
    say : told who is being loaded.

    Returns
    -------
    Rows with `name` and the tokens a second of `compiled` products and of `torch`'s.
    """
    for candidate in own:
        say(f"loading {candidate.name}")
        with candidate.start(threads) as worker:
            worker.ask("load", **candidate.load)
    from engine.kernels.choice import read_table

    return list(read_table().values())


def kernels_sheet(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    header = ("", "compiled products, tokens/s", "torch, weights widened to fp32, tokens/s", "chosen")
    cells = tuple(
        (
            str(row["name"]),
            f"{row['compiled']:.0f}",
            f"{row['torch']:.0f}",
            max(("compiled", "torch"), key=row.__getitem__),
        )
        for row in rows
    )
    return Sheet("Prompts: measured once on this machine, kept beside the compiled kernels", header, cells)
