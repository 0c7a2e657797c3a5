"""What people typed, on its way in and on the screen."""

import json
from pathlib import Path

import pytest

from serinus.cli.app import run
from serinus.cli.exits import Exit
from serinus.store import Store
from tests.store.drafts import start_canary, write_draft
from tests.store.whole import open_store

_HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m [red]not red[/] :warning:"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "400")
    made = open_store(tmp_path / "models")
    made.publish(write_draft(tmp_path / "base"), note="base", actor="test", initial=True)
    return made


def test_a_terminal_obeys_nothing_that_people_typed(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = store.publish(write_draft(tmp_path / "two", b"two"), note=_HOSTILE, actor=_HOSTILE)
    start_canary(store, version)
    assert run(["rollout", "rollback", "--reason", _HOSTILE]) == Exit.DONE
    for words in (
        ["versions", "list"],
        ["versions", "show", "2"],
        ["rollout", "history"],
        ["rollout", "status"],
        ["rollout", "explain", "1"],
    ):
        assert run(words) == Exit.DONE, words
        told = "".join(capsys.readouterr())
        assert not {"\x1b", "\x07", "\x9b"} & set(told), words
        assert r"\x1b[2J\x9b31m [red]not red[/] :warning:" in told, (words, told)
    assert run(["versions", "show", "2", "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["note"] == _HOSTILE, "programs get it as it is"


def test_text_that_is_no_unicode_is_refused(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draft, policy = write_draft(tmp_path / "two", b"two"), tmp_path / "p.json"
    policy.write_text("{}")
    start_canary(store, store.publish(write_draft(tmp_path / "three", b"three"), note="", actor="test"))
    before = store.state()
    for words in (
        ["publish", str(draft), "--note", "caf\udce9"],
        ["rollout", "rollback", "--reason", "caf\udce9"],
        ["policy", "set", "mine", str(policy), "--reason", "caf\udce9"],
    ):
        assert run(words) == Exit.USAGE, words
        assert "nicode" in capsys.readouterr().err, words
    assert store.state() == before and store.policy_names() == ()
