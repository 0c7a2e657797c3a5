"""The page Data in a real browser: an archive comes in over cuts, is imported, split, taken away."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from serinus.data.synth import Disaster, SynthSet, write_sets
from tests.api.inference import inference
from tests.api.stage import Stage
from tests.data.archives import name, pack, pairs
from tests.ui.server import Site
from tests.ui.test_browser import see

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser
PATCH = re.compile("/api/uploads/[0-9a-f]+$")
OFTEN = 300_000
"""Bytes of a piece, so that a small archive comes in several."""


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server whose jobs are real."""
    stage = Stage(tmp_path_factory.mktemp("works"), inference=inference(), real_jobs=True)
    site = Site(stage)
    yield site
    site.stop()
    site.stage.end_jobs()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "<img src=x onerror=alert(1)>.zip"
    write_sets(path, [SynthSet(disaster=each, pairs=10, size=128, seed=5) for each in Disaster])
    return path


class Wire:
    """Stands between page and server: lets pieces through, cuts them, or keeps them waiting."""

    def __init__(self, page: playwright.Page, plan: list[str]) -> None:
        self.plan = plan
        self.pieces = 0
        self.waiting: list[playwright.Route] = []
        page.route(PATCH, self._on)

    def _on(self, route: playwright.Route) -> None:
        if route.request.method != "PATCH":
            return route.continue_()
        self.pieces += 1
        what = self.plan.pop(0) if self.plan else "pass"
        if what == "cut":
            return route.abort("connectionreset")
        if what == "pass":
            return route.continue_()
        self.waiting.append(route)
        return None

    def release(self) -> None:
        """What waits is cut; its page has given it up."""
        while self.waiting:
            with suppress(playwright.Error):
                self.waiting.pop().abort()


def choose(page: playwright.Page, file: Path) -> None:
    page.locator("#upload").evaluate(f"form => form.dataset.piece = {OFTEN}")
    page.set_input_files("#upload [name=file]", file)
    page.click("#upload button")


def done(page: playwright.Page) -> None:
    playwright.expect(page.locator("#job-state")).to_have_text("succeeded", timeout=60_000)


def test_an_archive_comes_over_cuts_and_becomes_data_sets(
    works: Site, page: playwright.Page, archive: Path
) -> None:
    data = works.stage.data
    page.goto(f"{works.url}/data")
    see(page, "#first", "No data yet")
    wire = Wire(page, ["pass", "cut", "pass", "wait"])
    choose(page, archive)
    see(page, "#upload-status", "The connection was cut. What has arrived stays")
    see(page, "#upload-numbers", "0.6 of")
    page.click("#upload-pause")
    see(page, "#upload-status", "Paused")
    wire.release()
    page.reload()
    see(page, "#unfinished", "Choose the same file again")
    works.stop()
    works.restart()
    see(page, "#link", "live")
    before = wire.pieces
    choose(page, archive)
    see(page, "#upload-status", "is here, whole")
    assert wire.pieces - before < archive.stat().st_size / OFTEN, "what had arrived was not sent again"
    (stored,) = (data / "uploads").glob("*.zip")
    assert stored.read_bytes() == archive.read_bytes()
    see(page, "#uploads", archive.name)
    playwright.expect(page.locator("#first")).to_have_count(0)
    see(page, "#upload-status", "is here, whole")  # although what stood above it is gone
    page.errors.clear()  # the browser notes the cuts itself

    page.get_by_role("button", name="Import").click()
    see(page, "h1", "Import of <img src=x")
    done(page)
    page.get_by_role("link", name="See the data set").click()
    see(page, ".lead", "From <img src=x onerror=alert(1)>.zip")
    see(page, ".tiles", "buildings")
    pair = page.locator("#pair-1")
    assert pair.locator(".boxes rect[class^=c]").count() > 0
    pair.locator("input").fill("20")
    playwright.expect(pair.locator("input")).to_have_attribute("aria-valuetext", "20 % before, 80 % after")
    assert pair.locator(".frame").evaluate("one => getComputedStyle(one).getPropertyValue('--at')") == "20%"
    assert (
        pair.locator("img").evaluate_all(
            "all => Promise.all(all.map(one => one.decode())).then(() => all.length)"
        )
        == 2
    )
    page.uncheck("[data-labels] >> nth=0")
    playwright.expect(pair.locator(".boxes")).to_be_hidden()

    page.select_option("#split [name=leave_out]", "synth-wildfire")
    page.click("#split button")
    done(page)
    page.get_by_role("link", name="See the data set").click()
    see(page, ".lead", "synth-wildfire is kept for testing")
    page.get_by_role("link", name="Browse its pairs").click()
    page.select_option("[name=split]", "test")
    page.get_by_role("button", name="Show").click()
    see(page, "main", "10 pairs, page 1 of 1")
    playwright.expect(page.locator(".swipe")).to_have_count(10)
    page.goto(f"{page.url.split('?')[0]}?page=2")
    playwright.expect(page.locator(".swipe")).to_have_count(8)
    see(page, "main", "page 2 of 2")

    page.goto(f"{works.url}/data")
    playwright.expect(page.locator("#datasets tbody tr")).to_have_count(2)
    see(page, "#uploads", "imported")
    page.get_by_role("button", name="Remove").click()
    page.click("#confirm-no")
    assert stored.exists()
    page.get_by_role("button", name="Remove").click()
    page.click("#confirm-yes")
    see(page, "#uploads", "None lies here")
    assert not stored.exists()


