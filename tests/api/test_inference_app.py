"""The inference API over real worker processes, asked in-process."""

import asyncio
import base64
import io
import json
import zipfile
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from serinus.api.inference_app import build_app
from serinus.api.replica import Replica
from serinus.bootstrap.edge import coin, new_id, now
from serinus.rollout.policy import ByCookie, Policy
from serinus.serving.settings import InferenceSettings
from serinus.store import Routes, Store
from tests import models
from tests.serving.house import open_store, pair, promote, publish, roll_back, start_canary

pytestmark = pytest.mark.processes

PAIR_LIMIT = 100_000


class Service:
    """The app, its store and a client."""

    def __init__(self, client: httpx.AsyncClient, store: Store, replica: Replica) -> None:
        self.client = client
        self.store = store
        self.replica = replica

    async def until(self, condition: Callable[[], object]) -> None:
        for _ in range(4000):
            if condition():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("waited in vain")

    async def until_canary(self, version: int | None) -> None:
        snapshot = self.replica.residency

        def there() -> bool:
            canary = snapshot.snapshot.canary
            return (canary.version if canary else None) == version

        await self.until(there)

    async def predict(self, size: int = 64, **more: Any) -> httpx.Response:
        return await self.client.post("/predict", files=form(*pair(size)), **more)


def form(pre: bytes, post: bytes) -> dict[str, Any]:
    return {"pre_disaster": ("a.png", pre, "image/png"), "post_disaster": ("b.png", post, "image/png")}


@asynccontextmanager
async def service(root: Path, *, empty: bool = False, **settings: Any) -> AsyncIterator[Service]:
    store = open_store(root / "store")
    defaults = {
        "poll_seconds": 0.02,
        "slice_seconds": 0.1,
        "heartbeat_seconds": 0.1,
        "max_body_bytes": PAIR_LIMIT,
    }
    replica = Replica(
        InferenceSettings(outputs=root / "outputs", **(defaults | settings)),
        store,
        clock=now,
        new_id=new_id,
        coin=coin,
    )
    app = build_app(replica)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost:9000") as client,
    ):
        made = Service(client, store, app.state.replica)
        if not empty:
            publish(store, models.healthy(root / "first", 1), initial=True)
            await made.until(lambda: made.replica.residency.snapshot.current)
        yield made


def run(test: Callable[[Service], Awaitable[None]], root: Path, **settings: Any) -> None:
    async def inner() -> None:
        async with service(root, **settings) as made:
            await test(made)

    asyncio.run(inner())


def test_predict_gives_the_documented_members_and_ours(tmp_path: Path) -> None:
    async def test(made: Service) -> None:
        reply = (await made.predict(size=128)).json()
        assert reply["model_used"] == "current"
        digest = made.store.state().versions[1].digest
        assert reply["model"] == {"version": 1, "sha256": digest, "role": "current"}
        assert reply["image_size"] == {"width": 128, "height": 128}
        assert reply["total"] == len(reply["detections"]) == sum(reply["counts"].values()) == models.FOUND
        first = reply["detections"][0]
        assert set(first) == {"id", "cls", "class_name", "conf", "xyxy"}
        assert first["class_name"] == list(reply["counts"])[first["cls"]]
        assert [d["conf"] for d in reply["detections"]] == sorted(
            (d["conf"] for d in reply["detections"]), reverse=True
        )
        assert max(max(d["xyxy"]) for d in reply["detections"]) <= 128
        damaged = sum(d["cls"] > 0 for d in reply["detections"])
        assert reply["damaged_pct"] == round(100 * damaged / models.FOUND, 1)
        assert reply["fallback"] is False
        assert any("scaled down" in words for words in reply["warnings"])
        assert set(reply["timing_ms"]) == {"decode", "model", "overlay", "total"}
        png = base64.b64decode(reply["overlay_png_base64"])
        assert cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) is not None
        assert "verify on the ground" in reply["notice"]

    run(test, tmp_path)


