"""Makes the pictures in docs/images/dashboard/ anew: every page at three sizes, in light and dark.

`python tools/screenshots.py [PAGE ...]` on scenes of `tests/ui/scenes.py`, in the Chromium of the system.
"""

import argparse
import io
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402
from tests.api.inference import inference  # noqa: E402
from tests.api.stage import Stage  # noqa: E402
from tests.ui import scenes  # noqa: E402
from tests.ui.asked import asked  # noqa: E402
from tests.ui.server import ARGS, Site  # noqa: E402

OUT = ROOT / "docs/images/dashboard"
SIZES = {"phone": (390, 844), "laptop": (1280, 860), "wall": (2560, 1440)}
THEMES = ("light", "dark")
PAGES = {
    "rollout": ("trial", "/"),
    "held": ("held", "/"),
    "empty": ("empty", "/"),
    "versions": ("trial", "/versions"),
    "version": ("trial", "/versions/2"),
    "compare": ("compared", "/versions/compare?a=1&b=2"),
    "history": ("trial", "/history"),
    "replay": ("trial", "/rollouts/1"),
    "disagreements": ("trial", "/disagreements"),
    "settings": ("trial", "/settings"),
    "training": ("work", "/training"),
    "data": ("work", "/data"),
    "dataset": ("work", "/data/{dataset}"),
    "pairs": ("work", "/data/{dataset}/pairs"),
    "job": ("work", "/jobs/{running}"),
    "question": ("work", "/jobs/{asking}"),
    "data-empty": ("empty", "/data"),
    "training-empty": ("empty", "/training"),
    "nobody": ("empty", "/inference"),
    "asking": ("asked", "/inference"),
    "inference": ("asked", "/inference"),
}
_HIGHEST = 2600
_ALL_PICTURES = """() => [...document.images]
    .filter((one) => one.checkVisibility() && one.getBoundingClientRect().top < innerHeight)
    .every((one) => one.complete && one.naturalWidth > 0)"""
_MS = 20_000


def _empty(stage: Stage) -> dict[str, str]:
    assert stage.store.state().seq == 0
    return {}


def _held(stage: Stage) -> dict[str, str]:
    scenes.held(stage)
    return {}


def _work(stage: Stage) -> dict[str, str]:
    scenes.past(stage)
    return scenes.workshop(stage)


def _trial(stage: Stage) -> dict[str, str]:
    scenes.on_trial(stage)
    scenes.disagreements(stage)
    return {}


def _compared(stage: Stage) -> dict[str, str]:
    scenes.on_trial(stage)
    scenes.compared(stage)
    return {}


_STORES = {"compared": _compared, "empty": _empty, "held": _held, "trial": _trial, "work": _work}
"""Name -> what makes it, and gives the names that addresses of its pages have."""
SCENES = (*_STORES, "asked")


@contextmanager
def scene(name: str, root: Path) -> Iterator[tuple[Site, dict[str, str]]]:
    """The dashboard in that scene, and the names that addresses of its pages have."""
    if name == "asked":
        base, other = ROOT / "src/serinus/base", root / "other"
        root.mkdir()
        shutil.copytree(base, other)
        contract = other / "contract.json"
        contract.write_text(contract.read_text().replace('"score_threshold":0.3', '"score_threshold":0.55'))
        with asked(root, first=base, second=other) as (site, _):
            yield site, {}
        return
    stage = Stage(root, inference=inference())
    names = _STORES[name](stage)
    site = Site(stage)
    yield site, names
    site.stop()
    stage.end_jobs()


def _ask(tab: Page, version: str) -> None:
    tab.locator("button.example").first.click()
    tab.locator("#drops img").last.wait_for()
    tab.select_option("#who", version)
    tab.locator("#ask").click()
    tab.locator(".sight g").first.wait_for(state="attached")


def _chosen(tab: Page) -> None:
    tab.locator("button.example").nth(1).click()
    tab.locator("#drops img").last.wait_for()


ACTIONS: dict[str, Callable[[Page], None]] = {
    "asking": _chosen,
    "inference": lambda tab: _ask(tab, "1,2"),
}
"""What is done on a page before it is pictured."""


def main() -> None:
    """Writes what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    wanted = given.pages or list(PAGES)
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=ARGS)
        for name in SCENES:
            pages = [page for page in wanted if PAGES[page][0] == name]
            if not pages:
                continue
            with scene(name, Path(place) / name) as (site, names):
                for page in pages:
                    for size, (width, height) in SIZES.items():
                        for theme in THEMES:
                            tab = browser.new_page(
                                viewport={"width": width, "height": height},
                                color_scheme=theme,
                                reduced_motion="reduce",
                            )
                            _picture(
                                tab,
                                site.url + PAGES[page][1].format(**names),
                                page,
                                given.out / f"{page}-{size}-{theme}.png",
                            )
                            tab.close()
        browser.close()


def _picture(tab: Page, url: str, page: str, path: Path) -> None:
    assert tab.viewport_size is not None
    width, height = tab.viewport_size["width"], tab.viewport_size["height"]
    tab.set_default_timeout(_MS)
    tab.goto(url)
    tab.locator("#link.on").wait_for()
    if page in ACTIONS:
        ACTIONS[page](tab)
    if tab.locator(".chart").count():
        tab.locator(".chart canvas").last.wait_for()
    long = tab.evaluate("document.documentElement.scrollHeight")
    tab.set_viewport_size({"width": width, "height": min(max(long, height), _HIGHEST)})
    tab.evaluate("scrollTo(0, 0)")
    tab.wait_for_function(_ALL_PICTURES)
    tab.mouse.move(0, 0)
    tab.wait_for_timeout(400)
    _write(tab.screenshot(timeout=_MS), path)


def _write(png: bytes, path: Path) -> None:
    """With at most 256 colours and 1280 pixels wide: enough to read it, and small."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if picture.width > 1280:
        picture = picture.resize(
            (1280, round(picture.height * 1280 / picture.width)), Image.Resampling.LANCZOS
        )
    # The usual method gives rare colours away, and a red line, a yellow box are what a picture is about.
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    sys.stderr.write(f"{path.name}: {path.stat().st_size // 1000} kB\n")


if __name__ == "__main__":
    main()
