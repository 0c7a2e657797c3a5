"""The page Training and a job's own page in a real browser: curves, queue, cancel, kill, restart."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from serinus.jobs.folder import Folder
from serinus.jobs.model import BrokenJob, TrainJob
from tests.api.inference import inference
from tests.api.stage import Stage
from tests.ui.server import Site
from tests.ui.test_browser import see

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser
CHILD = """
import sys, time
from pathlib import Path
from serinus.jobs.model import TrainOutput
from serinus.jobs.report import JobReporter
folder = Path(sys.argv[sys.argv.index("--job") + 1])
report = JobReporter(folder, clock=time.time, every_seconds=0, point_seconds=0)
step = 0
while not report.cancel_requested():
    step = min(step + 1, 900)
    print(f"epoch {step}/1000  <b>loss {3 / step:.3f}</b>", flush=True)
    metrics = {"loss": 3 / step, "map50": 0.9 - 0.6 / step}
    report.progress(step / 1000, f"epoch {step}/1000", step=step, steps=1000, metrics=metrics, eta_seconds=30)
    if (folder / "finish").exists():
        best = {"map50": 0.87}
        report.succeed(TrainOutput(version=1, epochs_completed=9, total_epochs=9, best_metrics=best))
        sys.exit()
    time.sleep(0.1)
report.cancel()
"""


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Site]:
    """A version, a data set, and jobs that go on until they are told otherwise."""
    stage = Stage(tmp_path, inference=inference(), child=CHILD)
    stage.base()
    stage.dataset()
    site = Site(stage)
    yield site
    site.stop()
    site.stage.end_jobs()


def start(page: playwright.Page, note: str) -> str:
    """Starts a training by the form; gives the job's id."""
    page.fill("#train [name=note]", note)
    page.click("#train button")
    page.wait_for_url("**/jobs/train-*")
    return page.url.rpartition("/")[2]


def test_a_training_is_watched_over_a_restart_to_its_version(training: Site, page: playwright.Page) -> None:
    page.goto(f"{training.url}/training")
    see(page, "#licence", "Apache-2.0")
    page.select_option("#trainer", "ultralytics")
    see(page, "#licence", "must offer them its source")
    assert page.locator("#trainer option", has_text="odd is not installed").is_disabled()
    page.fill("#train [name=epochs]", "0")
    page.fill("#train [name=batch]", "999")
    page.click("#train button")
    see(page, "#train-epochs-error", "greater than or equal to 1")
    see(page, "#train-batch-error", "less than or equal to 512")
    playwright.expect(page.locator("#train [name=epochs]")).to_be_focused()
    page.errors.clear()  # the browser notes the 400 itself
    page.fill("#train [name=epochs]", "1000")
    page.fill("#train [name=batch]", "4")
    page.select_option("#trainer", "")
    job = start(page, "<i>coast</i>")
    see(page, "h1", "<i>coast</i>")
    page.locator("#chart-loss canvas").wait_for()
    page.locator("#chart-map50 canvas").wait_for()
    see(page, "#log", "epoch 3/1000  <b>loss 1.000</b>")
    see(page, "#job-words", "about 0:30 left")
    training.stop()
    see(page, "#link", "last seen")
    training.restart()
    see(page, "#link", "live")
    seen = int(page.locator("#job-words").inner_text().split("/")[0].split()[-1])
    page.wait_for_function(
        "seen => Number(document.querySelector('#job-words').textContent.match(/[0-9]+/)) > seen", arg=seen
    )
    assert page.locator("#log").inner_text().count("epoch 3/1000 ") == 1, "no line twice"
    page.errors.clear()  # the browser notes the lost connection itself
    (training.stage.jobs.folder(job) / "finish").touch()
    see(page, "#outcome", "Published version 1, mAP50 0.870")
    see(page, "#result", "Version 1 current")
    playwright.expect(page.locator("#cancel")).to_have_count(0)
    page.get_by_role("link", name="Its card and gates").click()
    see(page, "h1", "Version 1")


def test_the_queue_is_told_and_a_job_is_cancelled(training: Site, page: playwright.Page) -> None:
    page.goto(f"{training.url}/training")
    first = start(page, "first")
    page.goto(f"{training.url}/training")
    page.check("#train [name=baseline]")
    second = start(page, "second")
    both = [training.stage.jobs.describe(each).spec for each in (first, second)]
    assert [isinstance(spec, TrainJob) and spec.baseline for spec in both] == [False, True]
    see(page, "#job-words", f"Place 1 in the queue. Waits until {first} is over.")
    page.goto(f"{training.url}/training")
    see(page, "#queue", "Place 1 in the queue")
    page.click(f"#cancel-{first}")
    see(page, "#confirm-what", "nothing half-done is kept")
    page.keyboard.press("Escape")
    assert training.stage.jobs.describe(first).active
    page.click(f"#cancel-{first}")
    page.click("#confirm-yes")
    see(page, "#jobs", "cancelled")
    see(page, f"#job-{second}", "running")  # its turn has come
    page.goto(f"{training.url}/jobs/{second}")
    see(page, "#log", "epoch 2/1000")
    launched = Folder(training.stage.jobs.folder(second)).launched()
    assert launched is not None and launched.pid is not None
    page.goto(f"{training.url}/training")
    see(page, "#queue", "second")
    page.fill("#train [name=note]", "typed meanwhile")
    os.kill(launched.pid, signal.SIGKILL)
    playwright.expect(page.locator("#queue")).to_have_count(0)
    assert page.input_value("#train [name=note]") == "typed meanwhile"
    page.goto(f"{training.url}/jobs/{second}")
    see(page, "#reason", "was ended by SIGKILL (out of memory?)")
    see(page, "#job-state", "failed")
    page.get_by_role("link", name="Train again").click()
    assert page.input_value("#train [name=note]") == "second"
    assert page.is_checked("#train [name=baseline]")


def test_a_broken_version_is_asked_for_once_more(training: Site, page: playwright.Page) -> None:
    page.goto(f"{training.url}/training")
    page.click("#broken button")
    see(page, "#confirm-title", "Publish a broken version?")
    page.click("#confirm-no")
    assert training.stage.jobs.list() == ()
    page.click("#broken button")
    page.click("#confirm-yes")
    page.wait_for_url("**/jobs/broken-*")
    see(page, "h1", "Broken version")
    (job,) = training.stage.jobs.list()
    assert job.spec == BrokenJob(actor="operator via ui")
