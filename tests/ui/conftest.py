"""A browser for all tests here, and pages that must stay without errors."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.api.conftest import anyio_backend, stage
from tests.api.inference import inference
from tests.api.stage import Stage
from tests.ui.server import ARGS, Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["anyio_backend", "stage"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An empty store behind a server."""
    site = Site(Stage(tmp_path, inference=inference()))
    yield site
    site.stop()
    site.stage.end_jobs()


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser: "Browser") -> "Iterator[Callable[[], Page]]":
    """Makes pages that must stay without errors and must ask nobody but their own server."""
    opened: list[Page] = []
    errors: list[str] = []
    foreign: list[str] = []

    def make() -> "Page":
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(20_000)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("http://127.0.0.1:", "blob:"))
                else foreign.append(request.url)
            ),
        )
        page.errors = errors  # type: ignore[attr-defined]
        opened.append(page)
        return page

    yield make
    for page in opened:
        page.close()
    assert errors == []
    assert foreign == []


@pytest.fixture
def page(new_page: "Callable[[], Page]") -> "Page":
    return new_page()
