"""`serinus disagreements`: what a person says of one."""

import json
from pathlib import Path

import pytest

from serinus.cli.app import run
from serinus.cli.exits import Exit
from serinus.control.disagreements import mark
from serinus.store import Right
from serinus.store.gallery import Limits
from tests.api.stage import Stage
from tests.store.test_gallery import disagreement


def test_a_dismissal_leaves_what_others_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage(tmp_path)
    stage.base()
    stage.canary()
    stage.store.gallery.put(disagreement("request-1", 0.25), {}, Limits())
    (name,) = stage.store.gallery.ids(1)
    mark(stage.store, 1, name, actor="alice", time=stage.now, right=Right.CANARY)
    monkeypatch.setenv("MODEL_DIR", str(stage.root / "models"))

    def said(*words: str) -> tuple[bool, str | None, str]:
        assert run(["disagreements", "dismiss", "1", name, *words, "--json"]) == Exit.DONE
        told = json.loads(capsys.readouterr().out)["mark"]
        return told["dismissed"], told["right"], told["reason"]

    assert said("--reason", "clouds") == (True, "canary", "clouds")
    assert said("--undo") == (False, "canary", "")
