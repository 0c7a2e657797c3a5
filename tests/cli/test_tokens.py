"""Tokens as people make and revoke them on the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from serinus.api.tokens import Tokens
from serinus.bootstrap.settings import load
from serinus.bootstrap.tokens import known_tokens
from serinus.cli.app import run
from serinus.cli.exits import Exit
from serinus.core.enums import Role
from serinus.core.errors import Misconfigured


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert run([*words, "--json"]) == Exit.DONE, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_a_token_is_made_shown_once_listed_and_revoked(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "token", "list") == []
    made = said(capsys, "token", "create", "alice", "--role", "operator")
    assert run(["token", "create", "wall", "--role", "viewer"]) == Exit.DONE
    printed = capsys.readouterr().out.strip()  # alone, for a pipe
    known = known_tokens(load())
    for text, role in ((made["token"], Role.OPERATOR), (printed, Role.VIEWER)):
        found = known.whose(text.encode())
        assert found is not None and found.role is role
    listed = said(capsys, "token", "list")
    assert [(one["name"], one["role"]) for one in listed] == [("alice", "operator"), ("wall", "viewer")]
    assert made["token"] not in (home / "data" / "tokens").read_text()
    said(capsys, "token", "revoke", "alice")
    assert known.whose(made["token"].encode()) is None
    assert run(["token", "revoke", "alice"]) == Exit.USAGE
    assert "no token 'alice'" in capsys.readouterr().err


def test_two_at_once_lose_none(home: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from serinus.api.tokens import issue, read

    file = home / "tokens"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: issue(file, f"t{n}", Role.VIEWER, bytes([n] * 32), 0.0), range(24)))
    assert {one.name for one in read(file)} == {f"t{n}" for n in range(24)}


def test_a_file_that_was_named_must_be_there_and_whole(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENS_FILE", str(home / "mounted"))
    with pytest.raises(Misconfigured, match="not there"):
        known_tokens(load())
    (home / "mounted").write_text("operator alice\n")
    with pytest.raises(Misconfigured, match="Line 1"):
        known_tokens(load())
    (home / "mounted").write_text("")
    monkeypatch.setenv("API_TOKEN", "s3cret")
    assert known_tokens(load()).whose(b"s3cret") is not None
    assert not Tokens().any
