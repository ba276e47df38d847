"""Each tab in a real browser with the real model: what a user sees and can press."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from pipelines import TASKS, Task
from tests.browser.served import open_tab, run_example

pytestmark = [pytest.mark.browser, pytest.mark.model]

NASTY = '<img src=x onerror="window.hacked=1"><b>bold</b> **stars**'
ANSWER_MS = 60_000
# Keeps all that a line says while something works: a fast machine is done between two looks from outside.
KEEP_LINES = """selector => {
    const line = document.querySelector(selector);
    window.keptLines = [];
    const keep = () => window.keptLines.push(...[...line.querySelectorAll(".busy")].map(busy => busy.innerText));
    new MutationObserver(keep).observe(line, {childList: true, subtree: true, characterData: true});
}"""


def text_of(page: Page, task: str) -> str:
    return page.locator(f"#{task}-result textarea").input_value()


def test_classify_scores_every_label(page: Page) -> None:
    page.get_by_label("Text", exact=True).fill("I loved every minute of this wonderful film.")
    page.get_by_label("Labels, with commas between them").fill("praise, blame")
    page.locator("#classification-run").click()
    expect(page.locator("#classification-line .done")).to_contain_text(
        re.compile(r"prompt \d+ tokens"), timeout=ANSWER_MS
    )
    shown = page.locator("#classification-result")
    expect(shown.get_by_test_id("label-output-value")).to_have_text(re.compile("praise|blame"))
    shares = [int(text.rstrip("%")) for text in shown.locator(".confidence").all_inner_texts()]
    assert len(shares) == 2 and 99 <= sum(shares) <= 101


def test_summarize_streams_a_summary_and_copies_it(page: Page) -> None:
    open_tab(page, "Summarize")
    page.evaluate(KEEP_LINES, "#summarization-line")
    page.locator("#summarization-examples").get_by_text("A science story").click()  # long enough to be seen at work
    expect(page.locator("#summarization-line .done")).to_contain_text("times shorter", timeout=ANSWER_MS)
    busy = page.evaluate("window.keptLines")
    assert any(re.search(r"\d+%.* tokens at \d+/s", line) for line in busy), busy
    summary = text_of(page, "summarization")
    assert len(summary.split()) > 5
    page.locator("#summarization-copy").click()
    page.wait_for_function("text => navigator.clipboard.readText().then(t => t === text)", arg=summary)


def test_answer_marks_the_answer_in_its_place(page: Page) -> None:
    open_tab(page, "Answer")
    run_example(page, "question_answering", "How long does it bake?")
    marked = page.locator("#question_answering-result .highlighted")
    expect(marked).to_have_count(1)
    context = page.locator("#question_answering-text textarea").input_value()
    assert marked.inner_text().strip() in context
    expect(page.locator("#question_answering-table")).to_contain_text(marked.inner_text().strip())


def test_generate_writes_and_tells_the_seed(page: Page) -> None:
    open_tab(page, "Generate")
    run_example(page, "generation", "A list, always the same")
    first = text_of(page, "generation")
    assert len(first.split()) > 10
    expect(page.locator("#generation-line .done")).to_contain_text(re.compile(r"seed \d+ · TTFT"))
    run_example(page, "generation", "A list, always the same")
    assert text_of(page, "generation") == first


def test_presets_set_the_sampling_and_reset_brings_it_back(page: Page) -> None:
    open_tab(page, "Generate")
    page.get_by_role("button", name="Sampling and system prompt").click()
    warmth = page.get_by_label(re.compile("number input for Temperature"))
    expect(warmth).to_have_value("0.7")
    page.locator("#generation-preset input").click()
    page.get_by_role("option", name="Deterministic").click()
    expect(warmth).to_have_value("0")
    warmth.fill("1.5")
    page.get_by_role("button", name="Reset to the preset").click()
    expect(warmth).to_have_value("0")


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_empty_input_is_a_message_and_the_page_lives_on(page: Page, task: Task) -> None:
    open_tab(page, task.title)
    page.locator(f"#{task.name}-run").click()
    toast = page.get_by_test_id("toast-body")
    expect(toast).to_contain_text("is empty", timeout=ANSWER_MS)
    expect(page.locator(f"#{task.name}-stop")).to_be_disabled()
    page.get_by_test_id("toast-close").click()
    expect(toast).to_have_count(0)


def test_an_error_leaves_the_answer_of_before(page: Page) -> None:
    run_example(page, "classification", "A happy viewer")
    answer = page.locator("#classification-result .container")
    before = answer.inner_text()
    page.get_by_label("Text", exact=True).fill("")
    page.locator("#classification-run").click()
    expect(page.get_by_test_id("toast-body")).to_be_visible(timeout=ANSWER_MS)
    expect(page.locator("#classification-line .stopped")).to_contain_text("The text is empty")
    assert answer.inner_text() == before


def test_text_is_shown_as_it_is(page: Page) -> None:
    page.get_by_label("Text", exact=True).fill(NASTY)
    page.get_by_label("Labels, with commas between them").fill(f"{NASTY}, other")
    page.locator("#classification-run").click()
    expect(page.locator("#classification-line .done")).to_be_visible(timeout=ANSWER_MS)
    expect(page.locator("#classification-result")).to_contain_text("<b>bold</b> **stars**")
    page.get_by_label("Labels, with commas between them").fill(f"{NASTY}, {NASTY}")
    page.locator("#classification-run").click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("<b>bold</b> **stars**", timeout=ANSWER_MS)
    open_tab(page, "Answer")
    page.locator("#question_answering-text textarea").fill(f"{NASTY} Anna came.")
    page.get_by_label("Question").fill("Who came?")
    page.locator("#question_answering-run").click()
    expect(page.locator("#question_answering-line .done")).to_be_visible(timeout=ANSWER_MS)
    expect(page.locator("#question_answering-result")).to_contain_text("<b>bold</b> **stars**")
    assert page.evaluate("window.hacked") is None


def test_clear_empties_the_tab(page: Page) -> None:
    run_example(page, "classification", "A bored viewer")
    page.locator("#classification-clear").click()
    expect(page.get_by_label("Text", exact=True)).to_have_value("")
    expect(page.locator("#classification-line .brisk-line")).to_have_count(0)
    expect(page.get_by_test_id("label-output-value")).to_have_count(0)


def test_a_telephone_needs_no_scrolling_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.reload()
    expect(page.locator(".sidebar.open")).to_have_count(0)
    for title in (task.title for task in TASKS.values()):
        open_tab(page, title)
        widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1], f"{title} is wider than the screen"
        expect(page.get_by_role("button", name=title, exact=True)).to_be_in_viewport(ratio=0.0)
