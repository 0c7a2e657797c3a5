import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest

from serinus.artifact.manifest import Contract
from serinus.core.enums import FailureKind
from serinus.core.errors import Unavailable
from serinus.engine import trial
from serinus.engine.trial import TrialFailed
from tests import models

pytestmark = pytest.mark.processes


def _contract(draft: Path) -> Contract:
    return msgspec.json.decode((draft / "contract.json").read_bytes(), type=Contract)


def _run(draft: Path, images: Sequence[np.ndarray], **limits: float) -> list[np.ndarray]:
    return trial.run(draft, _contract(draft), images, **limits)


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = _children()
    yield
    assert _children() == before


def test_pictures_of_different_sizes(tmp_path: Path) -> None:
    draft = models.healthy(tmp_path / "m")
    batch, alone = models.golden_images(64), models.golden_images(128)[0, :48]
    found = _run(draft, [batch, alone])
    with np.load(draft / "training/golden.npz", allow_pickle=False) as golden:
        np.testing.assert_array_equal(found[0], golden["detections"])
    assert found[1].shape == (8, 6)
    found[1][0] = 0  # ours to write to


def test_pictures_are_taken_once_and_one_at_a_time(tmp_path: Path) -> None:
    taken: list[int] = []

    class Lazy(Sequence[np.ndarray]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index):
            if index >= 3:
                raise IndexError
            taken.append(index)
            return models.golden_images(32, 1, index)[0]

    assert len(_run(models.healthy(tmp_path / "m"), Lazy())) == 3
    assert taken == [0, 1, 2]


def test_no_pictures_only_loads_it(tmp_path: Path) -> None:
    assert _run(models.healthy(tmp_path / "m"), []) == []
    with pytest.raises(TrialFailed, match="does not load"):
        trial.run(tmp_path, Contract(), [])


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (models.raising, FailureKind.EXCEPTION, "raised on an input of 2x64x64x6"),
        (models.nan, FailureKind.INVALID_OUTPUT, "picture 0: the model answered with NaN"),
        (models.wrong_shape, FailureKind.INVALID_OUTPUT, r"\[2, 8, 5\]"),
        (models.crashing, FailureKind.CRASH, "took its process down"),
        (models.hungry, FailureKind.EXCEPTION, "more than its 512 MB of memory"),
    ],
)
def test_a_broken_model_fails_with_its_cause(
    tmp_path: Path, make: Callable[[Path], Path], kind: FailureKind, words: str
) -> None:
    with pytest.raises(TrialFailed, match=words) as raised:
        _run(make(tmp_path / "m"), [models.golden_images()], memory_mb=512)
    assert raised.value.kind is kind


def test_a_model_that_never_ends_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(TrialFailed, match=r"did not answer within 0\.5 s") as raised:
        _run(models.loops_forever(tmp_path / "m"), [models.golden_images()], seconds=0.5)
    assert raised.value.kind is FailureKind.TIMEOUT


def test_a_slow_model_within_its_time_passes(tmp_path: Path) -> None:
    assert len(_run(models.slow(tmp_path / "m", rounds=2000), [models.golden_images()])) == 1


def test_a_box_outside_its_picture_is_refused(tmp_path: Path) -> None:
    g = models.Graph()
    far = g.node("Add", models._detect(g, models._pixels(g), 0), g.const([500, 0, 500, 0, 0, 0]))
    draft = models.write_draft(tmp_path / "m", g.model(far))
    with pytest.raises(TrialFailed, match="a box outside the picture of 64x32"):
        _run(draft, [models.golden_images(64, 1)[:, :32]])


def test_pictures_that_do_not_fit_the_contract_are_said(tmp_path: Path) -> None:
    with pytest.raises(TrialFailed, match="do not fit the contract"):
        _run(models.healthy(tmp_path / "m"), [np.zeros((60, 64, 6), np.uint8)])


def test_the_model_cannot_see_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child's environment is made, not inherited."""
    monkeypatch.setenv("API_TOKEN", "hidden")
    draft = models.loops_forever(tmp_path / "m")
    before = _children()
    seen: list[dict[str, str]] = []

    def watch() -> None:
        def look() -> bool:
            with contextlib.suppress(psutil.Error):
                found = [psutil.Process(pid).environ() for pid in _children() - before]
                seen.extend(environment for environment in found if "MALLOC_ARENA_MAX" in environment)
            return bool(seen)

        _wait_for(look)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with pytest.raises(TrialFailed):
        _run(draft, [models.golden_images()], seconds=1)
    watcher.join()
    assert "API_TOKEN" not in seen[0]


def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    """A parent that is killed leaves no endless loop behind."""
    draft = models.loops_forever(tmp_path / "m")
    code = (
        "import sys, msgspec; from pathlib import Path; from tests import models;"
        "from serinus.engine import trial; from serinus.artifact.manifest import Contract;"
        "d = Path(sys.argv[1]);"
        "c = msgspec.json.decode((d / 'contract.json').read_bytes(), type=Contract);"
        "trial.run(d, c, [models.golden_images()], seconds=600)"
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(draft)],
        env={"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "TMPDIR": str(scratch)},
    )
    try:
        _wait_for(lambda: any(scratch.glob("*/started")))
        (child,) = psutil.Process(parent.pid).children()
    finally:
        parent.kill()
        parent.wait()
    child.wait(30)


def _wait_for(done: Callable[[], bool]) -> None:
    for _ in range(3000):
        if done():
            return
        time.sleep(0.02)
    raise AssertionError("it never came")


def test_a_child_that_cannot_start_says_nothing_about_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(Unavailable, match="did not start"):
        _run(models.healthy(tmp_path / "m"), [models.golden_images()])
