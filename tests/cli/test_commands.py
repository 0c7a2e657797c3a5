"""The command line as scripts meet it: JSON on stdout, talk on stderr, exit codes."""

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from serinus.bootstrap import edge
from serinus.bootstrap.settings import load
from serinus.cli.app import app, run
from serinus.cli.exits import Exit
from serinus.rollout.events import RolledBack, RolloutStarted, Verified
from serinus.rollout.policy import Policy
from serinus.store import Store
from tests import models

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    found = Store.open(tmp_path / "models", clock=edge.now, new_id=edge.new_id)
    found.publish(models.healthy(tmp_path / "base"), note="base", actor="test", initial=True)
    return found


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = Exit.DONE) -> Any:
    assert run([*words, "--json"]) == code, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_publish_list_show(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draft = models.healthy(tmp_path / "v2", seed=2)
    record = said(capsys, "publish", str(draft), "--note", "brighter")
    assert (record["version"], record["state"], record["note"]) == (2, "published", "brighter")
    listed = said(capsys, "versions", "list")
    assert [item["version"] for item in listed] == [2, 1]
    shown = said(capsys, "versions", "show", "2")
    assert shown["manifest"]["note"] == "brighter"
    assert run(["versions", "list"]) == Exit.DONE
    assert "brighter" in capsys.readouterr().out


def test_a_version_is_not_compared_with_itself(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "1", "1", "--data", "ds-0123456789ab"]) == Exit.USAGE
    told = capsys.readouterr()
    assert "Version 1 does not differ from itself. Name two." in " ".join(told.err.split())
    assert told.out == ""


def test_publish_a_graph_that_stands_alone(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = tmp_path / "any name.onnx"
    graph.write_bytes(models.healthy_graph(7).SerializeToString())
    metrics = tmp_path / "m.json"
    metrics.write_text('{"final_map": 0.5, "recall": 0.25, "train_epochs": 3}')
    words = ("publish", "--onnx", str(graph), "--metrics", str(metrics))
    assert said(capsys, *words, "--note", "from elsewhere")["version"] == 2
    manifest = said(capsys, "versions", "show", "2")["manifest"]
    assert manifest["metrics"] == {"map50": 0.5, "recall": 0.25, "train_epochs": 3.0}
    assert (manifest["contract"]["input_name"], manifest["contract"]["stride"]) == ("images", 32)

    contract = tmp_path / "c.json"
    contract.write_text('{"size": 128, "max_detections": 8}')
    assert said(capsys, *words, "--contract", str(contract))["version"] == 3
    assert said(capsys, "versions", "show", "3")["manifest"]["contract"]["size"] == 128


def test_a_graph_that_does_not_fit_is_refused_before_it_is_published(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: str) -> str:
        assert run(["publish", *words]) == Exit.USAGE
        return capsys.readouterr().err

    models.nan(tmp_path / "nan")
    contract = str(tmp_path / "nan" / "contract.json")
    graph = str(tmp_path / "nan" / "model.onnx")
    assert "NaN" in refused("--onnx", graph, "--contract", contract)
    metrics = tmp_path / "m.json"
    metrics.write_text('{"final_map": "good"}')
    assert "final_map" in refused("--onnx", graph, "--metrics", str(metrics))
    assert "does not load" in refused("--onnx", str(metrics))
    assert "is no file" in refused("--onnx", str(tmp_path / "nowhere.onnx"))
    assert "Give one of the two" in refused()
    assert "Give one of the two" in refused(str(tmp_path / "nan"), "--onnx", graph)
    assert "belong to --onnx" in refused(str(tmp_path / "nan"), "--metrics", str(metrics))
    assert store.state().next_version == 2


def test_the_first_publish_of_all_has_the_base_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "fresh"))
    record = said(capsys, "publish", str(models.healthy(tmp_path / "v2", seed=2)))
    assert record["version"] == 2
    assert [item["state"] for item in said(capsys, "versions", "list")] == ["published", "current"]


