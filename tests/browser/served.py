"""The app served from this process with the real model, and a Chromium to look at it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from brisk import app
from engine.config import EngineConfig
from engine.engine import shared_engine
from pipelines.ui.holder import EngineHolder
from tests.serving import free_port

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZE = ViewportSize(width=1280, height=820)
LOAD_S = 240.0  # a first run converts the weights and compiles the kernels
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Served:
    holder: EngineHolder
    url: str

    @property
    def steps(self) -> int:
        """Forward steps of the engine so far: they stand still when it is free."""
        return self.holder.engine.steps


@contextmanager
def served(config: EngineConfig | None = None, open_engine: Any = None) -> Iterator[Served]:
    """The app on a free port, its engine ready."""
    config = config or EngineConfig()
    holder = EngineHolder(open_engine or shared_engine)  # which waits for the compiled operators
    holder.begin(config)
    page = app.build(holder, config)
    url = app.serve(page, "127.0.0.1", free_port())
    try:
        until = time.monotonic() + LOAD_S
        while (status := holder.status).phase == "loading" and time.monotonic() < until:
            holder.wait(1.0)
        if status.phase != "ready":
            raise RuntimeError(f"The engine is not ready: {status.message}")
        yield Served(holder, url)
    finally:
        page.close(verbose=False)
        holder.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """The Chromium that `CHROMIUM` names, else this machine's; RuntimeError with how to get one if none is there."""
    path = os.environ.get("CHROMIUM") or next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        raise RuntimeError(
            "The browser tests need Chromium, and none is installed: run 'apt-get install chromium' (Debian, Ubuntu), "
            "'brew install --cask chromium' (macOS), or put one on PATH."
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        try:
            yield browser
        finally:
            browser.close()


def ready(page: Page) -> None:
    """Waits until the page shows an engine that serves."""
    expect(page.locator("#engine-status .state")).to_have_text("Ready", timeout=60_000)


def run_example(page: Page, task: str, label: str, seconds: float = 120) -> None:
    """Clicks an example and waits for its answer."""
    page.locator(f"#{task}-examples").get_by_text(label, exact=True).click()
    expect(page.locator(f"#{task}-line .done")).to_be_visible(timeout=seconds * 1000)


def open_tab(page: Page, name: str) -> None:
    """Shows a task's tab, by its title."""
    page.get_by_role("tab", name=name, exact=True).click()
