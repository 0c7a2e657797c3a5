"""The pages in a real browser: no errors, live updates, the way through a decision, a pair inspected."""

import pytest

from tests.ui.server import Site

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser


def see(page: playwright.Page, selector: str, words: str) -> None:
    playwright.expect(page.locator(selector)).to_contain_text(words, timeout=20_000)


def slowed(page: playwright.Page, milliseconds: float, per_second: float = -1) -> None:
    """Every answer takes so much longer; `per_second`: bytes, each way."""
    network = getattr(page, "network", None)
    if network is None:
        network = page.network = page.context.new_cdp_session(page)  # type: ignore[attr-defined]
        network.send("Network.enable")
    network.send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": milliseconds,
            "downloadThroughput": per_second,
            "uploadThroughput": per_second,
        },
    )


def test_the_dashboard_follows_what_happens(site: Site, page: playwright.Page) -> None:
    site.stage.base()
    page.goto(site.url)
    see(page, "#link", "live")
    see(page, "#title", "Version 1 is in production")
    site.stage.canary("new roofs")
    see(page, "#title", "Version 2 is on trial")
    playwright.expect(page).to_have_title("Version 2 is on trial · Serinus")
    see(page, "#arm-canary", "new roofs")
    site.stage.traffic((41, 0), (40, 0), seconds=30)
    see(page, "#canary-requests", "41")
    see(page, "#ring", "2:30")
    page.locator("#evidence-numbers summary").click()
    site.stage.traffic((9, 1), (9, 0), seconds=30)
    see(page, "#canary-requests", "50")
    see(page, "#canary-failures", "1")
    assert page.locator("#evidence-numbers").get_attribute("open") is not None


def test_a_promotion_asks_why_and_refuses_an_old_page(site: Site, page: playwright.Page) -> None:
    stage = site.stage
    stage.base()
    stage.canary()
    stage.traffic((12, 0), (12, 0), seconds=30)
    page.goto(site.url)
    see(page, "#link", "live")
    page.click("#act-promote")
    dialog = page.locator("#decide")
    playwright.expect(dialog).to_be_visible()
    see(page, "#decide-title", "Promote version 2?")
    see(page, "#decide-override", "the window is not over")
    page.click("#decide-go")  # no reason yet: the browser does not send it
    playwright.expect(dialog).to_be_visible()
    page.fill("[name=reason]", "seen on the ground <b>myself</b>")
    page.fill("[name=actor]", "alice")
    page.check("[name=confirm]")
    seq = stage.decide("hold", "meanwhile, somebody else").seq
    page.click("#decide-go")
    see(page, "#decide-error", "moved on")
    see(page, "#decide-error", "tick the box above and say why.")
    page.errors.clear()  # the browser notes the 409 itself
    playwright.expect(page.locator("#decide-go")).to_be_enabled()
    assert stage.store.state().seq == seq
    page.locator("#act-resume").wait_for(state="attached")
    playwright.expect(
        page.locator("[name=confirm]")
    ).not_to_be_checked()  # what it is against may have changed
    assert page.input_value("[name=reason]") == "seen on the ground <b>myself</b>"
    page.check("[name=confirm]")
    page.click("#decide-go")
    playwright.expect(dialog).to_be_hidden()
    playwright.expect(page.locator("#toast")).to_be_focused()  # the button that was pressed is gone
    see(page, "#title", "Version 2 is in production")
    see(page, "#history", "seen on the ground <b>myself</b>")
    see(page, "#history", "alice via ui")
    page.click("#act-undo")
    page.fill("[name=reason]", "no, after all")
    page.keyboard.press("Enter")
    see(page, "#title", "Version 1 is in production")
    page.click("#history summary >> nth=0")
    assert stage.store.state().current == 1


