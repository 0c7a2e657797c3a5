"""What the dashboard is told besides: the decision as it would be now, distributions, shares, files."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serinus.api.preview import Previewer
from serinus.control.outlook import Action
from serinus.core.enums import Arm, Signal
from serinus.core.errors import Unavailable
from serinus.evidence.counts import latency_bin
from tests.api.stage import Stage

pytestmark = pytest.mark.anyio
SIMULATION = """
import json, sys
text = open("/dev/stdin").read()
if "steps" in text:
    sys.exit("serinus: /dev/stdin: a last step of 1 leaves no control arm.")
figures = {"rolled_back": 0.01, "promoted": 0.99, "undecided": 0.0, "median": None}
print(json.dumps([{"name": "good", "words": text, "rules": {"Serinus": figures}}]))
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    stage.base()
    yield stage
    stage.end_jobs()


async def outlook(stage: Stage) -> Any:
    async with stage.client() as client:
        return (await client.get("/api/state")).json()["outlook"]


async def test_the_decision_as_it_would_be_now(stage: Stage) -> None:
    assert await outlook(stage) is None
    stage.verifying()
    assert (await outlook(stage))["action"] == Action.WAIT
    async with stage.client() as client:
        await client.post("/api/rollout/rollback", json={"reason": "again"})
    stage.canary()
    stage.heartbeat()
    stage.traffic((20, 0), (20, 0), seconds=60)
    early = await outlook(stage)
    assert early["action"] == Action.WAIT and "120 s" in early["reason"]
    assert early["good_requests_needed"] > 0
    stage.traffic((200, 0), (200, 0), seconds=120)
    stage.heartbeat()
    ready = await outlook(stage)
    assert (ready["action"], ready["code"]) == (Action.PROMOTE, "evidence_good")
    assert ready["good_requests_needed"] == 0
    stage.traffic((60, 60), (60, 0))
    assert (await outlook(stage))["action"] == Action.ROLL_BACK


async def test_a_canary_that_does_not_load_would_be_rolled_back(stage: Stage) -> None:
    stage.canary()
    canary = stage.store.state().canary
    assert canary is not None
    stage.heartbeat(failed={canary.digest: "no such operator"})
    told = await outlook(stage)
    assert (told["action"], told["code"]) == (Action.ROLL_BACK, "load_failure")
    assert "no such operator" in told["reason"]


async def test_another_share_goes_on_with_the_evidence(stage: Stage) -> None:
    stage.canary()
    stage.traffic((20, 0), (20, 0))
    seq = stage.store.state().seq
    async with stage.client() as client:
        stale = await client.post(
            "/api/rollout/share", json={"share": 0.25, "reason": "x", "expect": seq - 1}
        )
        wrong = await client.post("/api/rollout/share", json={"share": 1.5, "reason": "x"})
        done = await client.post(
            "/api/rollout/share", json={"share": 0.25, "reason": "quiet hours", "expect": seq}
        )
        state = (await client.get("/api/state")).json()
    assert (stale.status_code, wrong.status_code, done.status_code) == (409, 400, 200)
    assert state["rollout"]["share"] == 0.25
    assert state["rollout"]["evidence"]["numbers"]["canary_requests"] == 20, "no evidence is lost"
    assert "quiet hours" in done.json()["entry"]["why"]


