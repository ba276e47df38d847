"""`python -m tests.browser.screenshots [FOLDER]`: pictures of the four tabs with real answers, written to docs/."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page

from engine.errors import UserError
from pipelines import TASKS
from tests.browser.served import SIZE, chromium, open_tab, ready, run_example, served

DOCS = Path(__file__).parents[2] / "docs"
# Task -> the example to run.
PICTURES = {
    "classification": "What is the news about?",
    "summarization": "A film review, short",
    "question_answering": "Who plays Anton?",
    "generation": "A list, always the same",
}


def take(page: Page, task: str, folder: Path) -> Path:
    """Runs the example of a task and writes the picture of its answer."""
    open_tab(page, TASKS[task].title)
    run_example(page, task, PICTURES[task])
    page.mouse.move(2, 2)
    page.evaluate("document.activeElement?.blur()")
    page.wait_for_timeout(500)
    path = folder / f"{task}.png"
    page.screenshot(path=path)
    return path


def main(folder: Path = DOCS) -> int:
    """Writes all pictures and prints their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with served() as app, chromium() as browser:
            page = browser.new_page(viewport=SIZE)
            page.goto(app.url)
            ready(page)
            for task in PICTURES:
                print(take(page, task, folder))
    except (RuntimeError, UserError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