def test_a_decision_that_meets_no_server_is_kept_and_taken_when_it_is_back(
    site: Site, page: playwright.Page
) -> None:
    site.stage.base()
    site.stage.canary()
    page.goto(site.url)
    see(page, "#link", "live")
    page.click("#act-rollback")
    page.fill("[name=reason]", "it looks odd")
    site.stop()
    page.click("#decide-go")
    see(page, "#decide-error", "Serinus does not answer")
    site.restart()
    see(page, "#link", "live")
    assert page.input_value("[name=reason]") == "it looks odd"
    page.click("#decide-go")
    playwright.expect(page.locator("#decide")).to_be_hidden()
    see(page, "#title", "Version 1 is in production")
    page.errors.clear()  # the browser notes the lost connection itself


def test_with_the_keyboard_alone(site: Site, page: playwright.Page) -> None:
    site.stage.base()
    site.stage.canary()
    page.goto(site.url)
    see(page, "#link", "live")

    def focused() -> str:
        return str(page.evaluate("document.activeElement.id || document.activeElement.name"))

    def tab_to(name: str, most: int = 12) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            if focused() == name:
                return
        raise AssertionError(f"{name} is not within {most} steps; at {focused()}")

    page.keyboard.press("Tab")
    playwright.expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to("act-rollback", 2)
    for leave in ("Escape", "Enter"):  # neither decides anything
        page.keyboard.press("Enter")
        playwright.expect(page.locator("[name=reason]")).to_be_focused()
        page.keyboard.type("no")
        if leave == "Enter":
            tab_to("decide-cancel")
        page.keyboard.press(leave)
        playwright.expect(page.locator("#decide")).to_be_hidden()
        playwright.expect(page.locator("#act-rollback")).to_be_focused()
    assert site.stage.store.state().rollout is not None
    tab_to("act-pause", 1)
    page.keyboard.press("Enter")
    page.keyboard.type("clouds")
    page.keyboard.press("Enter")
    see(page, "#title", "Version 2 is paused")
    playwright.expect(page.locator("#toast")).to_be_focused()
    tab_to("toast-undo", 1)
    page.keyboard.press("Enter")
    see(page, "#decide-title", "Resume the rollout?")
    page.keyboard.type("they are gone")
    page.keyboard.press("Enter")
    see(page, "#title", "Version 2 is on trial")
    playwright.expect(page.locator("#toast")).to_be_focused()
    page.keyboard.press("Escape")
    playwright.expect(page.locator("#main")).to_be_focused()
    tab_to("act-promote", 1)
    site.stage.decide("roll_back", "it failed")  # the button is gone, the focus is not
    see(page, "#title", "Version 1 is in production")
    playwright.expect(page.locator("#main")).to_be_focused()


def test_a_lost_stream_is_told(site: Site, page: playwright.Page) -> None:
    site.stage.base()
    site.stage.canary()
    page.goto(site.url)
    see(page, "#link", "live")
    site.stop()
    see(page, "#link", "last seen")
    see(page, "#link", "s ago")
    see(page, "#link-said", "What stands here is old")
    page.locator("#act-pause").press("Enter")
    see(page, "#toast-words", "Decide when it is live again")
    playwright.expect(page.locator("#decide")).to_be_hidden()
    site.stage.decide("roll_back", "while nobody looked")
    site.restart()
    see(page, "#title", "Version 1 is in production")  # it connects again by itself
    see(page, "#link", "live")
    see(page, "#link-said", "Connected again")
    page.errors.clear()  # the browser notes the lost connection itself


def test_phone_width_needs_no_sideways_scrolling(site: Site, page: playwright.Page) -> None:
    site.stage.publish("w" * 300, initial=True)
    site.stage.canary("x" * 300)
    site.stage.traffic((5, 1), (5, 0))
    page.set_viewport_size({"width": 360, "height": 800})
    for path in (
        "/",
        "/versions",
        "/versions/2",
        "/history",
        "/rollouts/1",
        "/settings",
        "/inference",
        "/docs",
    ):
        page.goto(site.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_without_javascript_the_state_is_there(site: Site, browser: playwright.Browser) -> None:
    site.stage.base()
    site.stage.canary()
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(site.url)
    see(plain, "#title", "Version 2 is on trial")
    playwright.expect(plain.locator("noscript p")).to_be_visible()
    playwright.expect(plain.locator("#act-promote")).to_be_hidden()
    context.close()
