"""A batch with a predictor that has a bug."""

import asyncio
import io
import zipfile
from pathlib import Path

import pytest

from serinus.api.batch import Batch
from serinus.api.inference_documents import BatchResults, OverlayChoice
from serinus.core.errors import InvalidInput
from serinus.serving.settings import InferenceSettings


class Buggy:
    """Answers pictures with what is wrong with them, and stumbles over one."""

    async def predict(self, pre: bytes, post: bytes, *, keep_post: bool) -> object:
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
