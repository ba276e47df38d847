"""The benchmark, from its options to its tables: `python -m engine.benchmark` and `brisk bench`; `speed` measures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.config import DEFAULT_MODEL, MAX_BATCH, EngineConfig
from engine.errors import BadRequest
from engine.measure.command import run_app, say, split
from engine.measure.machine import machine, machine_lines, versions
from engine.measure.peers.registry import PEERS
from engine.measure.sheet import Sheet, show
from engine.measure.speed.beside import Beside, beside_sheet, measure_beside
from engine.measure.speed.candidates import ours, peers
from engine.measure.speed.compare import Field, Result, compare, gathered, remarks
from engine.measure.speed.figures import Shape
from engine.measure.speed.kernels import kernels_sheet, measure_table
from engine.measure.speed.neighbours import MOST, parse_counts
from engine.measure.speed.sheets import FORMATS, bound_sheet, speed_sheet
from engine.measure.suite.parts import NONE, registered
from engine.weights import load_config, resolve

if TYPE_CHECKING:
    from engine.measure.suite.table import Suite
    from engine.model.families import Architecture

USUAL_CONTEXT = 4096  # the engine's window unless more is asked for
SUITE_CONTEXT = 4096 + 64  # the longest that `--suite` runs


def main(
    model: Annotated[str, typer.Option(help="Registry name, folder, .gguf file or Hub id.")] = DEFAULT_MODEL,
    precision: Annotated[str, typer.Option(help="Comma-separated: fp32, half, int8, int4.")] = "int8,int4,half,fp32",
    prompt: Annotated[int, typer.Option(help="Prompt tokens.")] = 512,
    new: Annotated[int, typer.Option(help="New tokens, 2 or more.")] = 128,
    batch: Annotated[int, typer.Option(help="Prompts at once.")] = 1,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 takes what this process may use.")] = 0,
    repeat: Annotated[int, typer.Option(help="Counted rounds.")] = 5,
    vs: Annotated[str, typer.Option(help=f"Comma-separated peers: {', '.join(PEERS)}; or none, or all.")] = "",
    kv_precision: Annotated[str, typer.Option(help="Our keys and values: auto, fp32, half, int8.")] = "auto",
    prefill: Annotated[
        str, typer.Option(help="Our prompts where weights are integers: auto, fp32, int16, int8.")
    ] = "auto",
    suite: Annotated[
        bool, typer.Option("--suite", help="Every target of the project in one table; all peers.")
    ] = False,
    neighbours: Annotated[
        str, typer.Option(help=f"Only measure beside so many busy processes: counts up to {MOST}, such as 0,1,2,4.")
    ] = "",
    kernels: Annotated[bool, typer.Option("--kernels", help="Only show what was chosen for prompts here.")] = False,
    operators: Annotated[
        bool, typer.Option("--operators", help="Only time each operator alone, on one thread.")
    ] = False,
    format: Annotated[str, typer.Option(help=f"{', '.join(FORMATS)}.")] = "table",
) -> None:
    """Tokens a second of prefill and decode, medians of interleaved rounds, beside peers on the same token ids.

    Parameters
    ----------
    model : registry name, folder, .gguf file or Hub id.
    precision : of our engine, with commas between.
    prompt, new, batch : tokens of a prompt, new ones (2 or more), and prompts at once.
    threads : of every candidate; 0 takes what this process may use.
    repeat : counted rounds, 1 or more.
    vs : peers, with commas between, or none, or all; "" is Transformers alone, and all of them with `suite`.
    kv_precision, prefill : of our engine, as in `EngineConfig`.
    suite : measure every target of the project.
    neighbours : measure only beside so many busy processes of our own, with commas between the counts.
    kernels : only show which arithmetic was chosen for prompts on this machine.
    operators : only time each operator alone.
    format : one of `FORMATS`.

    Raises
    ------
    BadRequest : the request cannot be run.
    WorkerFailed : none of our candidates could be loaded.
    """
    from engine.loading import pick_threads

    shape = Shape(prompt, new, batch)
    _check(shape, repeat, format)
    counts = parse_counts(neighbours) if neighbours else []
    if counts and suite:
        raise BadRequest("--suite measures beside busy neighbours itself: leave one of --suite and --neighbours out.")
    split(vs.replace("none", "").replace("all", ""), tuple(PEERS), "Peer")
    threads, _ = pick_threads(EngineConfig(threads=threads).threads)
    files = resolve(model)
    arch, window = _window(load_config(files.folder))
    context = prompt + new
    longest = max(context, min(SUITE_CONTEXT, window)) if suite else context
    options: dict[str, Any] = {"threads": threads, "max_batch": max(8, batch)}
    options |= {"max_context": longest if longest > USUAL_CONTEXT else 0}
    own = ours(model, precision, {**options, "kv_precision": kv_precision, "prefill": prefill})
    if kernels:
        chosen = measure_table(own, threads, say)
        show(format, [kernels_sheet(chosen)], [], {"kernels": chosen}, rows="kernels")
        return
    if operators:
        if arch is None:
            raise BadRequest(f"{files.name} is of an architecture that has no operators of ours to time.")
        from engine.measure.speed.operators import measure_operators, operators_sheet

        rows = measure_operators(arch, files, repeat, say)
        about = machine(1, versions(("torch", "numba")))
        data = {"machine": about, "operators": rows}
        show(format, [operators_sheet(rows)], machine_lines(about), data, rows="operators")
        return
    if context > window:
        raise BadRequest(
            f"A prompt of {prompt} and {new} new tokens do not fit the model's window of {window}: ask for fewer."
        )
    named = vs or ("all" if suite else "transformers")
    others, absent = peers(",".join(PEERS) if named == "all" else named, files.folder, threads, context, batch)
    with gathered(own, others, absent, shape, threads, say) as stand:
        if counts:
            _print_beside(measure_beside(stand, shape, counts, repeat, say), stand, files.name, repeat, format)
            return
        result = compare(stand, shape, repeat, arch, say)
        found: Suite | None = None
        parts = registered() if suite else []
        if suite:
            from engine.measure.suite.table import run_suite

            found = run_suite(stand, result, arch, model, repeat, say, parts)
    _print(result, found, stand, files.name, repeat, format, [NONE] if suite and not parts else [])


def _check(shape: Shape, repeat: int, format: str) -> None:
    rules = [
        (shape.prompt >= 1, f"--prompt is {shape.prompt}: give 1 token or more."),
        (shape.new >= 2, f"--new is {shape.new}: give 2 tokens or more, so that there is a decode step to time."),
        (1 <= shape.batch <= MAX_BATCH, f"--batch is {shape.batch}: give 1 to {MAX_BATCH}."),
        (repeat >= 1, f"--repeat is {repeat}: give 1 round or more."),
        (format in FORMATS, f"The format '{format}' is unknown: choose among {', '.join(FORMATS)}."),
    ]
    for holds, sentence in rules:
        if not holds:
            raise BadRequest(sentence)


def _window(config: dict[str, Any]) -> tuple[Architecture | None, int]:
    """The architecture where it is one we know, and the longest text the model takes."""
    from engine.model.families import Unfit, describe

    try:
        arch = describe(config)
    except Unfit:
        return None, int(config.get("max_position_embeddings") or config.get("n_positions") or 1 << 30)
    return arch, arch.context


def _print(
    result: Result, suite: Suite | None, stand: Field, name: str, repeat: int, format: str, notes: Sequence[str]
) -> None:
    shape = result.shape
    about = machine(stand.threads, stand.versions(), result.rounds.ceilings)
    rounds = [result.rounds]
    sheets: list[Sheet] = [speed_sheet(result.rows, shape, result.baseline), bound_sheet(result.rows)]
    if suite is not None:
        from engine.measure.suite.table import target_sheet

        if suite.beside is not None:
            sheets.append(beside_sheet(suite.beside))
            rounds += suite.beside.rounds.values()
        sheets.append(target_sheet(suite.targets))
    lines = [
        f"{name}: {_asked(shape, repeat)}, one process each; ratios to {result.baseline}, round by round. Memory: the "
        "most while running, over the same process without a model.",
        *machine_lines(about),
        *remarks(stand, rounds),
        *notes,
    ]
    data = {
        **_about(stand, shape, name, repeat, about),
        "baseline": result.baseline,
        "rows": [asdict(row) for row in result.rows],
        "stray_cpu": result.rounds.stray,
        "targets": [target.data() for target in suite.targets] if suite else [],
        "neighbours": suite.beside.data() if suite and suite.beside else [],
    }
    show(format, sheets, lines, data, rows="targets" if suite else "rows")


def _print_beside(beside: Beside, stand: Field, name: str, repeat: int, format: str) -> None:
    about = machine(stand.threads, stand.versions())
    lines = [
        f"{name}: {_asked(beside.shape, repeat)} through all counts, one process each; ratios round by round. A busy "
        "neighbour is a process that counts without an end, with the same rights to the cores as everyone.",
        *machine_lines(about),
        *remarks(stand, beside.rounds.values()),
    ]
    data = {
        **_about(stand, beside.shape, name, repeat, about),
        "references": beside.references,
        "neighbours": beside.data(),
        "stray_cpu": max(rounds.stray for rounds in beside.rounds.values()),
    }
    show(format, [beside_sheet(beside)], lines, data, rows="neighbours")


def _asked(shape: Shape, repeat: int) -> str:
    return (
        f"{shape.prompt} prompt and {shape.new} new tokens, batch {shape.batch}, {repeat} interleaved "
        f"round{'' if repeat == 1 else 's'}"
    )


def _about(stand: Field, shape: Shape, name: str, repeat: int, about: dict[str, Any]) -> dict[str, Any]:
    """What every result holds, JSON-able."""
    return {
        "model": name,
        **asdict(shape),
        "repeat": repeat,
        "machine": about,
        "absent": [{"name": one.name, "reason": one.reason} for one in stand.absent],
    }


if __name__ == "__main__":
    sys.exit(run_app(main))
