"""The page Inference in a real browser, before a real inference service with two versions."""

import io
import json
import os
import re
import signal
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serinus.core.enums import JobState
from serinus.imagery.decode import encode_png
from tests import models
from tests.api.serve_inference import LIMIT_BYTES
from tests.api.stage import Stage
from tests.serving.house import pair, wait_for
from tests.ui.asked import asked
from tests.ui.server import Site
from tests.ui.test_browser import see, slowed

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser
NAMES = ("pre_disaster", "post_disaster")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two versions that differ in their boxes."""
    with asked(tmp_path_factory.mktemp("asked")) as (site, _):
        yield site


def choose(page: playwright.Page, before: bytes, after: bytes, name: str = "tile.png") -> None:
    for field, content in zip(NAMES, (before, after), strict=True):
        file = {"name": name, "mimeType": "image/png", "buffer": content}
        page.set_input_files(f"[name={field}]", file)


def look(page: playwright.Page, version: str = "") -> None:
    page.select_option("#who", version)
    page.click("#ask")
    playwright.expect(page.locator("#result")).to_be_visible()


def file_of(page: playwright.Page, selector: str) -> tuple[str, bytes]:
    """Name and content of what a click downloads."""
    with page.expect_download() as download:
        page.click(selector)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_an_example_is_looked_at_from_all_sides(both: Site, page: playwright.Page) -> None:
    page.goto(f"{both.url}/inference")
    page.locator("button.example").first.click()
    see(page, "#drops .drop >> nth=1", "hurricane-post.png")
    look(page, "2")
    see(page, ".answer h3", "Version 2")
    see(page, ".answer .chip", "canary")
    see(page, ".answer .words", f"{models.FOUND} buildings")
    playwright.expect(page.locator(".sight g")).to_have_count(models.FOUND)
    playwright.expect(page.locator("#detections tbody tr")).to_have_count(models.FOUND)
    for picture in ("before", "after"):
        assert (
            page.locator(f".sight .{picture}").evaluate("i => i.decode().then(() => i.naturalWidth)") == 256
        )

    page.locator("#swipe").focus()
    page.keyboard.press("Home")
    clipped = "image => getComputedStyle(image).clipPath"
    assert "100%" in page.locator(".before").evaluate(clipped)
    sight = page.locator(".sight")
    box = sight.bounding_box()
    assert box is not None
    # `hover` waits until the picture stands still.
    sight.hover(position={"x": box["width"] * 0.2, "y": box["height"] / 2})
    page.mouse.down()
    sight.hover(position={"x": box["width"] * 0.75, "y": box["height"] / 2})
    page.mouse.up()
    playwright.expect(page.locator("#swipe")).to_have_value("75")

    confident = sorted(
        float(each) for each in page.locator("#detections td:nth-child(4)").all_text_contents()
    )
    page.locator("#least").fill(f"{confident[3]:.2f}")
    left = sum(one >= round(confident[3], 2) for one in confident)
    playwright.expect(page.locator("#detections tbody tr")).not_to_have_count(models.FOUND)
    playwright.expect(page.locator(".sight g")).to_have_count(page.locator("#detections tbody tr").count())
    assert 0 < page.locator(".sight g").count() <= left < models.FOUND + 1
    see(page, ".answer .words", f"{page.locator('.sight g').count()} building")
    counted = sum(int(each) for each in page.locator(".classes dd").all_text_contents())
    assert counted == page.locator(".sight g").count()
    page.uncheck("#boxes")
    playwright.expect(page.locator(".sight svg")).to_be_hidden()
    page.check("#boxes")
    page.locator("#detections button").last.click()
    playwright.expect(page.locator(".sight .chosen")).to_have_count(1)


def test_what_is_shown_can_be_taken_along(both: Site, page: playwright.Page) -> None:
    page.goto(f"{both.url}/inference")
    choose(page, *pair(64, seed=3))
    look(page, "1")
    name, content = file_of(page, "[data-kind=json]")
    whole = json.loads(content)
    assert name == "detections.json" and len(whole["detections"]) == models.FOUND
    assert whole["model"]["version"] == 1 and "overlay_png_base64" not in whole
    page.locator("#least").fill(page.locator("#least").get_attribute("max") or "1")
    see(page, ".answer .words", "No box is as confident as that.")
    none = json.loads(file_of(page, "[data-kind=json]")[1])
    assert (none["detections"], none["total"], none["least_confidence"]) == ([], 0, 1)
    page.locator("#least").fill(page.locator("#least").get_attribute("min") or "0")
    name, content = file_of(page, "[data-kind=geojson]")
    found = json.loads(content)
    box = whole["detections"][0]
    assert name == "detections.geojson" and len(found["features"]) == models.FOUND
    first = next(one for one in found["features"] if one["id"] == box["id"])
    _, top, right, _ = box["xyxy"]
    assert first["geometry"]["coordinates"][0][2] == [right, top]
    assert "pixels" in found["coordinates"]
    page.locator("#place summary").click()
    for edge, value in (("west", "10"), ("south", "50"), ("east", "9"), ("north", "50.5")):
        page.fill(f"[name={edge}]", value)
    see(page, "#place-words", "West must be smaller than east")
    page.fill("[name=east]", "11")
    playwright.expect(page.locator("#place-words")).to_be_hidden()
    placed = json.loads(file_of(page, "[data-kind=geojson]")[1])
    first = next(one for one in placed["features"] if one["id"] == box["id"])
    x, y = first["geometry"]["coordinates"][0][2]
    assert (x, y) == pytest.approx((10 + right / 64, 50.5 - 0.5 * top / 64))
    assert "WGS 84" in placed["coordinates"]
    name, content = file_of(page, "[data-kind=overlay]")
    assert name == "overlay.png" and content.startswith(b"\x89PNG")


def test_both_versions_are_asked_and_compared(both: Site, page: playwright.Page) -> None:
    page.goto(f"{both.url}/inference")
    choose(page, *pair(64, seed=5))
    look(page, "1,2")
    assert page.locator(".answer h3").all_text_contents() == ["Version 1", "Version 2"]
    assert [words[0] for words in page.locator(".answer .chip").all_text_contents()] == ["●", "◆"]
    see(page, "#difference", f"{models.FOUND} buildings seen by both, 0 of them with another class")
    playwright.expect(page.locator("#detections tbody tr")).to_have_count(2 * models.FOUND)
    name, content = file_of(page, ".answer >> nth=1 >> [data-kind=geojson]")
    assert name == "detections-version-2.geojson" and b'"version": 2' in content
    look(page)
    playwright.expect(page.locator(".answer")).to_have_count(1)
    playwright.expect(page.locator("#difference")).to_be_hidden()


def test_files_come_by_drop_by_picker_and_by_keyboard(both: Site, page: playwright.Page) -> None:
    page.goto(f"{both.url}/inference")
    before, after = pair(64, seed=7)
    dropped = page.evaluate_handle(
        """files => {
          const held = new DataTransfer();
          for (const [name, bytes] of files)
            held.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
          return held;
        }""",
        [["tile_post_<img src=x onerror=alert(1)>.png", list(after)], ["tile_pre_<b>.png", list(before)]],
    )
    page.locator(".drop").first.dispatch_event("drop", {"dataTransfer": dropped})
    see(page, "#drops .drop >> nth=0", "tile_pre_<b>.png")
    see(page, "#drops .drop >> nth=1", "tile_post_<img src=x onerror=alert(1)>.png")
    assert page.locator("#drops img[src=x]").count() == 0
    with page.expect_file_chooser() as chooser:
        page.locator("[name=pre_disaster]").focus()
        page.keyboard.press("Enter")
    chooser.value.set_files({"name": "other.png", "mimeType": "image/png", "buffer": before})
    see(page, "#drops .drop >> nth=0", "other.png")
    page.locator("#who").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#result")).to_be_visible()
    page.reload()
    playwright.expect(page.locator("#result")).to_be_hidden()
    page.click("#ask")
    assert page.locator("[name=pre_disaster]").evaluate("input => input.validity.valueMissing")


def test_bad_files_are_told_of_and_the_page_goes_on(both: Site, page: playwright.Page) -> None:
    page.goto(f"{both.url}/inference")
    good, other = pair(64, seed=9)
    huge = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(huge, "PNG")
    noise = np.random.default_rng(1).integers(0, 255, LIMIT_BYTES, np.uint8).tobytes()
    for before, after, words in (
        (good, b"<script>alert(1)</script>", "After: This is not a picture that can be read."),
        (b"", other, "The file tile.png is empty (0 bytes)."),
        (good[: len(good) // 2], other, "Before: The PNG picture is truncated"),
        (good, encode_png(np.zeros((32, 64, 3), np.uint8)), "size"),
        (huge.getvalue(), other, "Before: The picture has 10000 x 10000 = 100.0 million pixels"),
        (good, noise, "4.0 MB are taken at once (MAX_BODY_MB)"),
    ):
        choose(page, before, after)
        page.click("#ask")
        see(page, "#pair-status", words)
        playwright.expect(page.locator("#ask")).to_be_enabled()
        playwright.expect(page.locator("#result")).to_be_hidden()
    choose(page, good, other)
    look(page)
    playwright.expect(page.locator("#pair-status")).to_be_hidden()
    page.errors.clear()  # the browser notes the refusals itself


def test_a_picture_that_no_browser_shows_is_answered_all_the_same(both: Site, page: playwright.Page) -> None:
    page.goto(f"{both.url}/inference")
    files = []
    for content in pair(64, seed=11):
        tiff = io.BytesIO()
        Image.open(io.BytesIO(content)).save(tiff, "TIFF")
        files.append(tiff.getvalue())
    choose(page, *files, name="tile.tif")
    see(page, "#drops .drop >> nth=0", "this browser cannot show it")
    look(page)
    see(page, ".cannot", "this is the overlay, with all boxes")
    assert page.locator(".sight .after").evaluate("i => i.decode().then(() => i.naturalWidth)") > 64
    playwright.expect(page.locator(".sight svg")).to_be_hidden()


def test_a_double_click_asks_once_and_a_question_can_be_cancelled(both: Site, page: playwright.Page) -> None:
    page.goto(f"{both.url}/inference")
    see(page, "#link", "live")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if "/api/predict" in request.url else None)
    choose(page, *pair(64, seed=13))
    slowed(page, 700)
    page.dblclick("#ask")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#result")).to_be_visible()
    assert len(sent) == 1
    slowed(page, 20_000)
    page.click("#ask")
    see(page, "#pair-status", "Looking")
    page.click("#ask-stop")
    see(page, "#pair-status", "Cancelled.")
    slowed(page, 0)
    look(page, "1")
    see(page, ".answer h3", "Version 1")


def archive(pairs: int, broken: int | None = None) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as out:
        content_of = dict(zip(("pre", "post"), pair(64), strict=True))
        for number in range(pairs):
            for when, content in content_of.items():
                garbage = number == broken and when == "post"
                out.writestr(f"flood_{number:08}_{when}_disaster.png", b"no picture" if garbage else content)
    return data.getvalue()


def send_batch(page: playwright.Page, name: str, content: bytes) -> None:
    page.set_input_files(
        "#batch-form input", {"name": name, "mimeType": "application/zip", "buffer": content}
    )
    page.click("#batch-form button")


def test_a_batch_is_sent_followed_and_its_result_fetched(both: Site, page: playwright.Page) -> None:
    page.goto(f"{both.url}/inference")
    send_batch(page, "flood<b>.zip", archive(4, broken=2))
    see(page, "#batch-form [role=status]", "Sent.")
    see(page, "#batches", "Batch flood<b>.zip")
    see(page, "#batches .job >> nth=0", "4 pairs")
    page.reload()  # the job goes on without the page
    name, content = file_of(page, "#batches a >> nth=0")
    assert name.endswith(".zip")
    with zipfile.ZipFile(io.BytesIO(content)) as result:
        assert {"results.json", "errors.csv", "overlays/flood_00000000.png"} <= set(result.namelist())
        assert json.loads(result.read("results.json"))["num_pairs"] == 4
    page.go_back()
    page.go_forward()
    see(page, "#batches", "flood<b>.zip")
    for name, content, words in (
        ("empty.zip", b"", "is empty (0 bytes)"),
        ("garbage.zip", b"no zip at all", "is no zip archive"),
    ):
        send_batch(page, name, content)
        see(page, "#batch-form [role=status]", words)
    send_batch(page, "nothing.zip", zipped_text())
    nothing = page.locator("#batches .failed").filter(has_text="nothing.zip")
    playwright.expect(nothing).to_contain_text("The archive has no pair of pictures.", timeout=20_000)
    (job,) = (job for job in both.stage.deps.jobs.list() if getattr(job.spec, "name", "") == "nothing.zip")
    assert job.state is JobState.FAILED
    page.errors.clear()  # the browser notes the refusals itself


def zipped_text() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as out:
        out.writestr("readme.txt", "no pictures here")
    return data.getvalue()


def test_a_long_batch_shows_its_pairs_survives_a_reload_and_is_cancelled(
    both: Site, page: playwright.Page
) -> None:
    page.goto(f"{both.url}/inference")
    send_batch(page, "long.zip", archive(600))
    job = page.locator("#batches .job").filter(has_text="long.zip")
    playwright.expect(job).to_contain_text(re.compile(r"[1-9]\d* of 600 pairs"), timeout=20_000)
    page.reload()
    playwright.expect(job).to_contain_text(re.compile(r"[1-9]\d* of 600 pairs"), timeout=20_000)
    job.locator("[data-cancel]").click()
    page.click("#confirm-yes")
    playwright.expect(job).to_contain_text("cancelled", timeout=20_000)
    (cancelled,) = (job for job in both.stage.deps.jobs.list() if getattr(job.spec, "name", "") == "long.zip")
    assert cancelled.state is JobState.CANCELLED


def test_who_can_be_asked_is_told_as_it_comes_and_goes(site: Site, page: playwright.Page) -> None:
    page.goto(f"{site.url}/inference")
    see(page, "#nobody", "No inference process has been heard of lately")
    playwright.expect(page.locator("#ask")).to_be_disabled()
    site.stage.heartbeat()
    see(page, "#nobody", "No version is loaded yet")
    site.stage.base()
    site.stage.heartbeat()
    playwright.expect(page.locator("#nobody")).to_be_hidden()
    playwright.expect(page.locator("#ask")).to_be_enabled()
    see(page, "#who", "Version 1 (current)")
    page.select_option("#who", "1")
    site.stage.canary()
    site.stage.heartbeat()
    see(page, "#who", "Both: versions 1 and 2")
    assert page.input_value("#who") == "1", "what was chosen stays chosen"


def test_a_replica_that_is_killed_during_a_question_is_told_of(tmp_path: Path, page: playwright.Page) -> None:
    with asked(tmp_path, canary=False) as (site, made):
        page.goto(f"{site.url}/inference")
        choose(page, *pair(64))
        workers = made.workers()
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)  # it never answers
        page.click("#ask")
        see(page, "#pair-status", "Looking")
        wait_for(made.connections, "the question")
        made.process.kill()
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        see(page, "#pair-status", "does not answer")
        see(page, "#pair-status", "serinus up")
        playwright.expect(page.locator("#result")).to_be_hidden()
        site.stage.now += 3600 * 24 * 365 * 20  # heartbeats grow old
        see(page, "#nobody", "No inference process has been heard of lately")
        playwright.expect(page.locator("#ask")).to_be_disabled()
    page.errors.clear()  # the browser notes the 503 itself


def test_half_an_answer_is_no_answer(tmp_path: Path, new_page: Callable[[], playwright.Page]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def break_off() -> None:
            client, _ = listening.accept()
            asked = b""
            while not asked.rstrip().endswith(b"--"):
                asked += client.recv(1 << 20)
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n"
            client.sendall(head + b'{"detections": [')
            client.close()

        threading.Thread(target=break_off, daemon=True).start()
        stage = Stage(tmp_path, infer_url=f"http://127.0.0.1:{listening.getsockname()[1]}")
        stage.base()
        stage.heartbeat()
        site = Site(stage)
        page = new_page()
        page.goto(f"{site.url}/inference")
        choose(page, *pair(64))
        page.click("#ask")
        see(page, "#pair-status", "The answer broke off")
        playwright.expect(page.locator("#result")).to_be_hidden()
        page.errors.clear()
        site.stop()


def test_on_a_phone_everything_is_seen(both: Site, page: playwright.Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{both.url}/inference")
    choose(page, *pair(64, seed=15))
    look(page, "1,2")
    playwright.expect(page.locator("#detections tbody tr")).to_have_count(2 * models.FOUND)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    hidden = page.locator("#detections .scroll").evaluate("box => box.scrollWidth - box.clientWidth")
    assert hidden == 0  # a column that has to be scrolled to looks as if it were cut off
