"""`python -m tests.browser.streams [PAGES]`: how the app fares while so many open pages stream at once.

App and pages run on the same cores, as on a laptop. All pages are asked for a text at the same moment, several times;
each measures in its own clock when its first words stand there.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Annotated

import typer
from playwright.sync_api import Browser, Page

from engine.errors import UserError
from tests.browser.served import SIZE, Served, chromium, open_tab, ready, served

PROMPT = "Write a long and detailed story about a lighthouse keeper."
ROUNDS, TOKENS = 5, 256
WAIT_MS = 120_000
WATCH = """() => {
    window.seen = {};
    const words = document.querySelector('#generation-result textarea');
    document.addEventListener('keydown', event => {
        if (event.key === 'Enter' && event.ctrlKey) window.seen = {asked: performance.now()};
    }, true);
    setInterval(() => {
        if (window.seen.asked && !window.seen.first && words.value)
            window.seen.first = performance.now() - window.seen.asked;
    }, 10);
}"""


def prepare(page: Page) -> None:
    """A tab that needs Ctrl+Enter alone to write a long text, and notes when its first words come."""
    ready(page)
    open_tab(page, "Generate")
    page.get_by_role("button", name="Sampling and system prompt").click()
    page.locator("#generation-max-tokens input[type=number]").fill(str(TOKENS))
    page.evaluate(WATCH)


def together(pages: list[Page]) -> tuple[float, float, float]:
    """Seconds until all texts are done, and until first words: the median page's and the last's."""
    for page in pages:
        page.locator("#generation-text textarea").fill(PROMPT)
    began = time.perf_counter()
    for page in pages:
        page.locator("#generation-text textarea").press("Control+Enter")
    for page in pages:
        page.locator("#generation-line .done").wait_for(timeout=WAIT_MS)
    seconds = time.perf_counter() - began
    first = [page.evaluate("window.seen.first") / 1000 for page in pages]
    for page in pages:
        page.locator("#generation-clear").click()
    return seconds, statistics.median(first), max(first)


def measure(app: Served, browser: Browser, count: int) -> None:
    """Prints what each round gave, and the medians."""
    pages = [browser.new_context(viewport=SIZE).new_page() for _ in range(count)]
    for page in pages:
        page.goto(app.url)
        prepare(page)
    rows = []
    for _ in range(ROUNDS):
        rows.append(together(pages))
        print("{:.1f} s; first words after {:.2f} s, on the last page after {:.2f} s".format(*rows[-1]), flush=True)
    info = app.holder.engine.info
    print(
        f"{count} pages, {TOKENS} tokens each, {info.model} {info.precision}, {info.threads} threads: median",
        "{:.1f} s; first words {:.2f} s, last page {:.2f} s".format(*map(statistics.median, zip(*rows, strict=True))),
    )


def main(pages: Annotated[int, typer.Argument(min=1, max=64)] = 8) -> None:
    """How the app fares while so many open pages stream at once, on the same cores."""
    try:
        with served() as app, chromium() as browser:
            measure(app, browser, pages)
    except (RuntimeError, UserError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    typer.run(main)
