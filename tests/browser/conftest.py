"""One app with the real model and one Chromium for all browser tests; every page is watched."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route

from tests.browser.served import SIZE, Served, chromium, ready, served
from tests.conftest import restore_users_cache


@pytest.fixture(scope="session")
def app() -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        restore_users_cache(patch)
        with served() as running:
            yield running


@pytest.fixture(scope="session")
def browser(app: Served) -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(app: Served, browser: Browser) -> Iterator[Page]:
    """A fresh page, ready. At its end nothing may have left the app, and the console must be silent."""
    context = browser.new_context(viewport=SIZE)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=app.url.rstrip("/"))
    opened = context.new_page()
    home = urlsplit(app.url).netloc
    strayed: list[str] = []
    complaints: list[str] = []

    def guard(route: Route) -> None:
        if urlsplit(route.request.url).netloc == home:
            route.continue_()
        else:
            strayed.append(route.request.url)
            route.abort()

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(message.text)

    opened.route("**/*", guard)
    opened.on("console", listen)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(app.url)
    ready(opened)
    yield opened
    context.close()
    assert not strayed, "requests left the app"
    assert not complaints
