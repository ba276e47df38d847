"""The panel that shows which engine serves and exchanges it."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from engine.config import KV_PRECISIONS, PRECISIONS, EngineConfig, available_threads
from engine.errors import UserError
from engine.weights.registry import REGISTRY
from pipelines.ui import screen
from pipelines.ui.holder import EngineHolder, Status

LOOK_S, LOOK_READY_S = 1.0, 15.0  # how often a page asks how the engine is, while one loads and once it serves


def status_html(status: Status) -> str:
    """HTML of the panel; every text in it is escaped."""
    parts = []
    if status.busy or status.info is None:
        share = "" if status.share is None else f' value="{status.share:.3f}"'
        percent = "" if status.share is None else f" {status.share:.0%}"
        state = "Not loaded" if status.phase == "failed" else f"{status.message}{percent}"
        parts.append(f'<div class="state">{html.escape(state)}</div>')
        if status.busy:
            parts.append(f'<progress max="1"{share} aria-label="Loading the engine"></progress>')
    else:
        parts.append('<div class="state">Ready</div>')
    if status.error:
        kept = " The engine of before still serves." if status.info is not None else ""
        parts.append(f'<p class="error">{html.escape(status.error + kept)}</p>')
    if status.info is not None:
        rows = "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in _facts(status))
        parts.append(f"<dl>{rows}</dl>")
        parts.append(f'<p class="note">{html.escape(status.info.source)}</p>')
        parts.extend(f'<p class="note">{html.escape(note)}</p>' for note in status.info.notes)
    return f'<div class="brisk-engine" role="status">{"".join(parts)}</div>'


def _facts(status: Status) -> list[tuple[str, str]]:
    info = status.info
    assert info is not None, "asked only for an engine that serves"
    cache = f"on, {info.kv_precision}" if status.config is None or status.config.kv_cache else "off"
    return [
        ("Model", info.model),
        ("Weights", f"{info.precision}, {info.weight_bytes / 1e6:,.0f} MB"),
        ("Runs on", f"{info.device}, {info.threads} thread{'s' if info.threads != 1 else ''}"),
        ("KV cache", cache),
        ("Context", f"{info.max_context:,} tokens"),
        ("Backend", info.backend),
        ("Loaded in", f"{info.load_s:.1f} s"),
    ]


def build(holder: EngineHolder, config: EngineConfig) -> None:
    """The panel, filled with the engine the app was started with."""
    with gr.Sidebar(label="Engine", width=300):
        gr.HTML('<h2 class="brisk-side">Engine</h2>')
        panel = gr.HTML(status_html(holder.status), label="Engine status", elem_id="engine-status")
        names = list(dict.fromkeys([config.model, *REGISTRY]))
        model = gr.Dropdown(
            names, value=config.model, allow_custom_value=True, label="Model", elem_id="engine-model",
            info="A name, a folder, a .gguf file or a Hub id",
        )  # fmt: skip
        precision = gr.Radio(list(PRECISIONS), value=config.precision, label="Precision", elem_id="engine-precision")
        threads = gr.Number(
            config.threads, precision=0, minimum=0, maximum=256, label="Threads", elem_id="engine-threads",
            info=f"0 takes all {available_threads()} this process may use",
        )  # fmt: skip
        kv_cache = gr.Checkbox(config.kv_cache, label="KV cache", elem_id="engine-kv-cache")
        kv_precision = gr.Dropdown(
            list(KV_PRECISIONS), value=config.kv_precision, label="KV precision", elem_id="engine-kv-precision"
        )
        load = gr.Button("Load", variant="secondary", elem_id="engine-load")
    clock = gr.Timer(LOOK_S)

    def look() -> tuple[str, gr.Timer]:
        status = holder.status
        compiling = status.info is not None and status.info.compiling
        settled = status.phase != "loading" and not status.busy and not compiling
        return status_html(status), gr.Timer(LOOK_READY_S if settled else LOOK_S)

    clock.tick(look, None, [panel, clock], queue=False, show_progress="hidden", api_visibility="private")
    load.click(
        reload_handler(holder, config), [model, precision, threads, kv_cache, kv_precision],
        [panel, load],
        concurrency_limit=1, concurrency_id="load", show_progress="hidden", api_visibility="private",
    )  # fmt: skip


def reload_handler(holder: EngineHolder, first: EngineConfig) -> Any:
    """The generator behind Load. `first` gives what the panel does not ask for: device, window, backend, ..."""

    def handler(
        model: str, precision: str, threads: float | None, kv_cache: bool, kv_precision: str
    ) -> Iterator[tuple[str, Any]]:
        try:
            config = replace(
                first,
                model=str(model or "").strip(),
                precision=precision,  # type: ignore[arg-type]  # checked there
                threads=screen.number(threads or 0, "threads", int),
                kv_cache=bool(kv_cache),
                kv_precision=kv_precision,  # type: ignore[arg-type]
            )
            for status in holder.reload(config):
                yield status_html(status), gr.update(interactive=not status.busy)
        except UserError as error:
            raise screen.toast(error) from error
        if status.error:
            raise screen.toast(UserError(status.error))

    return handler