async def test_distributions_say_how_long_answers_take_and_what_is_in_them(stage: Stage) -> None:
    stage.canary()
    fast, slow = latency_bin(0.05), latency_bin(0.4)
    stage.traffic(
        (100, 0),
        (100, 0),
        latency={
            Arm.CANARY: lambda n: {fast: n - 6, slow: 6},
            Arm.CURRENT: lambda n: {fast: n},
        },
        signals={
            Arm.CANARY: lambda n: {Signal.DOMINANT_CLASS: {"destroyed": n}},
            Arm.CURRENT: lambda n: {Signal.DOMINANT_CLASS: {"destroyed": 40, "no-damage": n - 40}},
        },
    )
    async with stage.client() as client:
        found = (await client.get("/api/rollouts/1/distributions")).json()
        unknown = await client.get("/api/rollouts/2/distributions")
    canary, current = found["percentiles"]["canary"], found["percentiles"]["current"]
    assert 0.05 <= canary["p50"] < 0.06 and 0.4 <= canary["p95"] < 0.48
    assert 0.05 <= current["p95"] < 0.06
    assert sum(bar["canary"] for bar in found["latency"]) == 100
    edges = [bar["seconds"] for bar in found["latency"]]
    assert edges == sorted(edges) and len(edges) == slow - fast + 1, "bars without a gap"
    assert found["answers"]["dominant_class"] == [
        {"category": "destroyed", "canary": 100, "current": 40},
        {"category": "no-damage", "canary": 0, "current": 60},
    ]
    assert unknown.status_code == 404


async def test_small_files_of_a_version_are_shown_and_its_model_is_not(stage: Stage) -> None:
    async with stage.client() as client:
        model = await client.get("/api/versions/1/files/model.onnx")
        outside = await client.get("/api/versions/1/files/../../journal/0000000001.json")
        nobody = await client.get("/api/versions/9/files/results.csv")
        gates = (await client.get("/api/versions/1/gates")).json()
    assert (model.status_code, outside.status_code, nobody.status_code) == (404, 404, 404)
    assert gates == {"version": 1, "golden": []}


async def test_a_policy_is_checked_line_by_line(stage: Stage) -> None:
    text = "description: a slow start\nsteps: [0.05, 0.25]\nmax_eror_rate: 0.05\n"
    async with stage.client() as client:
        wrong = (await client.post("/api/policies/check", json={"text": text})).json()
        right = (
            await client.post("/api/policies/check", json={"text": "share: 0.25", "name": "quarter"})
        ).json()
        silent = await client.post("/api/policies/preview", json={"text": "share: 0.25"})
    assert wrong["policy"] is None
    (mistake,) = wrong["mistakes"]
    assert (mistake["line"], mistake["column"]) == (3, 1) and "max_error_rate" in mistake["words"]
    assert (right["policy"]["name"], right["policy"]["share"], right["mistakes"]) == ("quarter", 0.25, [])
    assert silent.status_code == 500 and "serinus simulate" in silent.json()["remedy"]


async def test_a_policy_is_previewed_by_simulation_in_a_process_of_its_own(tmp_path: Path) -> None:
    simulation = tmp_path / "simulate.py"
    simulation.write_text(SIMULATION)
    (tmp_path / "stage").mkdir()
    stage = Stage(tmp_path / "stage", simulate=(sys.executable, str(simulation)))
    async with stage.client() as client:
        found = await client.post("/api/policies/preview", json={"text": "share: 0.25", "name": "quarter"})
        wrong = await client.post("/api/policies/preview", json={"text": "shar: 0.25"})
        refused = await client.post("/api/policies/preview", json={"text": "steps: [0.5, 1]"})
    assert found.json()["truths"] == [
        {
            "scenario": "good",
            "words": "share: 0.25",
            "rolled_back": 0.01,
            "promoted": 0.99,
            "undecided": 0.0,
            "requests": None,
        }
    ]
    assert (wrong.status_code, "shar" in wrong.json()["detail"]) == (400, True)
    assert (refused.status_code, "no control arm" in refused.json()["detail"]) == (400, True)


async def test_a_preview_ends_when_nobody_waits_for_it(tmp_path: Path) -> None:
    endless = tmp_path / "endless.py"
    endless.write_text(
        "import os, sys, time\nprint(os.getpid(), file=open(sys.argv[1], 'w'))\ntime.sleep(600)\n"
    )
    previewer = Previewer((sys.executable, str(endless), str(tmp_path / "pid")))

    async def gone() -> bool:
        return (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text())

    with pytest.raises(Unavailable, match="left"):
        await previewer.preview("any", "share: 0.25", gone)
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
