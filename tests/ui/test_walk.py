"""The whole walk of somebody who has never seen it, by the dashboard alone: from data to a rollback.

Real processes, a real training, real Chromium; only the windows are short.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serinus.core.enums import RolloutPhase, VersionState
from tests.processes.installation import Installation
from tests.ui.test_browser import see

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
PATIENCE_MS = 600_000


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Installation]:
    """`serinus up` with the packaged model, as it is on the first day."""
    settings = {
        "BASE_WEIGHTS": "",
        "WINDOW_SECONDS": "20",
        "TICK_SECONDS": "0.5",
        "SLICE_SECONDS": "1",
        "INFER_WORKERS": "1",
        "LATENCY_FLOOR_SECONDS": "0.5",  # two cores that also train and browse: no comparison of latencies
    }
    house = Installation(tmp_path, settings=settings)
    house.up()
    yield house
    house.down()


def through(page: playwright.Page, selector: str, words: str) -> None:
    """Waits as long as a training and its rollout may take."""
    playwright.expect(page.locator(selector)).to_contain_text(words, timeout=PATIENCE_MS)


def test_from_nothing_to_a_promotion_and_a_rollback(
    house: Installation, new_page: Callable[[], playwright.Page]
) -> None:
    page = new_page()
    page.goto(house.ui)
    through(page, "#title", "Version 1 is in production")

    page.get_by_role("link", name="Data", exact=True).click()
    page.fill("#demo [name=pairs]", "100")
    page.get_by_role("button", name="Load the demo data").click()
    train = page.get_by_role("link", name="Train on it")
    playwright.expect(train).to_be_visible(timeout=PATIENCE_MS)
    train.click()
    page.fill("#train [name=epochs]", "4")
    page.fill("#train [name=note]", "my first version")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/jobs/train-*")
    page.locator("#chart-loss canvas").wait_for(timeout=PATIENCE_MS)
    through(page, "#outcome", "Published version 2")

    page.get_by_role("link", name="Rollout", exact=True).click()
    watcher = new_page()  # a second operator, who only looks
    watcher.goto(house.ui)
    through(page, "#title", "Version 2 is on trial")
    page.get_by_role("link", name="Inference", exact=True).click()
    page.locator("button.example").first.click()
    playwright.expect(page.locator("#who")).to_contain_text("Both: versions 1 and 2")
    page.select_option("#who", "1,2")
    page.click("#ask")
    playwright.expect(page.locator(".answer")).to_have_count(2)
    page.get_by_role("link", name="Rollout", exact=True).click()
    through(page, "#title", "Version 2 is in production")
    see(watcher, "#title", "Version 2 is in production")

    page.get_by_role("link", name="Training", exact=True).click()
    page.get_by_role("button", name="Publish the broken version").click()
    page.click("#confirm-yes")
    page.wait_for_url("**/jobs/broken-*")
    watcher.bring_to_front()
    through(watcher, "#detail", "Version 3 was rolled back")
    see(watcher, "#title", "Version 2 is in production")
    page.bring_to_front()
    through(page, "#outcome", "Version 3 was turned down")
    page.get_by_role("link", name="History", exact=True).click()
    for words in ("promoted", "rolled back", "broken on purpose"):
        see(page, "#events", words)

    state = house.store.state()
    assert state.current == 2 and state.versions[3].state is VersionState.REJECTED
    assert state.last is not None and state.last.phase is RolloutPhase.ROLLED_BACK
    assert "Traceback" not in house.log()