def test_losses_are_told_and_confirmed(works: Site, page: playwright.Page, tmp_path: Path) -> None:
    files = pairs(8)
    del files[name(0, "post", "png")]
    path = pack(tmp_path / "lost.zip", files)
    page.goto(f"{works.url}/data")
    choose(page, path)
    see(page, "#uploads", "lost.zip")
    page.locator("#uploads li", has_text="lost.zip").get_by_role("button", name="Import").click()
    see(page, "#confirmation", "7 of 8 pairs are usable")
    page.get_by_role("link", name="See what would be lost").click()
    see(page, "h1", "Not imported")
    page.go_back()
    page.get_by_role("button", name="Go on with 7 pairs").click()
    done(page)
    see(page, "#outcome", "7 pairs")


def test_the_demo_data_is_loaded_from_the_page(works: Site, page: playwright.Page) -> None:
    page.goto(f"{works.url}/data")
    page.fill("#demo [name=pairs]", "5")
    page.eval_on_selector("#demo", "form => form.noValidate = true")
    page.click("#demo button")
    see(page, "#demo-status", "greater than or equal to 20")
    page.errors.clear()  # the browser notes the 400 itself
    page.fill("#demo [name=pairs]", "20")
    page.click("#demo button")
    see(page, "#demo-status", "Making 20 pairs")
    see(page, "#jobs", "Demo data, 20 pairs")
    see(page, "#datasets", "demo data")
    page.locator("#datasets tr", has_text="demo data").get_by_role("link", name="Train on it").click()
    chosen = page.locator("#train-data option:checked")
    playwright.expect(chosen).to_contain_text("20 pairs of demo data")


def test_garbage_and_second_tabs_are_told(
    site: Site, browser: playwright.Browser, archive: Path, tmp_path: Path
) -> None:
    context = browser.new_context()
    page, other = context.new_page(), context.new_page()
    page.goto(f"{site.url}/data")
    garbage = tmp_path / "garbage.zip"
    garbage.write_bytes(b"no archive at all" * 1000)
    for file, words in ((garbage, "not a zip archive"), (tmp_path / "empty.zip", "The file is empty")):
        file.touch()
        choose(page, file)
        see(page, "#upload-status", words)
    assert not [path for path in (site.stage.data / "uploads").iterdir() if path.suffix != ".upload"]
    wire = Wire(page, ["pass", "wait"])
    choose(page, archive)
    see(page, "#upload-numbers", "0.3 of")
    other.goto(f"{site.url}/data")
    see(other, "#unfinished", "Choose the same file again")
    choose(other, archive)
    see(other, "#upload-status", "going on in another tab")
    other.locator("#unfinished button").click()
    other.click("#confirm-yes")
    playwright.expect(other.locator("#unfinished li")).to_have_count(0)
    page.click("#upload-stop")
    see(page, "#upload-status", "Thrown away")
    playwright.expect(page.locator("#upload")).to_be_visible()
    wire.release()
    context.close()
