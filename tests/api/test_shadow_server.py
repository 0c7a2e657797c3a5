"""Shadow pairs through the real service: what users get, what is counted, what people can do with it."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hotcoco import COCO

from serinus.cli.app import run
from serinus.cli.exits import Exit
from serinus.evidence import pairs
from serinus.evidence.pairs import PairCounts
from serinus.rollout.policy import Policy
from tests import models
from tests.api.test_inference_server import Server, server
from tests.serving.house import pair, publish, start_canary, wait_for

pytestmark = pytest.mark.processes
PICTURES = 4


def ask(made: Server, seed: int) -> dict[str, Any]:
    files = {
        name: ("x.png", data)
        for name, data in zip(("pre_disaster", "post_disaster"), pair(seed=seed), strict=True)
    }
    reply = httpx.post(made.url + "/predict?overlay=none", files=files, trust_env=False, timeout=30)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def seen(answer: dict[str, Any]) -> list[tuple[object, ...]]:
    return [(found["cls"], found["conf"], *found["xyxy"]) for found in answer["detections"]]


def shadow_workers(made: Server) -> list[int]:
    """Their orders stand on their command lines."""
    found = []
    for pid in made.workers():
        words = psutil.Process(pid).cmdline()
        if "serinus.serving.worker_entry" in words and '"background":true' in words[-1].replace(" ", ""):
            found.append(pid)
    return found


def reported(made: Server, rollout: int) -> PairCounts:
    return pairs.add(counts for _, _, counts in made.store.new_pairs(rollout, {}))


def metric(made: Server, name: str) -> float:
    lines = httpx.get(made.url + "/metrics", trust_env=False).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def said(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert run([*words, "--json"]) == Exit.DONE, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_two_versions_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with server(tmp_path) as made:
        alone = [seen(ask(made, seed)) for seed in range(PICTURES)]
        version = publish(made.store, models.other_classes(tmp_path / "other", 2))
        policy = Policy(share=1e-9, shadow_share=1.0, keep_inputs=True)
        rollout = start_canary(made.store, version, share=1e-9, policy=policy)
        wait_for(lambda: len(shadow_workers(made)) == 2, "the workers for shadow pairs")
        wait_for(lambda: made.canary() == version, "the canary")

        def compared(number: int) -> bool:
            """The worker may still load when the first picture comes."""
            ask(made, number)
            return reported(made, rollout).pairs > 0

        wait_for(lambda: compared(0), "the first pair")
        for number in range(1, PICTURES):
            before = reported(made, rollout).pairs
            assert seen(ask(made, number)) == alone[number], "users get what they would get without shadows"
            wait_for(lambda before=before: reported(made, rollout).pairs > before, "a pair")
        total = reported(made, rollout)
        assert total.disagreed(0.5) == total.pairs >= PICTURES
        disagreed = 'serinus_shadow_pairs_total{outcome="disagreed"}'
        wait_for(lambda: metric(made, disagreed) == reported(made, rollout).pairs, "the last report")
        assert metric(made, "serinus_errors_total") == 0

        # One that hangs: whoever asks gets an answer, and what cannot wait is dropped.
        stopped = shadow_workers(made)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        answers = [ask(made, number % PICTURES) for number in range(12)]
        assert [seen(answer) for answer in answers] == [alone[number % PICTURES] for number in range(12)]
        assert metric(made, 'serinus_shadow_dropped_total{reason="full"}') >= 12 - 1 - 4
        made.process.send_signal(signal.SIGTERM)
        made.process.wait(timeout=30)
        assert reported(made, rollout).dropped["gone"] >= 1, "the end cancels them, and they are counted"

    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    check_queue(tmp_path, rollout, capsys)


def check_queue(tmp_path: Path, rollout: int, capsys: pytest.CaptureFixture[str]) -> None:
    """What people do with it, by the command line."""
    page = said(capsys, "disagreements", "list", str(rollout))
    assert len(page["items"]) >= PICTURES and page["damaged"] == 0
    worst = page["items"][0]
    detail = said(
        capsys, "disagreements", "show", str(rollout), worst["id"], "--out", str(tmp_path / "shown")
    )
    assert len(list((tmp_path / "shown").iterdir())) == 4
    assert len(detail["current"]["boxes"]) == len(detail["canary"]["boxes"]) == models.FOUND
    said(capsys, "disagreements", "dismiss", str(rollout), worst["id"], "--reason", "clouds")
    kept = len(page["items"]) - 1

    coco = tmp_path / "coco"
    made = said(capsys, "disagreements", "export", str(rollout), "--format", "coco", "--out", str(coco))
    assert (made["pictures"], made["kept"]) == (kept, kept)
    read = COCO(str(coco / "coco.json"))
    pictures = read.loadImgs(read.getImgIds())
    assert len(pictures) == kept and all((coco / one["file_name"]).stat().st_size for one in pictures)
    boxes = read.loadAnns(read.getAnnIds(imgIds=[pictures[0]["id"]]))
    assert len(boxes) == 2 * models.FOUND, "the classes differ: both versions' boxes are suggested"
    raw = json.loads((coco / "coco.json").read_bytes())["annotations"]
    assert {one["attributes"]["source"] for one in raw} == {"current", "canary"}

    xbd = tmp_path / "xbd"
    said(capsys, "disagreements", "export", str(rollout), "--format", "xbd", "--out", str(xbd))
    archive = shutil.make_archive(str(tmp_path / "labelled"), "zip", xbd)
    data = said(capsys, "data", "import", archive)
    assert data["pairs_found"] == data["pairs_usable"] == kept
    assert run(["disagreements", "export", str(rollout), "--out", str(xbd)]) == Exit.USAGE, "it is not empty"
    assert run(["disagreements", "list", "99"]) == Exit.USAGE
