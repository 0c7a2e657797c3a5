"""`serinus policy` and the policies of rollouts, as scripts meet them."""

import json
from pathlib import Path

import msgspec
import pytest

from serinus.cli.app import run
from serinus.cli.exits import Exit
from serinus.rollout.events import PolicyChanged, RolloutStarted, Verified
from serinus.rollout.policy import ByHeader, Policy, same_null
from serinus.store import Store
from tests import models
from tests.cli.test_commands import said, store

__all__ = ["store"]

CAREFUL = "description: slowly\nsteps: [0.05, 0.5]\n"


@pytest.fixture
def careful(tmp_path: Path) -> Path:
    file = tmp_path / "careful.yaml"
    file.write_text(CAREFUL)
    return file


def test_set_list_show_and_history(
    store: Store, careful: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "policy", "validate", str(careful))["steps"] == [0.05, 0.5]
    assert said(capsys, "policy", "set", "careful", str(careful), "--reason", "Fridays")["edition"] == 1
    assert [one["name"] for one in said(capsys, "policy", "list")] == ["default", "literal", "careful"]
    shown = said(capsys, "policy", "show", "careful", "--history")
    assert shown["policy"]["policy"]["description"] == "slowly"
    assert [one["reason"] for one in shown["editions"]] == ["Fridays"]
    monkeypatch.setenv("POLICY", "careful")
    monkeypatch.setenv("WINDOW_SECONDS", "30")
    assert run(["policy", "list"]) == Exit.DONE
    starred = [line for line in capsys.readouterr().out.splitlines() if line.startswith("*")]
    assert len(starred) == 1 and "careful" in starred[0]
    assert said(capsys, "policy", "show", "default")["policy"]["window_seconds"] == 30
    assert said(capsys, "policy", "show", "careful")["policy"]["window_seconds"] == 180
    assert run(["policy", "show", "careful", "--history"]) == Exit.DONE
    assert "Rising shares instead of one" in " ".join(capsys.readouterr().out.split())


def test_mistakes_are_the_callers_and_name_file_line_and_column(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("share: 0.5\nwindow_seconds: -1\nsteep: 1\n")
    for words in (
        ["policy", "validate", str(file)],
        ["policy", "set", "bad", str(file)],
        ["rollout", "start", "1", "--policy", str(file)],
    ):
        assert run(words) == Exit.USAGE
        told = capsys.readouterr().err
        assert f"{file}:2:17: window_seconds is -1; allowed: a number above 0." in told
        assert f"{file}:3:1: there is no field 'steep'; did you mean steps?" in told
    assert run(["policy", "validate", str(tmp_path / "none.yaml")]) == Exit.USAGE
    assert run(["policy", "show", "none"]) == Exit.USAGE
    assert "There are: default, literal." in capsys.readouterr().err


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "schema"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["properties"]["steps"]["type"] == "array"


def test_a_rollout_starts_under_a_policy_and_gets_another_on_the_way(
    store: Store, careful: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "policy", "set", "careful", str(careful))
    version = store.publish(models.healthy(tmp_path / "v2", seed=2), note="", actor="test")
    said(capsys, "rollout", "start", str(version), "--policy", "careful")
    body = list(store.events())[-1].body
    assert isinstance(body, RolloutStarted)
    assert body.policy == Policy(name="careful", description="slowly", steps=(0.05, 0.5))
    changed = said(capsys, "rollout", "policy", "literal", "--reason", "as the document says")
    body = list(store.events())[-1].body
    assert isinstance(body, PolicyChanged)
    assert (body.policy.name, body.share) == ("literal", 0.0), "no traffic before the checks are made"
    assert changed["reason"].startswith("as the document says (Policy literal")
    store.append(Verified(rollout=1, share=0.5), actor="controller", reason="all checks passed")
    file = tmp_path / "mine.json"
    file.write_text('{"share": 0.2}')
    said(capsys, "rollout", "policy", str(file))
    rollout = store.state().rollout
    assert rollout is not None
    assert (rollout.policy, rollout.share) == (Policy(name="mine", share=0.2), 0.2)
    assert said(capsys, "rollout", "history")[-1]["what"] == "version 2: obeys another policy"


def test_a_rollout_is_explained_and_drawn(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rollout", "explain"]) == Exit.USAGE
    assert "There was no rollout yet" in capsys.readouterr().err
    version = store.publish(models.healthy(tmp_path / "v2", seed=2), note="", actor="test")
    said(capsys, "rollout", "start", str(version))
    store.append(Verified(rollout=1, share=0.5), actor="controller", reason="all checks passed")
    said(capsys, "rollout", "rollback", "--reason", "looks odd")
    found = said(capsys, "rollout", "explain", "1", "-o", "json")
    assert found["headline"].endswith("looks odd.")
    for ending, begin in ((".svg", b"<svg"), (".png", b"\x89PNG")):
        file = tmp_path / f"rollout{ending}"
        assert run(["rollout", "explain", "--plot", str(file)]) == Exit.DONE
        assert file.read_bytes().startswith(begin)
    told = capsys.readouterr().out
    assert "Version 2 was rolled back" in told and "all checks passed" in told
    assert run(["rollout", "explain", "--plot", str(tmp_path / "rollout.gif")]) == Exit.USAGE
    assert run(["rollout", "explain", "7"]) == Exit.USAGE


@pytest.mark.parametrize(
    "changed",
    [
        {"max_error_rate": 0.2},
        {"max_invalid_rate": 0.2},
        {"max_empty_rate": 0.4},
        {"judge_latency": False},
        {"latency_floor_seconds": 2.0},
        {"sticky": ByHeader("X-User-Id")},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_help_names_what_starts_the_evidence_afresh(
    changed: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert not same_null(Policy(), msgspec.structs.replace(Policy(), **changed))
    assert run(["rollout", "policy", "--help"]) == Exit.DONE
    assert next(iter(changed)) in capsys.readouterr().out
