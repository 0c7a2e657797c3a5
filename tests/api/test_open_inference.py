"""The Open Inference Protocol, asked by a client that is not ours, over a real socket."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from serinus.core.enums import Arm
from serinus.imagery.decode import decode
from serinus.imagery.stack import stack6
from serinus.rollout.policy import ByHeader, Policy
from tests import models
from tests.api.live import Server, server
from tests.serving.house import pair, promote, publish, start_canary, wait_for

pytestmark = pytest.mark.processes

MODEL = "xview"


class Asked:
    """A service and Triton's client for it."""

    def __init__(self, made: Server, folder: Path) -> None:
        self.made = made
        self.folder = folder
        self.client = triton.InferenceServerClient(made.url.removeprefix("http://"), concurrency=2)

    def infer(
        self,
        stacked: npt.NDArray[np.uint8],
        *,
        binary: bool = True,
        wanted: bool = True,
        **more: Any,
    ) -> triton.InferResult:
        given = triton.InferInput("images", [1, *stacked.shape], "UINT8")
        given.set_data_from_numpy(stacked[None], binary_data=binary)
        outputs = [triton.InferRequestedOutput("detections", binary_data=binary)] if wanted else None
        return self.client.infer(MODEL, [given], outputs=outputs, **more)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("oip")
    with server(folder, first=models.healthy(folder / "first", 1)) as made:
        yield Asked(made, folder)


def stacked(size: int = 64, seed: int = 0, height: int | None = None) -> npt.NDArray[np.uint8]:
    pre, post = pair(size, seed, height=height)
    return stack6(decode(pre, max_pixels=10**7), decode(post, max_pixels=10**7))


def predicted(made: Server, size: int, height: int | None = None) -> list[list[float]]:
    """What /predict says about the same pair, as rows of the protocol."""
    pre, post = pair(size, height=height)
    files = {"pre_disaster": ("a.png", pre), "post_disaster": ("b.png", post)}
    reply = httpx.post(made.url + "/predict?overlay=none", files=files, trust_env=False).json()
    return [[*found["xyxy"], found["conf"], found["cls"]] for found in reply["detections"]]


def test_the_server_and_its_model_describe_themselves(asked: Asked) -> None:
    client = asked.client
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready(MODEL, "7")
    assert not client.is_model_ready("other")
    server_said = client.get_server_metadata()
    assert server_said["name"] == "serinus"
    assert server_said["extensions"] == ["binary_tensor_data"]
    for version in ("", "1"):
        assert client.get_model_metadata(MODEL, version) == {
            "name": MODEL,
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, -1, -1, 6]}],
            "outputs": [{"name": "detections", "datatype": "FP32", "shape": [1, -1, 6]}],
        }


@pytest.mark.parametrize("binary", [True, False], ids=["bytes", "json"])
@pytest.mark.parametrize(("size", "height"), [(64, None), (300, 77)], ids=["small", "scaled and padded"])
def test_a_tensor_gets_the_answer_of_its_pictures(
    asked: Asked, binary: bool, size: int, height: int | None
) -> None:
    result = asked.infer(stacked(size, height=height), binary=binary)
    rows = result.as_numpy("detections")
    expected = predicted(asked.made, size, height)
    assert rows.dtype == np.float32
    assert rows.shape == (1, len(expected), 6)
    assert len(expected) > 0
    np.testing.assert_allclose(rows[0], expected, atol=0.006)


def test_without_wanted_outputs_all_come_as_bytes_if_asked_so(asked: Asked) -> None:
    result = asked.infer(stacked(), wanted=False)
    (output,) = result.get_response()["outputs"]
    assert output["parameters"]["binary_data_size"] == 4 * np.prod(output["shape"])
    assert "data" not in output
    given = triton.InferInput("images", [1, 64, 64, 6], "UINT8")
    given.set_data_from_numpy(stacked()[None], binary_data=True)
    body, length = triton.InferenceServerClient.generate_request_body([given])
    document = json.loads(body[:length]) | {"parameters": {}}
    head = json.dumps(document).encode()
    reply = httpx.post(
        f"{asked.made.url}/v2/models/{MODEL}/infer",
        content=head + body[length:],
        headers={"Inference-Header-Content-Length": str(len(head))},
        trust_env=False,
    )
    assert reply.headers["content-type"] == "application/json"
    assert len(reply.json()["outputs"][0]["data"]) == np.prod(reply.json()["outputs"][0]["shape"])