def test_the_overlay_can_be_left_out_or_be_a_jpeg(tmp_path: Path) -> None:
    async def test(made: Service) -> None:
        for none in (
            await made.predict(params={"overlay": "none"}),
            await made.predict(data={"overlay": "none"}),
        ):
            assert not [name for name in none.json() if name.startswith("overlay")]
        jpeg = (await made.predict(params={"overlay": "jpeg"})).json()
        assert base64.b64decode(jpeg["overlay_jpeg_base64"]).startswith(b"\xff\xd8")
        assert "overlay_png_base64" not in jpeg

    run(test, tmp_path)


def test_bad_input_is_a_4xx_with_words_and_counts_against_nobody(tmp_path: Path) -> None:
    good, small = pair(64), pair(32)
    lie = bytearray(good[0])
    lie[16:24] = (9000).to_bytes(4, "big") * 2  # a header of 81 million pixels
    lie[29:33] = zlib.crc32(lie[12:29]).to_bytes(4, "big")
    cases: list[tuple[int, str, dict[str, Any]]] = [
        (400, "pre_disaster", {"files": form(b"no picture", good[1])}),
        (400, "post_disaster", {"files": form(good[0], good[1][:300])}),
        (400, "post_disaster", {"files": {"pre_disaster": ("a", good[0])}}),
        (400, "empty", {"files": form(good[0], b"")}),
        (400, "size", {"files": form(good[0], small[1])}),
        (413, "pre_disaster", {"files": form(bytes(lie), good[1])}),
        (413, "larger than", {"files": form(good[0], bytes(PAIR_LIMIT))}),
        (400, "overlay", {"files": form(*good), "params": {"overlay": "gif"}}),
        (400, "overlay", {"files": form(*good), "data": {"overlay": "gif"}}),
        (400, "form", {"json": {"pre_disaster": "x"}}),
        (
            400,
            "form",
            {"content": b"--x\r\nnot a form", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        ),
        (400, "form", {"content": b"", "headers": {"content-type": "multipart/form-data"}}),
        (400, "form", {}),
        (403, "origin", {"files": form(*good), "headers": {"origin": "http://evil.example"}}),
    ]

    async def test(made: Service) -> None:
        version = publish(made.store, models.healthy(tmp_path / "second", 2))
        rollout = start_canary(made.store, version, share=1.0)
        await made.until_canary(version)
        for status, words, request in cases:
            reply = await made.client.post("/predict", **request)
            body = reply.json()
            assert (reply.status_code, reply.headers["content-type"]) == (
                status,
                "application/problem+json",
            ), body
            assert words in body["error"].lower()
            assert body["error"] == body["detail"]
            assert body["status"] == status
            assert body["request_id"] == reply.headers["x-request-id"]
        assert (await made.client.get("/errors/invalid-input")).status_code == 200
        await made.predict()

        def counted() -> int:
            found = made.store.new_observations(rollout, {})
            return sum(cell.successes + cell.failures for _, _, slice_ in found for cell in slice_)

        await made.until(counted)
        assert counted() == 1

    run(test, tmp_path)


def test_a_failing_canary_is_answered_by_current(tmp_path: Path) -> None:
    async def test(made: Service) -> None:
        version = publish(made.store, models.raising(tmp_path / "bad"))
        start_canary(made.store, version, share=1.0)
        await made.until_canary(version)
        reply = await made.predict()
        assert reply.status_code == 200
        assert (reply.json()["model_used"], reply.json()["fallback"]) == ("current", True)
        text = (await made.client.get("/metrics")).text
        assert 'serinus_errors_total{kind="exception",model_version="2",role="canary"} 1.0' in text
        assert 'serinus_requests_total{model_version="2",outcome="failed",role="canary"} 1.0' in text
        assert "serinus_canary_share 1.0" in text

    run(test, tmp_path)


def test_current_failing_is_a_502_that_says_so(tmp_path: Path) -> None:
    async def test(made: Service) -> None:
        publish(made.store, models.raising(tmp_path / "bad"), initial=True)
        await made.until(lambda: made.replica.residency.snapshot.current)
        reply = await made.predict()
        assert reply.status_code == 502
        assert "failed on this pair" in reply.json()["error"]

    run(test, tmp_path, empty=True)


def test_before_a_version_is_loaded(tmp_path: Path) -> None:
    async def test(made: Service) -> None:
        assert (await made.client.get("/healthz")).json() == {"ok": True}
        ready = await made.client.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        reply = await made.predict()
        assert reply.status_code == 503
        assert int(reply.headers["retry-after"]) >= 1
        status = (await made.client.get("/model-status")).json()
        assert (status["current_model"], status["deployment_mode"]) == (False, "production")

    run(test, tmp_path, empty=True)


def test_a_full_service_says_when_to_come_back(tmp_path: Path) -> None:
    async def test(made: Service) -> None:
        reply = await made.predict()
        assert reply.status_code == 503
        assert reply.headers["retry-after"] == "1"

    run(test, tmp_path, max_requests=0)


DOCUMENTED = {
    "fresh": {"deployment_mode", "current_model", "canary_model"},
    "canary": {
        "current_model",
        "canary_model",
        "deployment_mode",
        "canary_elapsed_minutes",
        "ready_for_promotion",
        "canary_version",
    },
}
ALL = DOCUMENTED["canary"]


def documented(status: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in status.items() if name in ALL}


def test_model_status_tells_the_documented_story(tmp_path: Path) -> None:
    async def test(made: Service) -> None:
        async def status() -> dict[str, Any]:
            return documented((await made.client.get("/model-status")).json())

        fresh = {"current_model": True, "canary_model": False, "deployment_mode": "production"}
        assert await status() == fresh
        whole = (await made.client.get("/model-status")).json()
        (first,) = whole["loaded"]
        assert (whole["device"], first["version"], first["workers"]) == ("cpu", 1, 1)
        assert first["batching"]["why"]
        assert {"1", "2"} <= set(first["batching"]["measured_ms"])

        version = publish(made.store, models.healthy(tmp_path / "second", 2))
        rollout = start_canary(made.store, version)
        await made.until_canary(version)
        canary = await status()
        stamp = canary["canary_version"]["timestamp"]
        assert len(stamp) == len("2024-01-15T10:30:00")
        assert canary == {
            "current_model": True,
            "canary_model": True,
            "deployment_mode": "canary",
            "canary_elapsed_minutes": 0.0,
            "ready_for_promotion": False,
            "canary_version": {"version": 2, "timestamp": stamp},
        }
        assert list(canary) == [
            "current_model",
            "canary_model",
            "deployment_mode",
            "canary_elapsed_minutes",
            "ready_for_promotion",
            "canary_version",
        ]
        made.store.put_routes(Routes(seq=1, rollout=rollout, clock=90.0, window_seconds=180.0))
        assert (await status())["canary_elapsed_minutes"] == 1.5
        made.store.put_routes(Routes(seq=1, rollout=rollout, clock=181.0, window_seconds=180.0))
        assert (await status())["ready_for_promotion"] is True

        promote(made.store, rollout, version)
        await made.until_canary(None)
        assert await status() == fresh | {"ready_for_promotion": True}

        third = publish(made.store, models.healthy(tmp_path / "third", 3))
        rollout = start_canary(made.store, third)
        await made.until_canary(third)
        roll_back(made.store, rollout, third)
        await made.until_canary(None)
        assert await status() == fresh

    run(test, tmp_path)


def archive(members: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as out:
        for name, content in members.items():
            out.writestr(name, content)
    return data.getvalue()


def test_one_bad_pair_never_fails_the_batch(tmp_path: Path) -> None:
    members = {"root/readme.txt": b"hello", "__MACOSX/._x.png": b"x"}
    for number in range(3):
        pre, post = pair(64, seed=number)
        members[f"root/test/images/flood_0000000{number}_pre_disaster.png"] = pre
        members[f"root/test/images/flood_0000000{number}_post_disaster.png"] = post
    members["root/test/images/flood_00000001_post_disaster.png"] = b"broken"
    members["root/test/images/=cmd_00000007_pre_disaster.png"] = members[
        "root/test/images/flood_00000000_pre_disaster.png"
    ]

    async def test(made: Service) -> None:
        reply = await made.client.post("/batch_predict", files={"zipfile": ("p.zip", archive(members))})
        body = reply.json()
        assert reply.status_code == 200, body
        assert (body["status"], body["num_pairs"], body["num_failed"]) == ("success", 4, 2)
        assert {e["key"] for e in body["errors"]} == {"flood_00000001", "=cmd_00000007"}
        download = await made.client.get(body["download_url"])
        assert download.headers["content-type"] == "application/zip"
        with zipfile.ZipFile(io.BytesIO(download.content)) as results:
            assert set(results.namelist()) == {
                "results.json",
                "errors.csv",
                "overlays/flood_00000000.png",
                "overlays/flood_00000002.png",
            }
            document = json.loads(results.read("results.json"))
            table = results.read("errors.csv").decode()
            assert results.read("overlays/flood_00000000.png").startswith(b"\x89PNG")
        assert [each["key"] for each in document["pairs"]] == ["flood_00000000", "flood_00000002"]
        assert document["pairs"][0]["model_used"] == "current"
        assert len(document["pairs"][0]["detections"]) == models.FOUND
        assert "\n'=cmd_00000007," in table
        assert [path.name for path in made.replica.settings.outputs.iterdir()] == [body["download_url"][7:]]

    run(test, tmp_path)


def test_a_batch_says_how_far_it_is_while_it_runs(tmp_path: Path) -> None:
    pre, post = pair(64)
    members = {
        f"flood_{n:08}_{when}_disaster.png": data
        for n in range(20)
        for when, data in (("pre", pre), ("post", post))
    }

    async def test(made: Service) -> None:
        sent = {"X-Request-ID": "a-batch"}
        files = {"zipfile": ("p.zip", archive(members))}
        work = asyncio.create_task(made.client.post("/batch_predict", files=files, headers=sent))
        seen = []
        while not work.done():
            reply = await made.client.get("/batch-status/a-batch")
            seen += [reply.json()] if reply.status_code == 200 else []
            await asyncio.sleep(0.001)
        assert (await work).status_code == 200
        done = [at["done"] for at in seen]
        assert done == sorted(done) and {at["pairs"] for at in seen} == {20}
        gone = await made.client.get("/batch-status/a-batch")
        assert (gone.status_code, "runs here" in gone.text) == (404, True)

    run(test, tmp_path, max_body_bytes=1_000_000)


def test_of_two_batches_with_one_id_none_takes_the_others_progress_away(tmp_path: Path) -> None:
    def members(pairs: int) -> dict[str, bytes]:
        pre, post = pair(64)
        return {
            f"flood_{n:08}_{when}_disaster.png": data
            for n in range(pairs)
            for when, data in (("pre", pre), ("post", post))
        }

    async def test(made: Service) -> None:
        async def send(pairs: int) -> None:
            files = {"zipfile": ("p.zip", archive(members(pairs)))}
            sent = {"X-Request-ID": "chosen"}
            assert (await made.client.post("/batch_predict", files=files, headers=sent)).status_code == 200

        async def pairs_told() -> int | None:
            reply = await made.client.get("/batch-status/chosen")
            return reply.json()["pairs"] if reply.status_code == 200 else None

        longer = asyncio.create_task(send(200))
        while await pairs_told() != 200:
            await asyncio.sleep(0.001)
        await send(1)
        assert not longer.done() and await pairs_told() == 200
        await longer
        assert await pairs_told() is None

    run(test, tmp_path, max_body_bytes=10_000_000)


def test_a_version_is_asked_by_its_number_and_that_is_no_evidence(tmp_path: Path) -> None:
    async def test(made: Service) -> None:
        version = publish(made.store, models.healthy(tmp_path / "second", 2))
        rollout = start_canary(made.store, version, share=0.5)
        await made.until_canary(version)
        for asked, role in ((1, "current"), (version, "canary")):
            for _ in range(4):
                body = (await made.predict(params={"version": asked})).json()
                assert (body["model"]["version"], body["model_used"]) == (asked, role)
                assert body["override"] is True
        missing = await made.predict(params={"version": 7})
        assert (missing.status_code, "Version 7 is not loaded" in missing.text) == (404, True)
        odd = await made.predict(params={"version": 0})
        assert odd.status_code == 400
        await made.predict()
        found = list(made.store.new_observations(rollout, {}))
        for _ in range(400):
            found += list(made.store.new_observations(rollout, {}))
            if found:
                break
            await asyncio.sleep(0.02)
        counted = sum(cell.successes + cell.failures for _, _, cells in found[:1] for cell in cells)
        assert counted == 1, "only the one that a coin assigned"

    run(test, tmp_path)


def test_every_pair_of_a_batch_has_an_overlay_of_its_own(tmp_path: Path) -> None:
    keys = ["ü_00000000", "ö_00000000", "flood_00000000", "Flood_00000000"]
    members = {}
    for number, key in enumerate(keys):
        pre, post = pair(64, seed=number)
        members |= {f"{key}_pre_disaster.png": pre, f"{key}_post_disaster.png": post}

    async def test(made: Service) -> None:
        reply = await made.client.post("/batch_predict", files={"zipfile": ("p.zip", archive(members))})
        download = await made.client.get(reply.json()["download_url"])
        with zipfile.ZipFile(io.BytesIO(download.content)) as results:
            named = {
                each["key"]: each["overlay"] for each in json.loads(results.read("results.json"))["pairs"]
            }
            assert named == {
                "Flood_00000000": "overlays/Flood_00000000.png",
                "flood_00000000": "overlays/flood_00000000-2.png",
                "ö_00000000": "overlays/__00000000.png",
                "ü_00000000": "overlays/__00000000-2.png",
            }
            assert sorted(results.namelist()) == sorted([*named.values(), "results.json"])
            alone = {}
            for key in keys:  # an overlay shows its own pair's picture
                one = {name: data for name, data in members.items() if name.startswith(key)}
                again = await made.client.post("/batch_predict", files={"zipfile": ("p.zip", archive(one))})
                single = await made.client.get(again.json()["download_url"])
                with zipfile.ZipFile(io.BytesIO(single.content)) as only:
                    (name,) = [each for each in only.namelist() if each.startswith("overlays/")]
                    alone[key] = only.read(name)
            assert {key: results.read(name) for key, name in named.items()} == alone

    run(test, tmp_path)


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (400, b"no zip"),
        (400, archive({"readme.txt": b"x"})),
        (400, archive({"../x_00000000_pre_disaster.png": b"x"})),
        (400, archive({f"x_{n}_pre_disaster.png": b"x" for n in range(9)})),
    ],
    ids=["no zip", "no pair", "traversal", "too many pairs"],
)
def test_a_bad_archive_is_refused(tmp_path: Path, status: int, content: bytes) -> None:
    async def test(made: Service) -> None:
        reply = await made.client.post("/batch_predict", files={"zipfile": ("p.zip", content)})
        assert reply.status_code == status
        assert reply.json()["error"]

    run(test, tmp_path, empty=True, max_batch_pairs=8)


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("x_00000000_pre_disaster.png", bytes(40_000_000))

    async def test(made: Service) -> None:
        reply = await made.client.post("/batch_predict", files={"zipfile": ("p.zip", data.getvalue())})
        assert reply.status_code == 413
        assert not list((tmp_path / "outputs").glob("*"))

    run(test, tmp_path, empty=True)


