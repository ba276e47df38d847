"""`python -m tests.browser.streams [PAGES]`: what is left of decoding when so many open pages stream at once.

Pages and app run on the same cores, as on a laptop. Rounds without and with pages take turns.
"""

from __future__ import annotations

import statistics
import sys
import time

from playwright.sync_api import Browser, Page, expect

from engine.config import SamplingParams
from engine.errors import UserError
from tests.browser.served import SIZE, Served, chromium, open_tab, ready, served
from tests.pipelines.paced_engine import at_rest

PROMPT = "Count from one to one thousand, in words, and explain every number."
SECONDS, ROUNDS, TOKENS = 10.0, 3, 150
WAIT_MS = 120_000


def alone(app: Served, streams: int) -> float:
    """Tokens/s of as many streams in all, without a page."""
    params = SamplingParams(max_tokens=TOKENS, min_tokens=TOKENS, temperature=0.7, seed=1)
    before, began = app.steps, time.perf_counter()
    app.holder.engine.generate([f"{i}. {PROMPT}" for i in range(streams)], params)
    return (app.steps - before - streams) * streams / (time.perf_counter() - began)


def prepare(page: Page) -> None:
    """A tab that needs Ctrl+Enter alone to write a long text."""
    ready(page)
    open_tab(page, "Generate")
    page.get_by_role("button", name="Sampling and system prompt").click()
    page.locator("#generation-max-tokens input[type=number]").fill("2048")
    page.locator("#generation-repetition-penalty input[type=number]").fill("2")
    page.locator("#generation-text textarea").fill(PROMPT)


def beside(app: Served, pages: list[Page]) -> tuple[float, list[float]]:
    """Tokens/s of all pages together while all of them stream, and seconds until each showed its first text."""
    began = time.perf_counter()
    for page in pages:
        page.locator("#generation-text textarea").press("Control+Enter")
    waiting, first = dict(enumerate(pages)), []
    while waiting and time.perf_counter() - began < WAIT_MS / 1000:
        for i, page in list(waiting.items()):
            if page.locator("#generation-result textarea").input_value():
                first.append(time.perf_counter() - began)
                del waiting[i]
    before, at = app.steps, time.perf_counter()
    time.sleep(SECONDS)
    rate = (app.steps - before) * len(pages) / (time.perf_counter() - at)
    for page in pages:
        page.locator("#generation-stop").click()
    for page in pages:
        expect(page.locator("#generation-line .stopped")).to_be_visible(timeout=WAIT_MS)
        page.locator("#generation-clear").click()
        page.locator("#generation-text textarea").fill(PROMPT)
    if not at_rest(app, 1.0):
        raise RuntimeError("The engine still works after every page was stopped.")
    return rate, first


def measure(app: Served, browser: Browser, count: int) -> None:
    """Prints what each round gave, and the medians."""
    pages = [browser.new_context(viewport=SIZE).new_page() for _ in range(count)]
    for page in pages:
        page.goto(app.url)
        prepare(page)
    rows = []
    for _ in range(ROUNDS):
        quiet = alone(app, count)
        rate, first = beside(app, pages)
        rows.append((quiet, rate, rate / quiet, statistics.median(first), max(first)))
        print("without pages {:,.0f} tokens/s, with them {:,.0f} ({:.0%}); first text after {:.2f} s, the last after "
              "{:.2f} s".format(*rows[-1]), flush=True)  # fmt: skip
    middle = [statistics.median(column) for column in zip(*rows, strict=True)]
    info = app.holder.engine.info
    print(
        f"{count} pages, {info.model} {info.precision}, {info.walking} of {info.threads} threads at the end: median",
        "{:,.0f} and {:,.0f} tokens/s in all, {:.0%}; first text {:.2f} s, last {:.2f} s".format(*middle),
    )


def main(count: int = 8) -> int:
    try:
        with served() as app, chromium() as browser:
            measure(app, browser, count)
    except (RuntimeError, UserError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