def test_an_account_without_a_name_may_steer(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", nobody)  # as in an image whose user is but a number
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    version = store.publish(models.healthy(tmp_path / "v2", seed=2), note="", actor="test")
    started = said(capsys, "rollout", "start", str(version), "--reason", "a look")
    assert started["actor"] == f"user {os.getuid()} via cli"
    monkeypatch.setenv("USER", "anna")
    assert said(capsys, "rollout", "rollback", "--reason", "seen")["actor"] == "anna via cli"


def test_steering_and_its_exit_codes(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rollout", "promote"]) == Exit.USAGE
    assert "no rollout" in capsys.readouterr().err.lower()

    version = store.publish(models.healthy(tmp_path / "v2", seed=2), note="", actor="test")
    store.append(
        RolloutStarted(rollout=1, version=version, policy=Policy()), actor="controller", reason="next"
    )
    store.append(Verified(rollout=1, share=0.5), actor="controller", reason="all checks passed")
    assert said(capsys, "rollout", "status")["canary"]["version"] == version
    assert said(capsys, "rollout", "status", "--wait", "--timeout", "0.3", code=Exit.TIMED_OUT)

    said(capsys, "rollout", "pause", "--reason", "lunch")
    assert said(capsys, "rollout", "status", "--wait", code=Exit.HELD)["rollout"]["phase"] == "paused"
    seq = store.state().seq
    assert run(["rollout", "resume", "--expect", str(seq - 1)]) == Exit.USAGE, "a stale view may not decide"
    capsys.readouterr()
    said(capsys, "rollout", "resume", "--expect", str(seq))
    event = said(capsys, "rollout", "rollback", "--reason", "looks odd")
    assert "looks odd" in event["reason"] and event["actor"].endswith("via cli")
    assert isinstance(list(store.events())[-1].body, RolledBack)
    assert said(capsys, "rollout", "status", "--wait", code=Exit.ROLLED_BACK)["rollout"] is None
    started = said(capsys, "rollout", "start", str(version), "--reason", "it was not to blame")
    body = list(store.events())[-1].body
    assert isinstance(body, RolloutStarted)
    assert (body.rollout, body.version, body.policy) == (2, version, load().default_policy)
    assert started["reason"] == "it was not to blame"
    assert run(["rollout", "start", "99"]) == Exit.USAGE
    assert "There is no version 99" in capsys.readouterr().err
    history = said(capsys, "rollout", "history")
    assert [row["kind"] for row in history][-5:-1] == ["verified", "paused", "resumed", "rolled_back"]


def test_data_from_seed_to_data_set_to_golden_set(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "a.zip"
    words = ("data", "synth", "--pairs", "12", "--size", "128", "--seed", "3", "--out", str(archive))
    said(capsys, *words)
    report = said(capsys, "data", "import", str(archive))
    assert report["pairs_usable"] == 12
    assert [item["dataset_id"] for item in said(capsys, "data", "list")] == [report["dataset_id"]]
    golden = said(capsys, "golden", "add", "first", "--data", report["dataset_id"])
    assert golden["pairs"] == 12
    assert said(capsys, "golden", "list")[0]["name"] == "first"


def test_training_on_a_golden_set_is_refused_before_the_time_is_spent(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "a.zip"
    said(capsys, "data", "synth", "--pairs", "12", "--size", "128", "--out", str(archive))
    dataset = said(capsys, "data", "import", str(archive))["dataset_id"]
    said(capsys, "golden", "add", "all", "--data", dataset)
    assert run(["train", "--data", dataset, "--base", "none"]) == Exit.USAGE
    assert "--split test" in capsys.readouterr().err


def test_errors_say_what_to_do_and_show_no_traceback(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.zip").write_bytes(b"not a zip")
    for words in (
        ["data", "import", str(tmp_path / "bad.zip")],
        ["publish", str(tmp_path)],
        ["versions", "show", "77"],
        ["golden", "add", "x", "--data", "ds-000000000000"],
        ["train", "--data", "newest"],
        ["no-such-command"],
        ["data", "import", str(tmp_path / "nothing.zip")],
        ["data", "synth", "--out", str(tmp_path / "nowhere" / "x.zip")],
        ["train", "--epochs", "0"],
    ):
        assert run(words) == Exit.USAGE, words
        told = capsys.readouterr()
        assert told.err and not told.out and "Traceback" not in told.err, words


def test_wrong_settings_are_the_operators_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WINDOW_SECONDS", "-1")
    assert run(["settings"]) == Exit.USAGE
    assert "WINDOW_SECONDS" in capsys.readouterr().err


def documented_commands() -> list[str]:
    pages = [ROOT / "README.md", ROOT / "docs" / "policies.md"]
    blocks = [
        found for page in pages for found in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    ]
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line.removesuffix("&").strip() for line in lines if line.startswith("serinus ")]


@pytest.mark.parametrize("line", documented_commands())
def test_every_command_of_the_readme_is_one(line: str) -> None:
    words = shlex.split(line.replace("ID", "ds-0123456789ab"))[1:]
    app.parse_args(words, exit_on_error=False, print_error=False)
