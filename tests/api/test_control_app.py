"""The documented endpoints and the control API, over a real store and real jobs."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serinus.api.tokens import Tokens
from serinus.core.enums import ImportRefusal, JobState, RolloutPhase
from serinus.core.errors import Unavailable
from serinus.jobs.model import PrepareJob, TrainJob
from serinus.rollout.events import ImportRejected, Promoted
from tests.api.inference import PNG, inference
from tests.api.stage import NOON, Stage, zipped
from tests.control.golden import write_golden

pytestmark = pytest.mark.anyio


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path, inference=inference(), max_upload_bytes=200_000, max_predict_bytes=100_000)
    yield stage
    stage.end_jobs()


async def upload(stage: Stage, data: bytes = zipped(), name: str = "pairs.zip") -> dict[str, Any]:
    async with stage.client() as client:
        reply = await client.post("/upload-dataset", files={"file": (name, data)})
    assert reply.status_code == 200, reply.text
    return reply.json()


def uploads(stage: Stage) -> list[Path]:
    folder = stage.data / "uploads"
    return sorted(folder.iterdir()) if folder.exists() else []


# ---- health and inference


async def test_healthz_answers_any_host(stage: Stage) -> None:
    async with stage.client(host="10.0.0.9:8080") as client:
        reply = await client.get("/healthz")
    assert (reply.status_code, reply.json()) == (200, {"ok": True})


async def test_infer_status_is_what_the_inference_service_says(stage: Stage) -> None:
    async with stage.client() as client:
        reply = await client.get("/infer-status")
    assert reply.json() == {"current_model": True, "canary_model": False, "deployment_mode": "production"}


async def test_infer_status_says_that_nobody_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    stage = Stage(tmp_path, infer_url=f"http://127.0.0.1:{port}")
    async with stage.client() as client:
        reply = await client.get("/infer-status")
        predicted = await client.post("/api/predict", files={"pre_disaster": PNG, "post_disaster": PNG})
    assert reply.status_code == predicted.status_code == 503
    assert f"127.0.0.1:{port} does not answer" in reply.json()["error"]
    assert reply.headers["retry-after"]


async def test_a_pair_is_handed_on_and_its_answer_back(stage: Stage) -> None:
    async with stage.client() as client:
        good = await client.post(
            "/api/predict?overlay=none", files={"pre_disaster": PNG, "post_disaster": PNG}
        )
        half = await client.post("/api/predict", files={"pre_disaster": PNG})
    assert good.status_code == 200
    assert good.json()["model_used"] == "canary"
    assert good.json()["overlay"] == "none"
    assert good.json()["request_id"] == good.headers["x-request-id"]
    assert (half.status_code, half.json()["error"]) == (400, "post_disaster is missing.")


async def test_a_pair_over_the_limit_is_refused(stage: Stage) -> None:
    async with stage.client() as client:
        reply = await client.post("/api/predict", files={"pre_disaster": b"x" * 200_000})
    assert reply.status_code == 413
    assert reply.json()["error"]


# ---- uploads


async def test_an_upload_is_stored_under_a_name_of_our_own(stage: Stage) -> None:
    data = zipped(bytes(range(256)) * 300)
    reply = await upload(stage, data)
    assert reply["status"] == "ok"
    path = Path(reply["path"])
    assert path.parent == stage.data / "uploads"
    assert path.read_bytes() == data
    note = json.loads(path.with_suffix(".json").read_bytes())
    assert (note["name"], note["size"], note["time"]) == ("pairs.zip", len(data), NOON)
    assert [each.suffix for each in uploads(stage)] == [".json", ".zip"]


@pytest.mark.parametrize(
    "name",
    ["../../../etc/cron.d/evil.zip", "/etc/passwd", "..\\..\\evil.zip", "a\0b.zip", "x" * 4000, "ä 雪.zip"],
)
async def test_a_file_name_is_never_a_path(stage: Stage, name: str) -> None:
    before = {path for path in stage.root.rglob("*") if stage.data not in path.parents}
    reply = await upload(stage, name=name)
    assert Path(reply["path"]).parent == stage.data / "uploads"
    assert Path(reply["path"]).stem == reply["id"]
    assert len(uploads(stage)) == 2
    assert {path for path in stage.root.rglob("*") if stage.data not in path.parents} == before


@pytest.mark.parametrize("declared", [True, False])
async def test_an_upload_over_the_limit_is_refused_and_leaves_nothing(stage: Stage, declared: bool) -> None:
    async def form() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.zip"\r\n\r\n'
        for _ in range(40):
            yield b"x" * 10_000
        yield b"\r\n--b--\r\n"

    async with stage.client() as client:
        if declared:
            reply = await client.post("/upload-dataset", files={"file": b"x" * 400_000})
        else:
            kind = {"content-type": "multipart/form-data; boundary=b"}
            reply = await client.post("/upload-dataset", content=form(), headers=kind)
    assert reply.status_code == 413
    assert "MAX_UPLOAD_MB" in reply.text
    assert [path for path in uploads(stage) if path.suffix == ".zip"] == []
    assert [path for path in uploads(stage) if path.suffix == ".part"] == []


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("multipart/form-data; boundary=b", b"--b--\r\n", "no part `file`"),
        ("multipart/form-data; boundary=b", b"nonsense", "cannot be read"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf a fi',
            "cut short",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\r\n--b--\r\n',
            "is empty",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nPK, hi\r\n--b--\r\n',
            "not a zip archive",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="data"; filename="a"\r\n\r\nx\r\n--b--\r\n',
            "no part `file`",
        ),
        ("application/json", b"{}", "no form upload"),
        ("multipart/form-data", b"", "no form upload"),
    ],
)
async def test_a_broken_upload_is_the_callers_fault(stage: Stage, kind: str, body: bytes, words: str) -> None:
    async with stage.client() as client:
        reply = await client.post("/upload-dataset", content=body, headers={"content-type": kind})
    assert reply.status_code == 400
    assert words in reply.json()["error"]
    assert reply.json().get("remedy") or words == "cannot be read"
    assert uploads(stage) == []


async def test_two_uploads_at_once_do_not_mix(stage: Stage) -> None:
    sent = [zipped(bytes([n]) * 50_000) for n in range(6)]
    replies = await asyncio.gather(*(upload(stage, data, "same.zip") for data in sent))
    assert [Path(reply["path"]).read_bytes() for reply in replies] == sent


# ---- jobs


async def test_preprocess_imports_the_named_upload(stage: Stage) -> None:
    first = await upload(stage, zipped(b"one"), "one.zip")
    stage.now += 1
    await upload(stage, zipped(b"two"), "two.zip")
    async with stage.client() as client:
        for name in (first["path"], first["id"], "one.zip"):
            reply = await client.post("/trigger-preprocess", data={"dataset": name})
            assert reply.status_code == 202
            body = reply.json()
            assert body["status"] == "started"
            assert body["dataset"] == name
            spec = stage.jobs.describe(body["job"]).spec
            assert spec == PrepareJob(upload=first["path"], name="one.zip")


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "/etc/passwd", "nothing.zip"])
async def test_preprocess_of_nothing_is_refused(stage: Stage, name: str) -> None:
    async with stage.client() as client:
        reply = await client.post("/trigger-preprocess", data={"dataset": name})
    assert reply.status_code == 404
    assert "upload" in reply.json()["error"].lower() or "uploaded" in reply.json()["error"]
    assert stage.jobs.list() == ()


async def test_the_documented_path_is_upload_then_train(stage: Stage) -> None:
    stored = await upload(stage)
    async with stage.client() as client:
        reply = await client.post("/trigger-train", data={"epochs": "5", "batch": "4"})
    assert reply.status_code == 202
    body = reply.json()
    assert body["config"] == {"model": "compact", "epochs": 5, "img_size": 640, "batch": 4}
    assert body["status"] == "started"
    assert stage.jobs.describe("train").spec == TrainJob(epochs=5, batch=4, upload=stored["path"])


async def test_training_takes_what_is_newest_or_named(stage: Stage) -> None:
    stored = await upload(stage)
    stage.dataset("ds-0123456789ab", source=stored["sha256"])
    async with stage.client() as client:
        prepared = await client.post("/trigger-train", data={"note": "a note", "seed": "7"})
        named = await client.post("/trigger-train", data={"data": stored["id"]})
        missing = await client.post("/trigger-train", data={"data": "../../etc"})
    assert stage.jobs.describe(prepared.json()["job"]).spec == TrainJob(
        dataset="ds-0123456789ab", note="a note", seed=7
    )
    assert stage.jobs.describe(named.json()["job"]).spec == TrainJob(upload=stored["path"])
    assert missing.status_code == 404


async def test_an_upload_that_came_during_another_import_is_newer_than_its_data_set(stage: Stage) -> None:
    stage.now = 1000.0  # older than the files of the data set that follows
    first = await upload(stage)
    stage.now += 1
    second = await upload(stage, zipped(b"another"))
    stage.dataset("ds-0123456789ab", source=first["sha256"])
    async with stage.client() as client:
        job = (await client.post("/trigger-train")).json()["job"]
    assert stage.jobs.describe(job).spec == TrainJob(upload=second["path"])


async def test_what_was_imported_for_a_golden_set_is_not_trained_on(stage: Stage, tmp_path: Path) -> None:
    stored = await upload(stage)
    stage.dataset("ds-test", source=stored["sha256"])
    write_golden(tmp_path / "golden", pairs=2)
    stage.store.add_golden("coast", tmp_path / "golden", actor="alice")
    async with stage.client() as client:
        nothing = await client.post("/trigger-train")
        stage.dataset("ds-0123456789ab")
        os.utime(stage.data / "datasets" / "ds-0123456789ab" / "manifest.json", (1, 1))
        job = (await client.post("/trigger-train")).json()["job"]
        named = (await client.post("/trigger-train", data={"data": "ds-test"})).json()["job"]
    assert nothing.status_code == 400
    assert stage.jobs.describe(job).spec == TrainJob(dataset="ds-0123456789ab")
    assert stage.jobs.describe(named).spec == TrainJob(dataset="ds-test")


async def test_the_form_says_what_a_training_uses(stage: Stage, tmp_path: Path) -> None:
    async def said() -> str:
        async with stage.client() as client:
            state = (await client.get("/api/state")).json()
            assert f'<option value="">{state["newest_data"]}</option>' in (await client.get("/training")).text
        return str(state["newest_data"])

    assert await said() == "Nothing to train on yet"
    stored = await upload(stage, name="h.zip")
    assert await said() == "Newest upload: h.zip"
    stage.dataset("ds-test", source=stored["sha256"])
    assert await said() == "Newest data set: ds-test"
    write_golden(tmp_path / "golden", pairs=2)
    stage.store.add_golden("coast", tmp_path / "golden", actor="alice")
    assert await said() == "Nothing to train on yet"
    stage.dataset("ds-0123456789ab")
    os.utime(stage.data / "datasets" / "ds-0123456789ab" / "manifest.json", (1, 1))
    assert await said() == "Newest data set: ds-0123456789ab"
    stage.now += 1
    await upload(stage, zipped(b"another"), "i.zip")
    assert await said() == "Newest upload: i.zip"


async def test_training_on_nothing_and_on_nonsense_is_refused(stage: Stage) -> None:
    async with stage.client() as client:
        nothing = await client.post("/trigger-train")
        await upload(stage)
        for wrong in ({"epochs": "0"}, {"epochs": "many"}, {"batch": "-1"}, {"seed": "1e3"}):
            reply = await client.post("/trigger-train", data=wrong)
            assert reply.status_code == 400
            assert next(iter(wrong)) in reply.json()["error"]
    assert nothing.status_code == 400
    assert "nothing to train on" in nothing.json()["error"]
    assert stage.jobs.list() == ()


async def test_a_job_is_followed_and_cancelled(stage: Stage) -> None:
    await upload(stage)
    async with stage.client() as client:
        job = (await client.post("/trigger-train")).json()["job"]
        await stage.until(lambda: stage.jobs.describe(job).progress.step == 4)
        status = (await client.get("/job-status/train")).json()
        logs = (await client.get(f"/job-logs/{job}")).json()
        shown = (await client.get("/api/state")).json()["jobs"]
        cancelled = await client.post(f"/api/jobs/{job}/cancel")
        await stage.until(lambda: not stage.jobs.describe(job).active)
        after = (await client.get(f"/job-status/{job}")).json()
        again = await client.post(f"/api/jobs/{job}/cancel")
    assert status == {"active": 1, "succeeded": 0, "failed": 0, "conditions": []}
    assert "epoch 4/10" in logs["logs"]
    assert logs["training_summary"]["epochs_completed"] == 4
    assert "preprocess_summary" not in logs
    assert (shown[0]["id"], shown[0]["state"], shown[0]["fraction"]) == (job, JobState.RUNNING, 0.4)
    assert "epoch 4/10" in shown[0]["log"]
    assert cancelled.status_code == 200
    assert (after["active"], after["failed"], after["conditions"][0]["reason"]) == (0, 1, "Cancelled")
    assert again.status_code == 409


@pytest.mark.parametrize("job", ["train", "preprocess", "train-0123456789ab", "..%2f..%2fetc", "nonsense"])
async def test_an_unknown_job_is_not_found(stage: Stage, job: str) -> None:
    async with stage.client() as client:
        for path in ("/job-status", "/job-logs"):
            reply = await client.get(f"{path}/{job}")
            assert reply.status_code == 404
            assert reply.json()["error"]
        assert (await client.post(f"/api/jobs/{job}/cancel")).status_code == 404


# ---- state


async def test_the_state_of_an_empty_store(stage: Stage) -> None:
    async with stage.client() as client:
        state = (await client.get("/api/state")).json()
        versions = (await client.get("/api/versions")).json()
    assert state["headline"]["mode"] == "empty"
    assert (state["seq"], state["current"], state["canary"], state["rollout"]) == (0, None, None, None)
    assert versions == {"versions": []}


async def test_the_state_tells_the_rollout_with_its_evidence(stage: Stage) -> None:
    stage.base()
    stage.canary("better roofs")
    stage.traffic((40, 1), (44, 0))
    stage.heartbeat()
    stage.routes(clock=7.5)
    async with stage.client() as client:
        state = (await client.get("/api/state")).json()
    rollout = state["rollout"]
    assert state["headline"]["mode"] == "canary"
    assert (state["current"]["version"], state["canary"]["version"]) == (1, 2)
    assert state["canary"]["note"] == "better roofs"
    assert state["canary"]["health"] == state["current"]["health"] == "loaded"
    assert (rollout["phase"], rollout["share"], rollout["clock"]) == ("canary", 0.5, 7.5)
    assert rollout["seconds_left"] == 172.5
    arms = {arm["arm"]: (arm["requests"], arm["failures"]) for arm in rollout["arms"]}
    assert arms == {"canary": (40, 1), "current": (44, 0)}
    evidence = rollout["evidence"]
    assert 0 < evidence["harm"] < evidence["harm_limit"] == 200
    assert 0 < evidence["good"] < evidence["good_limit"] == 20
    assert evidence["blockers"]
    assert state["replicas"][0]["loaded"] == [1, 2]


async def test_a_canary_that_does_not_run_is_told(stage: Stage) -> None:
    stage.base()
    stage.canary()
    canary = stage.store.state().canary
    assert canary is not None
    stage.heartbeat(failed={canary.digest: "no such operator"})
    async with stage.client() as client:
        state = (await client.get("/api/state")).json()
    assert state["canary"]["health"] == "failed"
    assert state["canary"]["failed_on"] == {"infer-7f3a": "no such operator"}
    stage.now += 60
    async with stage.client() as client:
        state = (await client.get("/api/state")).json()
    assert state["current"]["health"] == "loading"
    assert state["replicas"][0]["fresh"] is False


async def test_damaged_evidence_is_a_problem_that_is_told(stage: Stage) -> None:
    stage.base()
    stage.canary()
    stage.traffic((5, 0), (5, 0))
    (path,) = (stage.store.root / "evidence").rglob("*.json")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-20])
    async with stage.client() as client:
        reply = await client.get("/api/state")
    assert reply.status_code == 200
    assert str(path) in reply.json()["problems"][0]


async def test_versions_and_one_version(stage: Stage) -> None:
    stage.base()
    stage.canary("second")
    async with stage.client() as client:
        versions = (await client.get("/api/versions")).json()["versions"]
        detail = (await client.get("/api/versions/2")).json()
        missing = await client.get("/api/versions/3")
        nonsense = await client.get("/api/versions/latest")
    assert [each["version"] for each in versions] == [2, 1]
    assert detail["version"]["note"] == "second"
    assert detail["manifest"]["lineage"]["trainer"] == "compact"
    assert detail["manifest"]["metrics"]["map50"] == 0.741
    assert detail["signature"]["standing"] == "unsigned"
    assert missing.status_code == 404
    assert nonsense.status_code == 400


async def test_a_rejected_import_is_in_the_history_of_the_api_and_the_page(stage: Stage) -> None:
    stage.base()
    body = ImportRejected(source="a" * 32, code=ImportRefusal.FOREIGN_CLASSES)
    stage.store.append(body, actor="import", reason="os.system would have to be run. Export it.")
    stage.canary("next")
    async with stage.client() as client:
        entries = (await client.get("/api/history")).json()["entries"]
        page = (await client.get("/")).text
    told = entries[1]
    assert (told["kind"], told["tone"], told["who"]) == ("import_rejected", "bad", "import")
    assert told["what"] == "a model from elsewhere was not imported (foreign_classes)"
    assert told["why"] == "os.system would have to be run. Export it."
    assert "A model from elsewhere was not imported" in page and "os.system would have" in page


async def test_history_is_paged_oldest_first(stage: Stage) -> None:
    stage.base()
    stage.canary("a")
    stage.traffic((9, 9), (9, 0))
    stage.decide("roll_back", "9 of 9 failed")
    async with stage.client() as client:
        first = (await client.get("/api/history", params={"limit": 3})).json()
        rest = (await client.get("/api/history", params={"after": first["next"]})).json()
        wrong = await client.get("/api/history", params={"limit": 0})
    assert [entry["seq"] for entry in first["entries"]] == [1, 2, 3]
    assert [entry["seq"] for entry in rest["entries"]] == [4, 5]
    assert rest.get("next") is None
    last = rest["entries"][-1]
    assert (last["kind"], last["tone"], last["who"], last["why"]) == (
        "rolled_back",
        "bad",
        "controller",
        "9 of 9 failed",
    )
    assert last["what"] == "version 2: rolled back (errors)"
    assert last["numbers"]["canary_failures"] == 9
    assert last["event"]["body"]["kind"] == "rolled_back"
    assert wrong.status_code == 400


# ---- decisions


async def decide(stage: Stage, action: str, *, status: int = 200, **body: Any) -> dict[str, Any]:
    async with stage.client() as client:
        reply = await client.post(f"/api/rollout/{action}", json={"reason": "because", **body})
    assert reply.status_code == status, reply.text
    return reply.json()


async def test_pause_resume_roll_back(stage: Stage) -> None:
    stage.base()
    stage.canary()
    reply = await decide(stage, "pause", expect=stage.store.state().seq, actor="alice")
    assert (reply["status"], reply["seq"]) == ("ok", 5)
    assert (reply["entry"]["who"], reply["entry"]["why"]) == ("alice via ui", "because")
    rollout = stage.store.state().rollout
    assert rollout is not None
    assert rollout.phase is RolloutPhase.PAUSED
    await decide(stage, "resume")
    await decide(stage, "rollback")
    assert stage.store.state().current == 1
    assert stage.store.state().rollout is None


async def test_a_rejected_version_is_started_again_and_takes_the_place_of_another(stage: Stage) -> None:
    stage.base()
    stage.canary()
    await decide(stage, "rollback")
    stage.canary()
    old = stage.store.state().seq
    reply = await decide(stage, "start", version=2, expect=old, actor="alice")
    assert (reply["entry"]["who"], reply["entry"]["why"]) == ("alice via ui", "because")
    rollout, last = stage.store.state().rollout, stage.store.state().last
    assert rollout is not None and last is not None
    assert (rollout.version, rollout.phase, rollout.policy) == (
        2,
        RolloutPhase.VERIFYING,
        stage.deps.settings.policy,
    )
    assert (last.version, last.phase) == (3, RolloutPhase.SUPERSEDED)
    await decide(stage, "start", version=3, expect=old, status=409)
    await decide(stage, "start", version=9, status=404)
    await decide(stage, "start", version=0, status=400)
    await decide(stage, "start", status=400)
    assert stage.store.state().rollouts == 3


async def test_promotion_against_the_evidence_needs_confirmation(stage: Stage) -> None:
    stage.base()
    stage.canary()
    stage.traffic((5, 0), (5, 0))
    refused = await decide(stage, "promote", status=409)
    assert "not ready to be promoted" in refused["error"]
    await decide(stage, "promote", confirm=True)
    assert stage.store.state().current == 2
    (event,) = stage.store.events(4)
    assert isinstance(event.body, Promoted)
    assert event.body.override
    undone = await decide(stage, "undo")
    assert undone["entry"]["kind"] == "undone"
    assert stage.store.state().current == 1


async def test_an_undo_goes_back_to_any_version_that_was_current(stage: Stage) -> None:
    stage.base()
    for _ in range(2):
        stage.canary()
        stage.decide("promote", "the evidence is good")
    async with stage.client() as client:
        listed = (await client.get("/api/versions")).json()["versions"]
    assert {one["version"]: one["can_undo"] for one in listed} == {3: False, 2: True, 1: True}
    await decide(stage, "undo", status=409, version=3)
    await decide(stage, "undo", version=1)
    assert stage.store.state().current == 1
    await decide(stage, "undo", status=409)
    await decide(stage, "undo", version=2)
    assert stage.store.state().current == 2


async def test_a_decision_on_an_old_page_is_refused(stage: Stage) -> None:
    stage.base()
    stage.canary()
    old = stage.store.state().seq
    stage.decide("hold", "too little evidence")
    for action in ("promote", "rollback", "pause", "resume", "undo"):
        reply = await decide(stage, action, status=409, expect=old, confirm=True)
        assert reply["error"]
    assert stage.store.state().seq == old + 1


@pytest.mark.parametrize("action", ["promote", "rollback", "undo", "pause", "resume"])
async def test_decisions_without_a_rollout_are_refused(stage: Stage, action: str) -> None:
    stage.base()
    reply = await decide(stage, action, status=409)
    assert reply["type"] == "/errors/conflict"
    assert stage.store.state().seq == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"expect": 3}',
        b'{"reason": "  "}',
        b'{"reason": "x", "force": true}',
        b"[1]",
        b'{"reason":' + b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"reason": "\xff"}',
    ],
)
async def test_a_decision_must_be_readable_and_have_a_reason(stage: Stage, body: bytes) -> None:
    stage.base()
    stage.canary()
    async with stage.client() as client:
        reply = await client.post("/api/rollout/rollback", content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]
    assert stage.store.state().rollout is not None


# ---- guards

CHANGES = [
    "/api/rollout/rollback",
    "/upload-dataset",
    "/trigger-train",
    "/api/jobs/train/cancel",
    "/api/predict",
]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"host": "evil.example"},
    ],
)
async def test_foreign_pages_change_nothing(stage: Stage, headers: dict[str, str]) -> None:
    stage.base()
    stage.canary()
    async with stage.client() as client:
        for path in CHANGES:
            reply = await client.post(path, json={"reason": "x"}, headers=headers)
            assert reply.status_code == 403
            assert reply.json()["error"]
    assert stage.store.state().seq == 4


async def test_own_pages_and_tools_may_change(stage: Stage) -> None:
    stage.base()
    stage.canary()
    async with stage.client() as client:
        own = {"origin": "http://127.0.0.1:8080", "sec-fetch-site": "same-origin"}
        reply = await client.post("/api/rollout/pause", json={"reason": "x"}, headers=own)
    assert reply.status_code == 200


async def test_a_rebound_name_reads_nothing(stage: Stage) -> None:
    async with stage.client(host="rebound.example") as client:
        for path in ("/", "/api/state", "/api/history", "/api/events"):
            assert (await client.get(path)).status_code == 403


async def test_a_change_from_beyond_loopback_needs_the_token(tmp_path: Path) -> None:
    stage = Stage(tmp_path, tokens=Tokens(operator="s3cret"), allowed_hosts=("serinus.lan",))
    stage.base()
    stage.canary()
    async with stage.client("192.0.2.7", "serinus.lan") as client:
        read = await client.get("/api/state")
        without = await client.post("/api/rollout/pause", json={"reason": "x"})
        wrong = await client.post(
            "/api/rollout/pause", json={"reason": "x"}, headers={"authorization": "Bearer s3cre"}
        )
        right = await client.post(
            "/api/rollout/pause", json={"reason": "x"}, headers={"authorization": "Bearer s3cret"}
        )
    codes = [reply.status_code for reply in (read, without, wrong, right)]
    assert codes == [200, 401, 401, 200]


# ---- events


def read_event(message: bytes) -> tuple[str, dict[str, Any]]:
    head, data = message.decode().strip().split("\n", 1)
    return head.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def test_an_appended_event_is_streamed(stage: Stage) -> None:
    stage.base()
    board = stage.app.state.board
    async with aclosing(board.stream()) as stream:
        assert (await anext(stream)).startswith(b"retry:")
        kind, first = read_event(await anext(stream))
        assert (kind, first["state"]["headline"]["mode"]) == ("state", "production")
        stage.canary("new")
        async with asyncio.timeout(20):
            async for message in stream:
                kind, body = read_event(message)
                if kind == "state" and body["state"]["headline"]["mode"] == "canary":
                    break
        assert body["version"] > first["version"]
        stage.traffic((9, 0), (8, 0))
        async with asyncio.timeout(20):
            kind, tick = read_event(await anext(stream))
        assert kind == "tick"
        assert tick["rollout"]["evidence"]["numbers"]["canary_requests"] == 9


async def test_an_idle_stream_still_ticks(stage: Stage) -> None:
    stage.base()
    async with aclosing(stage.app.state.board.stream()) as stream, asyncio.timeout(20):
        found = [await anext(stream) for _ in range(4)]
    ticks = [read_event(message) for message in found[2:]]
    assert [kind for kind, _ in ticks] == ["tick", "tick"]
    assert len({tick["version"] for _, tick in ticks}) == 1


async def test_streams_are_bounded_and_end_when_the_server_stops(tmp_path: Path) -> None:
    stage = Stage(tmp_path, max_streams=2)
    board = stage.app.state.board
    streams = [board.stream() for _ in range(2)]
    for stream in streams:
        await anext(stream)
    with pytest.raises(Unavailable):
        await anext(board.stream())
    async with stage.client() as client:
        assert (await client.get("/api/events")).status_code == 503
    board.close()
    for stream in streams:
        async with asyncio.timeout(20):
            assert [message async for message in stream] == []
    async with stage.client() as client:  # room again; a closing board ends the stream at once
        reply = await client.get("/api/events")
    assert (reply.status_code, reply.headers["content-type"].split(";")[0]) == (200, "text/event-stream")


async def test_many_watchers_share_one_reading(tmp_path: Path) -> None:
    stage = Stage(tmp_path, poll_seconds=60.0)
    stage.base()
    board = stage.app.state.board
    looks = await asyncio.gather(*(board.look(60.0) for _ in range(20)))
    assert len({id(look.view) for look in looks}) == 1


# ---- the document


async def test_openapi_lists_every_endpoint_and_document(stage: Stage) -> None:
    async with stage.client() as client:
        api = (await client.get("/openapi.json")).json()
    assert {
        "/upload-dataset",
        "/trigger-preprocess",
        "/trigger-train",
        "/job-status/{job}",
        "/job-logs/{job}",
        "/infer-status",
        "/healthz",
        "/metrics",
        "/api/state",
        "/api/history",
        "/api/history/export",
        "/api/history/kinds",
        "/api/versions",
        "/api/versions/broken",
        "/api/versions/{n}",
        "/api/versions/{n}/gates",
        "/api/versions/{n}/files/{name}",
        "/api/events",
        "/api/rollout/promote",
        "/api/rollout/rollback",
        "/api/rollout/undo",
        "/api/rollout/pause",
        "/api/rollout/resume",
        "/api/rollout/start",
        "/api/rollout/policy",
        "/api/rollout/share",
        "/api/policies",
        "/api/policies/schema",
        "/api/policies/check",
        "/api/policies/preview",
        "/api/policies/{name}",
        "/api/rollouts",
        "/api/rollouts/{n}/explain",
        "/api/rollouts/{n}/distributions",
        "/api/rollouts/{n}/explain.svg",
        "/api/rollouts/{n}/disagreements",
        "/api/rollouts/{n}/disagreements/export",
        "/api/rollouts/{n}/disagreements/{id}",
        "/api/rollouts/{n}/disagreements/{id}/{file}",
        "/api/rollouts/{n}/disagreements/{id}/mark",
        "/api/jobs",
        "/api/jobs/{job}",
        "/api/jobs/{job}/events",
        "/api/jobs/{job}/report.html",
        "/api/jobs/{job}/result.zip",
        "/trigger-batch",
        "/trigger-evaluate",
        "/trigger-compare",
        "/api/comparisons",
        "/api/jobs/{job}/evaluation/{file}",
        "/api/jobs/{job}/cancel",
        "/api/trainers",
        "/api/datasets",
        "/api/datasets/demo",
        "/api/datasets/{dataset}",
        "/api/datasets/{dataset}/pairs",
        "/api/datasets/{dataset}/images/{sha256}.png",
        "/api/datasets/{dataset}/report",
        "/api/datasets/{dataset}/report.html",
        "/api/datasets/{dataset}/issues.csv",
        "/api/uploads",
        "/api/uploads/{upload}",
        "/api/predict",
        "/api/asking",
        "/api/asking/examples/{name}/{when}",
    } == set(api["paths"])
    schemas = set(api["components"]["schemas"])
    wanted = {part.split('"')[0] for part in json.dumps(api).split("#/components/schemas/")[1:]}
    assert wanted <= schemas
    for path, methods in api["paths"].items():
        for verb, operation in methods.items():
            assert operation.get("description") or operation.get("summary"), (verb, path)
            assert all(
                each["description"] != "Successful Response" for each in operation["responses"].values()
            )


async def test_replies_are_what_the_document_says(stage: Stage) -> None:
    from serinus.api.chronicle import HistoryPage, RolloutsPage
    from serinus.api.documents import StateView, VersionsPage
    from serinus.control.distributions import Distributions

    stage.base()
    stage.canary()
    stage.traffic((5, 1), (5, 0))
    async with stage.client() as client:
        for path, kind in (
            ("/api/state", StateView),
            ("/api/history", HistoryPage),
            ("/api/rollouts", RolloutsPage),
            ("/api/rollouts/1/distributions", Distributions),
            ("/api/versions", VersionsPage),
        ):
            msgspec.json.decode((await client.get(path)).content, type=kind)