def test_nothing_found_is_an_empty_tensor(asked: Asked) -> None:
    for binary in (True, False):
        result = asked.infer(np.zeros((32, 32, 6), np.uint8), binary=binary)
        assert result.as_numpy("detections").shape == (1, 0, 6)


def test_the_id_comes_back_and_else_it_is_the_request_id(asked: Asked) -> None:
    assert asked.infer(stacked(), request_id="mine-42").get_response()["id"] == "mine-42"
    said = asked.infer(stacked(), headers={"X-Request-ID": "from-a-proxy"}).get_response()
    assert said["id"] == said["parameters"]["request_id"] == "from-a-proxy"
    truth = {"request_id": "from-a-proxy", "boxes": []}
    judged = httpx.post(asked.made.url + "/feedback", json=truth, trust_env=False)
    assert judged.status_code == 200, judged.text


def refusal(asked: Asked, path: str = f"{MODEL}/infer", status: int = 400, **request: Any) -> str:
    reply = httpx.post(f"{asked.made.url}/v2/models/{path}", trust_env=False, **request)
    assert reply.status_code == status, reply.text
    error: str = reply.json()["error"]
    assert error
    return error


def document(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "images", "shape": [1, 1, 1, 6], "datatype": "UINT8"} | changes]}


GOOD = {"data": [0] * 6}


@pytest.mark.parametrize(
    ("words", "body"),
    [
        ("neither data", document()),
        ("has 5 numbers", document(data=[0] * 5)),
        ("<= 255", document(data=[256, 0, 0, 0, 0, 0])),
        (">= 0", document(data=[-1, 0, 0, 0, 0, 0])),
        ("Expected `int`", document(data=[0.5, 0, 0, 0, 0, 0])),
        ("nested otherwise", document(data=[[[[0, 0, 0], [0, 0]], [[0]]]])),
        ("nested otherwise", document(data=[[[[0]], [[0]], [[0]], [[0]], [[0]], [[0]]]])),
        ("nested otherwise", document(data=[0, [], 0, 0, 0, 0])),
        ("nested otherwise", document(data=[0, None, 0, 0, 0, 0])),
        ("nested otherwise", document(data="0,0,0,0,0,0")),
        ("nested otherwise", document(data={"a": 0, "b": 0, "c": 0, "d": 0, "e": 0, "f": 0})),
        ("has 1 numbers", document(data=7)),
        ("'other', UINT8", document(name="other", **GOOD)),
        ("FP32 [1, 1, 1, 6]", document(datatype="FP32", **GOOD)),
        ("UINT8 [2, 1, 1, 3]", document(shape=[2, 1, 1, 3], **GOOD)),
        ("UINT8 [6]", document(shape=[6], **GOOD)),
        (">= 1", document(shape=[1, 0, 1, 6], data=[])),
        ("0 inputs", {"inputs": []}),
        ("2 inputs", {"inputs": document(**GOOD)["inputs"] * 2}),
        ("outputs ['x']", document(**GOOD) | {"outputs": [{"name": "x"}]}),
        (
            "not offered",
            document(**GOOD) | {"outputs": [{"name": "detections", "parameters": {"classification": 1}}]},
        ),
        ("not offered", document(parameters={"shared_memory_region": "r"}, **GOOD)),
        ("missing required field `inputs`", {}),
        ("needs 6 bytes", document(parameters={"binary_data_size": 6})),
        ("both data and", document(parameters={"binary_data_size": 6}, **GOOD)),
    ],
)
def test_what_is_not_the_protocol_is_refused_in_its_words(
    asked: Asked, words: str, body: dict[str, Any]
) -> None:
    assert words in refusal(asked, json=body)


@pytest.mark.parametrize(
    ("words", "content", "headers"),
    [
        ("Expected `bool | int | float | str`", b'{"inputs": [], "parameters": {"x": [0]}}', {}),
        ("more names and texts", b'{"inputs": [], "parameters": {' + b'"x": 0, ' * 2000, {}),
        ("nested too deeply", b'{"more":' + b"[" * 100_000, {}),
        ("nested too deeply", b'{"inputs":[{"data":' + b"[" * 100_000, {}),
        ("malformed", b"{]", {}),
        ("truncated", b'{"inputs": [', {}),
        ("truncated", b"", {}),
        ("codec", b'{"id": "\xff"}', {}),
        ("out of range", b'{"inputs": [], "id": "", "parameters": {"x": 1e999999}}', {}),
        ("the body has 2 bytes", b"{}", {"Inference-Header-Content-Length": "3"}),
        ("the body has 2 bytes", b"{}", {"Inference-Header-Content-Length": "-1"}),
        ("the body has 2 bytes", b"{}", {"Inference-Header-Content-Length": "9" * 5000}),
        ("compressed", b"{}", {"Content-Encoding": "gzip"}),
    ],
)
def test_bodies_that_nobody_can_read_are_a_400(
    asked: Asked, words: str, content: bytes, headers: dict[str, str]
) -> None:
    assert words in refusal(asked, content=content, headers=headers)


