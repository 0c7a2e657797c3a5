"""A batch with a predictor that has a bug."""

import asyncio
import io
import zipfile
from pathlib import Path

import pytest

from serinus.api.batch import Batch
from serinus.api.inference_documents import BatchProgress, BatchResults, OverlayChoice
from serinus.core.errors import InvalidInput
from serinus.serving.assignment import Caller
from serinus.serving.settings import InferenceSettings


class Buggy:
    """Answers pictures with what is wrong with them, and stumbles over one."""

    async def predict(self, pre: bytes, post: bytes, *, caller: Caller, keep_post: bool) -> object:
        if pre == b"odd":
            raise KeyError("a case that nobody thought of")
        raise InvalidInput("This is no picture.", remedy="Send a PNG.")


def test_a_bug_costs_one_pair_its_result_and_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "pairs.zip"
    with zipfile.ZipFile(source, "w") as archive:
        for number, content in enumerate((b"plain", b"odd", b"plain")):
            for when in ("pre", "post"):
                archive.writestr(f"flood_0000000{number}_{when}_disaster.png", content)
    settings = InferenceSettings(outputs=tmp_path / "outputs")
    batch = Batch(Buggy(), settings, OverlayChoice.NONE, request_id="ab12")  # type: ignore[arg-type]
    results: BatchResults = asyncio.run(batch.run(source, "batch_0000abcd.zip"))
    assert [(each.key, each.error) for each in results.errors] == [
        ("flood_00000000", "This is no picture."),
        ("flood_00000001", "Something went wrong in the server."),
        ("flood_00000002", "This is no picture."),
    ]
    assert "ab12" in results.errors[1].remedy
    assert "a case that nobody thought of" in caplog.text
    written = zipfile.ZipFile(io.BytesIO((tmp_path / "outputs" / "batch_0000abcd.zip").read_bytes()))
    assert set(written.namelist()) == {"results.json", "errors.csv"}


def test_it_tells_how_far_it_is(tmp_path: Path) -> None:
    source = tmp_path / "pairs.zip"
    with zipfile.ZipFile(source, "w") as archive:
        for number in range(3):
            for when in ("pre", "post"):
                archive.writestr(f"flood_0000000{number}_{when}_disaster.png", b"plain")
    told: list[BatchProgress] = []
    settings = InferenceSettings(outputs=tmp_path / "outputs")
    batch = Batch(Buggy(), settings, OverlayChoice.NONE, request_id="ab12", told=told.append)  # type: ignore[arg-type]
    asyncio.run(batch.run(source, "batch_0000abcd.zip"))
    assert [(at.done, at.failed, at.pairs) for at in told] == [(0, 0, 3), (1, 1, 3), (2, 2, 3), (3, 3, 3)]


class Recorder:
    """Remembers the pairs that it is asked about."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes]] = []

    async def predict(self, pre: bytes, post: bytes, *, caller: Caller, keep_post: bool) -> object:
        self.asked.append((pre, post))
        raise InvalidInput("Seen.")


def seen(tmp_path: Path, *names: str) -> tuple[list[tuple[bytes, bytes]], dict[str, str]]:
    """What a predictor is asked about an archive of files that hold their own names; the errors by key."""
    source = tmp_path / "pairs.zip"
    with zipfile.ZipFile(source, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    predictor = Recorder()
    settings = InferenceSettings(outputs=tmp_path / "outputs")
    batch = Batch(predictor, settings, OverlayChoice.NONE, request_id="ab12")  # type: ignore[arg-type]
    results = asyncio.run(batch.run(source, "batch_0000abcd.zip"))
    assert len(results.errors) == results.num_pairs
    return sorted(predictor.asked), {each.key: each.error for each in results.errors}


def test_halves_from_two_folders_are_no_pair(tmp_path: Path) -> None:
    asked, errors = seen(tmp_path, "x/t_00000000_pre_disaster.png", "y/t_00000000_post_disaster.png")
    assert asked == []
    assert errors == {
        "x/t_00000000": "The post picture is missing.",
        "y/t_00000000": "The pre picture is missing.",
    }


def test_pairs_with_the_same_name_in_two_folders_are_both_looked_at(tmp_path: Path) -> None:
    names = [
        f"{folder}t_00000000_{when}_disaster.png" for folder in ("", "x/images/") for when in ("post", "pre")
    ]
    asked, errors = seen(tmp_path, *names)
    assert asked == [(names[1].encode(), names[0].encode()), (names[3].encode(), names[2].encode())]
    assert errors == {"t_00000000": "Seen.", "x/t_00000000": "Seen."}


def test_names_are_compared_as_written(tmp_path: Path) -> None:
    asked, errors = seen(
        tmp_path,
        "Flood_00000000_pre_disaster.png",
        "flood_00000000_post_disaster.png",
        "Fire_00000000_PRE_disaster.PNG",
        "Fire_00000000_post_disaster.jpg",
    )
    assert asked == [(b"Fire_00000000_PRE_disaster.PNG", b"Fire_00000000_post_disaster.jpg")]
    assert set(errors) == {"Flood_00000000", "flood_00000000", "Fire_00000000"}


def test_folders_for_each_half_and_pictures_that_occur_twice(tmp_path: Path) -> None:
    asked, errors = seen(
        tmp_path,
        "a/pre/t_1_pre_disaster.png",
        "a/post/t_1_post_disaster.png",
        "a/t_2_pre_disaster.png",
        "a/t_2_pre_disaster.jpg",
        "a/t_2_post_disaster.png",
    )
    assert asked == [(b"a/pre/t_1_pre_disaster.png", b"a/post/t_1_post_disaster.png")]
    assert errors["t_2"].startswith("The pre picture occurs 2 times: a/t_2_pre_disaster.png, ")
