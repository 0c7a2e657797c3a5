"""Logging in, in a real browser: with the keyboard alone, with and without scripts, and what it gives."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serinus.api import tokens
from serinus.core.enums import Role
from tests.api.inference import inference
from tests.api.stage import Stage
from tests.ui import scenes
from tests.ui.server import Site
from tests.ui.test_browser import see
from tests.ui.test_dashboard import findings

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser


@pytest.fixture
def operator(tmp_path: Path) -> str:
    return tokens.issue(tmp_path / "tokens", "ops", Role.OPERATOR, bytes(32), 0.0).token


@pytest.fixture
def site(tmp_path: Path, operator: str) -> Iterator[Site]:
    """A dashboard that takes a token for everything, also from this machine."""
    assert operator
    known = tokens.Tokens(tmp_path / "tokens")
    stage = Stage(tmp_path, inference=inference(), tokens=known, trust_loopback=False, anonymous_read=False)
    stage.base()
    stage.canary()
    site = Site(stage)
    yield site
    site.stop()
    stage.end_jobs()


def test_with_the_keyboard_alone(site: Site, page: playwright.Page, operator: str) -> None:
    page.goto(f"{site.url}/history")
    playwright.expect(page).to_have_url(f"{site.url}/login?next=/history")
    playwright.expect(page.locator("#token")).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    playwright.expect(page.get_by_role("alert")).to_contain_text("none of ours")
    playwright.expect(page.locator("#token")).to_be_focused()
    assert findings(page, "/login", "{resultTypes: ['violations']}") == []
    page.keyboard.type(operator)
    page.keyboard.press("Enter")
    playwright.expect(page).to_have_url(f"{site.url}/history")
    playwright.expect(page.locator(".me")).to_contain_text("ops (operator)")
    page.goto(site.url)
    playwright.expect(page.locator("#link")).to_contain_text("live", timeout=20_000)  # its stream is let in
    assert findings(page, "/", "{resultTypes: ['violations']}") == []
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 1200, "height": 900})
    page.click("#act-pause")
    page.fill("[name=reason]", "seen")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#history")).to_contain_text("ops via token", timeout=20_000)
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Log out").press("Enter")
    playwright.expect(page).to_have_url(f"{site.url}/login?next=/")


def test_a_login_that_is_revoked_ends_on_every_page(
    site: Site, browser: playwright.Browser, tmp_path: Path
) -> None:
    def log_in(page: playwright.Page, byte: int) -> None:
        role = Role.OPERATOR if byte else Role.VIEWER
        token = tokens.issue(tmp_path / "tokens", f"late{byte}", role, bytes([byte] * 32), 0.0).token
        page.goto(f"{site.url}/login")
        page.fill("#token", token)
        page.keyboard.press("Enter")
        see(page, "#link", "live")

    with browser.new_context() as context:
        page, other = context.new_page(), context.new_page()  # the other is a form, which follows nothing
        log_in(page, 2)
        other.goto(f"{site.url}/training")
        see(other, "#link", "live")
        other.fill("[name=note]", "half a")
        tokens.revoke(tmp_path / "tokens", "late2")
        for each, path in ((page, "/"), (other, "/training")):
            see(each, "#link", "Your login has ended: log in again")
            see(each, "#link-said", "Your login has ended.")
            address = each.get_by_role("link", name="log in again").get_attribute("href")
            assert address == f"/login?next={path.replace('/', '%2F')}"
        page.click("#act-pause")
        see(page, "#toast-words", "Your login has ended.")
        log_in(page, 0)
        see(other, "#link", "live")  # by itself, with what was typed, and with what a viewer may
        see(other, ".me", "late0 (viewer: may only look)")
        assert other.input_value("[name=note]") == "half a"


def test_a_decision_without_a_login_is_told_of_the_login(
    tmp_path: Path, operator: str, new_page: Callable[[], playwright.Page]
) -> None:
    stage = Stage(tmp_path, tokens=tokens.Tokens(tmp_path / "tokens"), trust_loopback=False)
    stage.base()
    stage.canary()
    site = Site(stage)
    page = new_page()
    page.goto(f"{site.url}/login")
    page.fill("#token", operator)
    page.keyboard.press("Enter")
    see(page, "#link", "live")
    page.click("#act-pause")
    page.fill("[name=reason]", "seen")
    tokens.revoke(tmp_path / "tokens", "ops")
    see(page, ".me", "Log in to change something")  # everybody may look, so the page goes on
    see(page, "#link", "live")
    page.keyboard.press("Enter")
    see(page, "#decide-error", "none of ours. There is none yet: `serinus token create")
    tokens.issue(tmp_path / "tokens", "other", Role.OPERATOR, bytes([7] * 32), 0.0)
    page.click("#decide-go")
    see(page, "#decide-error", "none of ours. Log in at the top of the page.")
    page.goto(f"{site.url}/versions/99")
    see(page, "main", "There is no version 99.")
    page.errors.clear()  # type: ignore[attr-defined]  # the browser notes the refusals itself
    page.close()
    site.stop()


def test_a_viewer_is_offered_only_what_a_viewer_may(
    site: Site, page: playwright.Page, tmp_path: Path
) -> None:
    viewer = tokens.issue(tmp_path / "tokens", "vera", Role.VIEWER, bytes([1] * 32), 0.0).token
    scenes.disagreements(site.stage, 1)
    dataset = scenes.workshop(site.stage)["dataset"]
    page.goto(f"{site.url}/login")
    page.fill("#token", viewer)
    page.keyboard.press("Enter")
    see(page, "#link", "live")
    see(page, ".me", "vera (viewer: may only look)")
    offered = {}
    for path in ("/", "/versions", "/versions/2", "/data", f"/data/{dataset}", "/training", "/disagreements"):
        page.goto(f"{site.url}{path}")
        seen = page.locator("main button:visible, main input[type=submit]:visible").all_text_contents()
        offered[path] = {words.strip() for words in seen}
    assert {path for path, words in offered.items() if words - {"Compare", "Show"}} == set()
    for path, words in (
        ("/data", "Sending an archive takes the token"),
        ("/training", "Training takes the token"),
        ("/inference", "Sending a batch takes the token"),
    ):
        page.goto(f"{site.url}{path}")
        see(page, "main", words)
    page.goto(f"{site.url}/settings")
    page.fill("[name=text]", "share: 2")
    see(page, "#policy-mistakes", "Line 1")  # to look what a policy would be changes nothing
    playwright.expect(page.get_by_role("button", name="Keep it")).to_be_hidden()


def test_without_scripts(site: Site, browser: playwright.Browser, operator: str) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(site.url)
        page.get_by_label("Token").fill(operator)
        page.get_by_role("button", name="Log in").click()
        playwright.expect(page.locator("#title")).to_contain_text("Version 2 is on trial")
        page.get_by_role("button", name="Log out").click()
        playwright.expect(page.get_by_label("Token")).to_be_visible()