def test_bytes_that_belong_to_nobody_are_refused(asked: Asked) -> None:
    body = json.dumps(document(**GOOD)).encode()
    headers = {"Inference-Header-Content-Length": str(len(body))}
    assert "5 bytes follow" in refusal(asked, content=body + b"12345", headers=headers)
    short = json.dumps(document(parameters={"binary_data_size": 6})).encode()
    headers = {"Inference-Header-Content-Length": str(len(short))}
    assert "5 came" in refusal(asked, content=short + b"12345", headers=headers)


def test_other_models_and_versions_are_not_found(asked: Asked) -> None:
    for path in ("other/infer", f"{MODEL}/versions/7/infer", f"{MODEL}/versions/x/infer"):
        refusal(asked, path, 404, json=document(**GOOD))
    with pytest.raises(InferenceServerException, match="Version 7 is not loaded"):
        asked.infer(stacked(), model_version="7")
    huge = document(shape=[1, 10**6, 10**6, 6], parameters={"binary_data_size": 1})
    assert "pixels" in refusal(asked, status=413, json=huge)


def test_requests_are_routed_counted_and_rescued_as_those_of_predict(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        asked = Asked(made, tmp_path)
        version = publish(made.store, models.raising(tmp_path / "bad"))
        policy = Policy(
            share=0.5, max_error_rate=0.9, sticky=ByHeader("X-User"), override_header="X-Serinus-Arm"
        )
        rollout = start_canary(made.store, version, policy=policy)
        wait_for(lambda: made.canary() == version, "the canary")

        tosses = [asked.infer(stacked()).get_response() for _ in range(40)]
        assigned = Counter(each["parameters"]["assigned"] for each in tosses)
        assert set(assigned) == {"canary", "current"}
        for each in tosses:
            said = each["parameters"]
            assert said["fallback"] is (said["assigned"] == "canary")
            assert (said["model_used"], said["override"], each["model_version"]) == ("current", False, "1")
        for user in ("ann", "bob", "cid"):
            headers = {"X-User": user}
            told = [asked.infer(stacked(), headers=headers).get_response() for _ in range(3)]
            assert len({each["parameters"]["assigned"] for each in told}) == 1
        wished = asked.infer(stacked(), headers={"X-Serinus-Arm": "canary"}).get_response()["parameters"]
        assert (wished["assigned"], wished["override"], wished["fallback"]) == ("canary", True, True)

        with pytest.raises(InferenceServerException, match="failed on this pair"):
            asked.infer(stacked(), model_version=str(version))
        alone = asked.infer(stacked(), model_version="1").get_response()
        assert (alone["model_version"], alone["parameters"]["override"]) == ("1", True)
        asked.infer(stacked(), headers={"X-Serinus-Stratum": "probe"})

        pinned, probes = 3, 1
        cells = made.observed(rollout, len(tosses) + pinned + probes)
        users = [cell for cell in cells if cell.stratum == "users"]
        counted = {arm: sum(c.successes + c.failures for c in users if c.arm is arm) for arm in Arm}
        assert sum(counted.values()) == len(tosses) + pinned
        assert counted[Arm.CANARY] >= assigned["canary"]
        assert sum(cell.failures for cell in users if cell.arm is Arm.CURRENT) == 0


def test_a_version_that_stands_by_can_be_asked_until_it_is_unloaded(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        asked = Asked(made, tmp_path)
        rollout, version = made.start_canary(models.healthy(tmp_path / "second", 2))
        by_number = {n: asked.infer(stacked(), model_version=n).get_response() for n in ("1", "2")}
        assert {n: each["parameters"]["model_used"] for n, each in by_number.items()} == {
            "1": "current",
            "2": "canary",
        }
        promote(made.store, rollout, version)
        wait_for(lambda: made.get("/readyz")["version"] == version, "the promotion")
        assert asked.client.get_model_metadata(MODEL)["versions"] == ["2", "1"]
        assert asked.infer(stacked(), model_version="1").get_response()["model_version"] == "1"
