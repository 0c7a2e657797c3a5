"""Every page and action in a real browser: whoever looks, from wherever, however many."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serinus.rollout.policy import ByHeader, Policy
from tests.api.inference import inference
from tests.api.stage import Stage
from tests.ui import scenes
from tests.ui.server import Site
from tests.ui.test_browser import see, slowed

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser
AXE = (Path(__file__).parent / "vendor/axe.js").read_text()
SIMULATION = """
import json, sys, time
text = sys.stdin.read()
if "long" in text:
    time.sleep(600)
ours = {"rolled_back": 0.0, "promoted": 0.99, "undecided": 0.01, "median": 1204.0}
print(json.dumps([{"name": "good", "words": "a good canary", "rules": {"Serinus": ours}}]))
"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three rollouts, the last one on its way, with a gallery. For tests that decide nothing."""
    stage = Stage(tmp_path_factory.mktemp("scene"), inference=inference())
    scenes.on_trial(stage, 12)
    scenes.disagreements(stage, 3)
    scenes.compared(stage)
    names = scenes.workshop(stage)
    site = Site(stage)
    site.names = names
    yield site
    site.stop()
    stage.end_jobs()


def findings(page: playwright.Page, path: str, options: str) -> list[tuple[str, str, list[str]]]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    results = page.evaluate(f"axe.run({options})")
    return [
        (path, one["id"], [str(node["target"]) for node in one["nodes"]][:3])
        for one in results["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("path", scenes.PAGES)
def test_nothing_serious_stands_in_anybody_s_way(scene: Site, page: playwright.Page, path: str) -> None:
    page.emulate_media(reduced_motion="reduce", color_scheme="light")
    page.goto(scene.at(path))
    see(page, "#link", "live")
    if page.locator(".chart").count():
        page.locator(".chart canvas").first.wait_for()
    assert findings(page, path, "{resultTypes: ['violations']}") == []
    page.emulate_media(color_scheme="dark")
    assert findings(page, path, "{resultTypes: ['violations'], runOnly: ['color-contrast']}") == []


def test_on_a_slow_network_pages_come_whole_and_live(scene: Site, page: playwright.Page) -> None:
    slowed(page, 300, 60_000)
    for path, words in (
        ("/", "Version 4 is on trial"),
        ("/versions", "Night pictures added"),
        ("/history", "A larger batch"),
        ("/inference", "Inspect a pair"),
        ("/settings", "Write a policy"),
    ):
        page.goto(scene.url + path)
        see(page, "#link", "live")
        see(page, "main", words)
        if path == "/":
            page.locator("#chart-rates canvas").wait_for()


def test_on_a_slow_network_a_double_click_decides_once(site: Site, page: playwright.Page) -> None:
    site.stage.base()
    site.stage.canary()
    page.goto(site.url)
    see(page, "#link", "live")
    slowed(page, 600)
    page.click("#act-pause")
    page.fill("[name=reason]", "wait for the clouds")
    seq = site.stage.store.state().seq
    page.dblclick("#decide-go")
    see(page, "#title", "Version 2 is paused")
    see(page, "#toast-words", f"#{seq + 1} ")
    assert site.stage.store.state().seq == seq + 1


ENDLESS = "document.getAnimations().filter(one => one.effect.getTiming().iterations === Infinity).length"


def test_no_page_is_wider_than_a_phone_or_moves_all_day(scene: Site, page: playwright.Page) -> None:
    page.emulate_media(reduced_motion="no-preference")
    wide, restless = [], []
    for path in scenes.PAGES:
        page.set_viewport_size({"width": 360, "height": 800})
        page.goto(scene.at(path))
        if page.evaluate("document.documentElement.scrollWidth") > 360:
            wide.append(path)
        page.set_viewport_size({"width": 1280, "height": 800})
        if page.evaluate(ENDLESS):
            restless.append(path)
    assert wide == []
    assert restless == [], "an animation without an end costs a tenth of a core in each open tab"


def test_the_home_page_explains_the_rollout(scene: Site, page: playwright.Page) -> None:
    page.goto(scene.url)
    see(page, "#outlook-action", "Nothing yet: it goes on")
    see(page, "#outlook-needed", "further canary requests without a failure")
    see(page, "#mix-dominant_class", "no-damage")
    see(page, "#latency tbody", "ms")
    see(page, "#replicas", "healthy")
    page.locator("#chart-evidence canvas").wait_for()
    see(page, "#chart-evidence .u-legend", "proof of health")
    drawn = page.locator("#chart-evidence canvas").evaluate(
        "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    )
    assert drawn > 20, "lines, not an empty box"
    told = page.locator("#chart-evidence .u-legend .u-value").first
    newest = told.inner_text()
    assert re.fullmatch(r"\d+:\d\d", newest)
    page.evaluate("document.querySelectorAll('.chart canvas').forEach(one => one.classList.add('old'))")
    page.emulate_media(color_scheme="dark")
    page.locator("#chart-evidence canvas:not(.old)").wait_for()
    playwright.expect(told).to_have_text(newest)
    page.locator("#chart-evidence .u-over").hover(position={"x": 90, "y": 60})
    playwright.expect(told).not_to_have_text(newest)
    page.mouse.move(0, 0)
    playwright.expect(told).to_have_text(newest)


def test_a_rollout_is_replayed(scene: Site, page: playwright.Page) -> None:
    page.goto(f"{scene.url}/rollouts/2")
    see(page, "h1", "Rollout 2 of version 3")
    see(page, ".lead", "rolled back")
    see(page, "#replay-words", "24 of 48 canary requests failed")
    page.locator("#replay-at").fill("0")
    see(page, "#replay-words", "6 of 12 canary requests failed")
    playwright.expect(page.locator("#moments .to-come")).to_have_count(1)
    page.locator("#replay-at").fill("6")
    see(page, "#replay-words", "12 of 24 canary requests failed")
    page.locator("#replay-at").fill("12")
    see(page, "#replay-words", "18 of 36 canary requests failed")
    page.locator("#replay-play").click()
    see(page, "#replay-words", "24 of 48 canary requests failed")


def test_versions_are_looked_at_and_compared(scene: Site, page: playwright.Page) -> None:
    page.goto(f"{scene.url}/versions")
    playwright.expect(page.locator("tbody tr")).to_have_count(4)
    see(page, "#version-3", "rolled back")
    page.select_option("[name=a]", "2")
    page.select_option("[name=b]", "2")
    playwright.expect(page.get_by_role("button", name="The same version twice")).to_be_disabled()
    page.select_option("[name=a]", "1")
    page.get_by_role("button", name="Compare").click()
    see(page, "h1", "Version 1 and version 2")
    see(page, "section[aria-labelledby=metrics-title] tr:has-text('map50')", "+0.129")
    see(page, "#measured tr:has-text('map50')", "+0.080 … +0.170")
    page.get_by_role("link", name="Version 2", exact=True).click()
    see(page, "h1", "Version 2")
    page.get_by_role("link", name="Rollout 1").click()
    see(page, ".lead", "was promoted")


def test_the_history_is_filtered_linked_and_taken_along(scene: Site, page: playwright.Page) -> None:
    page.goto(f"{scene.url}/history")
    page.select_option("[name=kind]", "rolled_back")
    page.get_by_role("button", name="Filter").click()
    see(page, "#events-title", "1 event")
    assert "kind=rolled_back" in page.url
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    rows = Path(download.value.path()).read_text().splitlines()
    assert len(rows) == 2 and "rolled_back" in rows[1]
    page.locator("#events").get_by_role("link", name=re.compile("^#")).click()
    see(page, "h1", "rolled back")
    see(page, "#facts-title", "Event 9")
    page.get_by_role("link", name="Before").click()
    see(page, "#facts-title", "Event 8")


def test_a_policy_is_written_checked_and_kept(site: Site, page: playwright.Page) -> None:
    site.stage.base()
    page.goto(f"{site.url}/settings")
    page.fill("[name=text]", "name: gentle\nsteps: [0.05, 0.25]\nmax_eror_rate: 0.02\n")
    see(page, "#policy-mistakes", "Line 3, column 1")
    page.locator("#policy-mistakes button").click()
    marked = page.evaluate("getSelection().toString() || document.activeElement.name")
    assert marked in ("max_eror_rate: 0.02", "text")
    page.fill("[name=text]", "name: gentle\nsteps: [0.05, 0.25]\nmax_error_rate: 0.02\n")
    see(page, "#policy-words", "It is a policy.")
    page.fill("[name=reason]", "the coast is careful")
    page.get_by_role("button", name="Keep it").click()
    see(page, "#policy-words", "gentle is edition 1 now")
    site.stage.store.put_policy(Policy(name="gentle"), actor="bob", reason="mine is better")
    page.get_by_role("button", name="Keep it").click()
    see(page, "#policy-words", "has edition 2 meanwhile, not 1")
    page.errors.clear()  # the browser notes the 409 itself
    assert len(site.stage.store.policy_history("gentle")) == 2
    page.goto(f"{site.url}/settings?policy=gentle")
    see(page, "#editor", "the coast is careful")
    assert "gentle" in page.input_value("[name=text]")


def test_a_policy_is_previewed_and_a_long_preview_cancelled(tmp_path: Path, page: playwright.Page) -> None:
    script = tmp_path / "simulate.py"
    script.write_text(SIMULATION)
    (tmp_path / "stage").mkdir()
    stage = Stage(tmp_path / "stage", simulate=(sys.executable, str(script)))
    stage.base()
    site = Site(stage)
    page.goto(f"{site.url}/settings")
    page.fill("[name=text]", "share: 0.25")
    page.click("#preview-start")
    see(page, "#preview-words", "100 simulated rollouts for each truth")
    see(page, "#preview tbody", "a good canary")
    assert page.locator("#preview tbody td").all_text_contents() == ["99 %", "0 %", "1 %", "1,204"]
    page.fill("[name=text]", "shar: 0.25")
    page.click("#preview-start")
    see(page, "#preview-words", "there is no field 'shar'")
    see(page, "#preview-words", '"All fields" on the page Settings has all that is allowed.')
    page.errors.clear()  # the browser notes the 400 itself
    page.fill("[name=text]", "description: long")
    page.click("#preview-start")
    see(page, "#preview-words", "Simulating")
    page.click("#preview-stop")
    see(page, "#preview-words", "Cancelled.")
    page.close()  # else it tells that the server is away
    site.stop()


def test_a_disagreement_is_judged_and_dismissed(site: Site, page: playwright.Page) -> None:
    stage = site.stage
    stage.base()
    stage.canary()
    scenes.disagreements(stage, 2)
    page.goto(f"{site.url}/disagreements")
    playwright.expect(page.locator("article")).to_have_count(2)
    loaded = "image => image.complete && image.naturalWidth > 0"
    page.wait_for_function("[...document.querySelectorAll('article img')].every(" + loaded + ")")
    worst = page.locator("article").first
    worst.get_by_role("button", name="Canary is right").click()
    playwright.expect(worst).to_contain_text("Noted.")
    (first, second) = stage.store.gallery.ids(1)
    noted = stage.store.gallery.mark_of(1, first)
    assert noted is not None and (noted.right, noted.dismissed) == ("canary", False)
    page.reload()
    playwright.expect(page.locator("article").first).to_contain_text("the canary is right")
    page.locator("article").nth(1).get_by_role("button", name="Dismiss").click()
    playwright.expect(page.locator("article")).to_have_count(1)
    gone = stage.store.gallery.mark_of(1, second)
    assert gone is not None and gone.dismissed
    page.goto(f"{site.url}/disagreements?show=all")
    playwright.expect(page.locator("article")).to_have_count(2)


def test_more_tabs_than_a_browser_has_connections_all_follow(site: Site, browser: playwright.Browser) -> None:
    site.stage.base()
    context = browser.new_context()
    tabs = [context.new_page() for _ in range(7)]  # a browser opens six connections to a server
    for tab in tabs:
        tab.goto(site.url, wait_until="domcontentloaded")
    site.stage.canary("for all of them")
    for tab in tabs:
        tab.bring_to_front()
        see(tab, "#title", "Version 2 is on trial")
    assert site.stage.app.state.board.streams == 1
    context.close()


def test_two_operators_agree_and_the_slower_one_is_refused(
    site: Site, new_page: Callable[[], playwright.Page]
) -> None:
    site.stage.base()
    site.stage.canary()
    site.stage.traffic((12, 0), (12, 0), seconds=30)
    alice, bob = new_page(), new_page()
    for page in (alice, bob):
        page.goto(site.url)
        see(page, "#link", "live")
    bob.click("#act-rollback")
    bob.fill("[name=reason]", "it looks odd")
    alice.click("#act-share")
    alice.fill("[name=share]", "25")
    alice.fill("[name=reason]", "less of it for now")
    alice.keyboard.press("Enter")
    for page in (alice, bob):
        see(page, "#arm-canary .share", "25 %")
    bob.click("#decide-go")
    see(bob, "#decide-error", "moved on")
    see(bob, "#decide-error", "Look at the page as it is now, then decide.")
    bob.errors.clear()  # the browser notes the 409 itself
    assert site.stage.store.state().rollout is not None
    see(alice, "#toast-words", "obeys another policy")
    alice.click("#toast-undo")
    see(alice, "#decide-what", "The canary gets 50 % again")
    alice.fill("[name=reason]", "a mistake")
    alice.keyboard.press("Enter")
    for page in (alice, bob):
        see(page, "#arm-canary .share", "50 %")
    bob.keyboard.press("Escape")
    bob.click("#act-pause")
    bob.fill("[name=reason]", "wait")
    bob.keyboard.press("Enter")
    see(bob, "#toast-words", "paused")
    playwright.expect(bob.locator("#toast-undo")).to_be_visible()
    bob.click("#act-resume")
    bob.fill("[name=reason]", "go on")
    site.stage.decide("roll_back", "it failed meanwhile")
    see(bob, "#title", "Version 1 is in production")
    bob.click("#decide-go")
    see(bob, "#decide-error", "This is not to be decided any more.")
    playwright.expect(bob.locator("#decide-go")).to_be_disabled()
    bob.errors.clear()  # the browser notes the 409 itself
    see(alice, "#title", "Version 1 is in production")
    playwright.expect(alice.locator("#toast")).to_be_visible()
    playwright.expect(alice.locator("#toast-undo")).to_be_hidden()  # it would be refused


def test_a_share_that_is_taken_back_brings_the_policy_back_with_its_steps(
    site: Site, page: playwright.Page
) -> None:
    site.stage.base()
    site.stage.canary(
        share=0.1,
        steps=(0.1, 0.3, 0.5),
        name="careful",
        description='it\'s "careful" & <slow>',
        max_error_rate=0.00001,
        sticky=ByHeader(name="X-User-Id"),
    )
    site.stage.traffic((12, 0), (12, 0), seconds=30)
    before = site.stage.store.state().rollout
    assert before is not None
    page.goto(site.url)
    see(page, "#link", "live")
    page.click("#act-share")
    page.fill("[name=share]", "40")
    page.fill("[name=reason]", "more of it")
    page.keyboard.press("Enter")
    see(page, "#arm-canary .share", "40 %")
    page.click("#toast-undo")
    page.fill("[name=reason]", "a mistake")
    page.keyboard.press("Enter")
    see(page, "#arm-canary .share", "10 %")
    after = site.stage.store.state().rollout
    assert after is not None
    assert (after.policy, after.share, after.step) == (before.policy, 0.1, 0)
    assert after.epoch == before.epoch, "the evidence goes on"


def test_a_version_is_started_again_from_its_own_page(site: Site, page: playwright.Page) -> None:
    site.stage.base()
    site.stage.canary("second")
    site.stage.decide("roll_back", "it failed")
    page.goto(f"{site.url}/versions/2")
    page.get_by_role("button", name="Start rollout").click()
    page.select_option("[name=policy]", "literal")
    page.fill("[name=reason]", "the cause was the disk")
    page.keyboard.press("Enter")
    see(page, "#toast-words", "checks before traffic begin")
    rollout = site.stage.store.state().rollout
    assert rollout is not None and (rollout.version, rollout.policy.name) == (2, "literal")


def test_ten_thousand_events_are_paged_through(site: Site, page: playwright.Page) -> None:
    scenes.many_events(site.stage, 10_000)
    page.goto(f"{site.url}/history?actor=alice&text=note")
    see(page, "#events-title", "events")
    page.click("#older")
    playwright.expect(page.locator("#events > li")).to_have_count(50)
    page.fill("[name=text]", "note 39 of rollout 7")
    page.get_by_role("button", name="Filter").click()
    playwright.expect(page.locator("#events > li")).to_have_count(11)
