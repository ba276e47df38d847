"""The engine behind the page: stopped by Stop, Esc and a closed tab; exchanged from the sidebar."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.served import Served, open_tab, ready
from tests.pipelines.paced_engine import at_rest

pytestmark = [pytest.mark.browser, pytest.mark.model]

ANSWER_MS = 60_000
REST_S = 1.0


def begin_long(page: Page, app: Served) -> int:
    """Begins a text that would take minutes, without the mouse; the engine's steps once it is on its way."""
    open_tab(page, "Generate")
    page.get_by_role("button", name="Sampling and system prompt").click()
    page.locator("#generation-max-tokens input[type=number]").fill("2048")
    page.locator("#generation-repetition-penalty input[type=number]").fill("2")
    prompt = page.locator("#generation-text textarea")
    prompt.fill("Count from one to one thousand, in words, and explain every number.")
    before = app.steps
    prompt.press("Control+Enter")
    expect(page.locator("#generation-line .busy")).to_contain_text("Writing", timeout=ANSWER_MS)
    assert app.steps > before
    return before


def test_stop_frees_the_engine_and_keeps_the_text(page: Page, app: Served) -> None:
    before = begin_long(page, app)
    page.locator("#generation-stop").click()
    expect(page.locator("#generation-line .stopped")).to_contain_text("tokens", timeout=ANSWER_MS)
    assert at_rest(app, REST_S) and app.steps - before < 1500
    assert page.locator("#generation-result textarea").input_value()
    expect(page.locator("#generation-stop")).to_be_disabled()


def test_esc_stops(page: Page, app: Served) -> None:
    begin_long(page, app)
    page.keyboard.press("Escape")
    expect(page.locator("#generation-line .stopped")).to_be_visible(timeout=ANSWER_MS)
    assert at_rest(app, REST_S)


def test_closing_the_tab_frees_the_engine(page: Page, app: Served) -> None:
    before = begin_long(page, app)
    page.close()
    assert at_rest(app, REST_S) and app.steps - before < 1500


def test_another_example_takes_the_place_of_the_running_one(page: Page, app: Served) -> None:
    begin_long(page, app)
    page.locator("#generation-examples").get_by_text("A list, always the same").click()
    expect(page.locator("#generation-line .done")).to_be_visible(timeout=ANSWER_MS)
    assert "mountain" in page.locator("#generation-text textarea").input_value()
    assert at_rest(app, REST_S)


def test_the_panel_exchanges_the_engine_and_keeps_it_when_it_cannot(page: Page, app: Served) -> None:
    panel = page.locator("#engine-status")
    first = app.holder.engine
    model = page.get_by_label("Model", exact=True)
    model.fill("no/such-model-anywhere")
    model.press("Enter")
    page.locator("#engine-load").click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("no/such-model-anywhere", timeout=ANSWER_MS)
    expect(panel).to_contain_text("The engine of before still serves.")
    assert app.holder.engine is first
    model.fill("smollm2-135m-instruct")
    model.press("Enter")
    page.get_by_label("KV cache").uncheck()
    page.locator("#engine-load").click()
    expect(panel).to_contain_text("KV cacheoff", timeout=ANSWER_MS)
    ready(page)
    assert app.holder.engine is not first and not app.holder.engine.config.kv_cache
    page.get_by_label("KV cache").check()
    page.locator("#engine-load").click()
    expect(panel).to_contain_text("KV cacheon", timeout=ANSWER_MS)