def test_only_results_can_be_fetched_and_old_ones_go(tmp_path: Path) -> None:
    pre, post = pair()
    content = archive({"x_00000000_pre_disaster.png": pre, "x_00000000_post_disaster.png": post})

    async def test(made: Service) -> None:
        (tmp_path / "outputs").mkdir()
        (tmp_path / "outputs" / "secret.zip").write_bytes(b"x")
        for name in ("secret.zip", "..%2Fstore%2Fjournal", "batch_00000000.zip", "%2e%2e/outputs/secret.zip"):
            reply = await made.client.get(f"/files/{name}")
            assert (reply.status_code, reply.json()["status"]) == (404, 404)
        for _ in range(3):
            reply = await made.client.post(
                "/batch_predict?overlay=none", files={"zipfile": ("p.zip", content)}
            )
        assert len(list((tmp_path / "outputs").glob("batch_*.zip"))) == 2
        assert (await made.client.get(reply.json()["download_url"])).status_code == 200

    run(test, tmp_path, outputs_kept=2)


def test_the_docs_page_shows_everything_and_asks_nobody_else(tmp_path: Path) -> None:
    async def test(made: Service) -> None:
        page = (await made.client.get("/docs")).text
        document = (await made.client.get("/openapi.json")).json()
        for name in (*document["paths"], *document["components"]["schemas"]):
            assert name in page
        assert "curl -F pre_disaster=@pre.png" in page
        assert 'src="' not in page
        assert "http" not in page

    run(test, tmp_path, empty=True)


def test_the_contract_of_the_api_is_complete(tmp_path: Path) -> None:
    async def test(made: Service) -> None:
        document = (await made.client.get("/openapi.json")).json()
        assert set(document["paths"]) == {
            "/predict",
            "/batch_predict",
            "/batch-status/{batch}",
            "/feedback",
            "/files/{name}",
            "/model-status",
            "/healthz",
            "/readyz",
            "/metrics",
            "/v2",
            "/v2/health/live",
            "/v2/health/ready",
            "/v2/models/{model}",
            "/v2/models/{model}/ready",
            "/v2/models/{model}/infer",
            "/v2/models/{model}/versions/{version}",
            "/v2/models/{model}/versions/{version}/ready",
            "/v2/models/{model}/versions/{version}/infer",
        }
        schemas = document["components"]["schemas"]
        assert {"PredictReply", "BatchReply", "ModelStatus", "Problem", "Detection"} <= set(schemas)
        refs = [
            words for words in json.dumps(document).split('"') if words.startswith("#/components/schemas/")
        ]
        assert {ref.rpartition("/")[2] for ref in refs} <= set(schemas)

    run(test, tmp_path, empty=True)


def test_an_answer_is_judged_by_its_request_id(tmp_path: Path) -> None:
    async def test(made: Service) -> None:
        reply = (await made.predict(size=128)).json()
        boxes = [{"xyxy": found["xyxy"], "cls": found["cls"]} for found in reply["detections"]]
        truth = {"request_id": reply["request_id"], "boxes": boxes}
        taken = await made.client.post("/feedback", json=truth)
        assert taken.status_code == 200, taken.text
        assert taken.json() == {
            "request_id": reply["request_id"],
            "version": 1,
            "boxes": len(boxes),
            "pictures_kept": False,
        }
        (row,) = (await made.client.get("/feedback")).json()["versions"]
        assert (row["version"], row["pictures"], row["metrics"]["recall"]["value"]) == (1, 1, 1.0)
        probe = (await made.predict(headers={"x-serinus-stratum": "probe"})).json()
        for body, status in (
            ({"request_id": "never", "boxes": []}, 404),
            ({"request_id": probe["request_id"], "boxes": []}, 404),
            ({"request_id": reply["request_id"], "boxes": [{"xyxy": [0, 0, 999, 9], "cls": 0}]}, 400),
            ({"boxes": []}, 400),
        ):
            refused = await made.client.post("/feedback", json=body)
            assert refused.status_code == status, refused.text
            assert refused.json()["error"]
        deep = await made.client.post("/feedback", content=b"[" * 100_000)
        assert deep.status_code == 400

    run(test, tmp_path)


def test_the_reply_says_who_was_assigned_and_whether_a_tester_chose(tmp_path: Path) -> None:
    async def test(made: Service) -> None:
        version = publish(made.store, models.healthy(tmp_path / "second", 2))
        policy = Policy(sticky=ByCookie("session"), override_header="X-Serinus-Arm")
        start_canary(made.store, version, policy=policy)
        await made.until(lambda: made.replica.residency.snapshot.canary)
        for arm in ("canary", "current"):
            reply = (await made.predict(headers={"X-Serinus-Arm": arm})).json()
            assert (reply["assigned"], reply["model_used"], reply["override"]) == (arm, arm, True)
        for user in range(6):
            said = {"cookie": f"other=1; session=user-{user}"}
            replies = [(await made.predict(headers=said)).json() for _ in range(3)]
            assert len({reply["assigned"] for reply in replies}) == 1
            assert not any(reply["override"] for reply in replies)
        refused = await made.predict(headers={"X-Serinus-Arm": "both"})
        assert refused.status_code == 400
        assert "canary or current" in refused.text

    run(test, tmp_path)
