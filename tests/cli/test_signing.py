"""Keys and signatures as people use them on the command line."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from serinus.bootstrap.settings import load
from serinus.bootstrap.wiring import open_store
from serinus.cli.app import run
from serinus.cli.exits import Exit
from serinus.rollout.events import RolloutStarted
from tests import models


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("BASE_WEIGHTS", str(models.healthy(tmp_path / "base")))
    monkeypatch.setenv("TRUSTED_KEYS", str(tmp_path / "trusted"))
    (tmp_path / "trusted").mkdir()
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert run([*words, "--json"]) == Exit.DONE, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run([*words]) in (Exit.USAGE, Exit.FAILED)
    told = capsys.readouterr()
    assert not told.out and "Traceback" not in told.err
    return " ".join(told.err.split())


def new_key(capsys: pytest.CaptureFixture[str], home: Path, name: str, *, trust: bool) -> tuple[str, str]:
    """Path of the private key, and the fingerprint."""
    made = said(capsys, "keys", "new", str(home / name))
    if trust:
        Path(made["public"]).rename(home / "trusted" / f"{name}.pem")
    return made["private"], made["id"]


def test_keys_are_made_shown_and_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = said(capsys, "keys", "new", str(home / "release"))
    assert stat.S_IMODE(Path(made["private"]).stat().st_mode) == 0o600
    assert said(capsys, "keys", "show", made["private"])["id"] == made["id"]
    assert said(capsys, "keys", "show", made["public"])["id"] == made["id"]
    assert "never overwritten" in refused(capsys, "keys", "new", str(home / "release"))
    other = said(capsys, "keys", "new", str(home / "other"))
    assert other["id"] != made["id"]
    assert said(capsys, "keys", "list") == []
    Path(made["public"]).rename(home / "trusted" / "release.pem")
    assert [key["name"] for key in said(capsys, "keys", "list")] == ["release"]
    assert run(["keys", "show", made["private"]]) == Exit.DONE
    assert capsys.readouterr().out == f"release {made['id']}\n"
    assert "nowhere" in refused(capsys, "keys", "new", str(home / "nowhere" / "a"))


def test_publish_signs_with_a_flag_or_a_setting_and_the_list_says_by_whom(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    private, key = new_key(capsys, home, "release", trust=True)
    stranger, _ = new_key(capsys, home, "stranger", trust=False)
    said(capsys, "publish", str(models.healthy(home / "v2", seed=2)))
    said(capsys, "publish", str(models.healthy(home / "v3", seed=3)), "--sign", stranger)
    monkeypatch.setenv("SIGNING_KEY", private)
    said(capsys, "publish", str(models.healthy(home / "v4", seed=4)))
    listed = said(capsys, "versions", "list")
    assert [(item["version"], item["signature"]["standing"]) for item in listed] == [
        (4, "trusted"),
        (3, "unknown_key"),
        (2, "unsigned"),
        (1, "unsigned"),
    ]
    assert (listed[0]["signature"]["name"], listed[0]["signature"]["key"]) == ("release", key)
    shown = said(capsys, "versions", "show", "4")
    assert shown["manifest"]["signature"]["key"] == key
    assert shown["signature"]["words"] == f"It is signed by release ({key[:16]})."
    assert run(["versions", "show", "4"]) == Exit.DONE
    assert "signed by release" in capsys.readouterr().out
    assert run(["versions", "list"]) == Exit.DONE
    assert "release" in capsys.readouterr().out


def test_a_version_is_signed_afterwards(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private, _ = new_key(capsys, home, "release", trust=True)
    said(capsys, "publish", str(models.healthy(home / "v2", seed=2)), "--note", "brighter")
    assert "--sign" in refused(capsys, "versions", "sign", "2")
    record = said(capsys, "versions", "sign", "2", "--sign", private)
    assert (record["version"], record["note"]) == (3, "brighter")
    assert said(capsys, "versions", "show", "3")["signature"]["standing"] == "trusted"
    assert "already" in refused(capsys, "versions", "sign", "3", "--sign", private)


def test_an_unusable_key_stops_before_anything_is_published(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private, _ = new_key(capsys, home, "release", trust=True)
    Path(private).chmod(0o644)
    draft = str(models.healthy(home / "v2", seed=2))
    assert "chmod 600" in refused(capsys, "publish", draft, "--sign", private)
    assert "No such file" in refused(capsys, "publish", draft, "--sign", str(home / "nothing"))
    assert said(capsys, "versions", "list") == []


def test_requiring_signatures_without_keys_is_a_wrong_setting(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUIRE_SIGNATURE", "true")
    draft = str(models.healthy(home / "v2", seed=2))
    words = refused(capsys, "publish", draft)
    assert "holds no public key" in words, "an empty folder"
    (home / "trusted" / "bad.pem").write_text("no key")
    assert "bad.pem holds no public key" in refused(capsys, "publish", draft)
    monkeypatch.delenv("TRUSTED_KEYS")
    assert "no key is trusted" in refused(capsys, "settings")


def test_the_first_version_must_be_signed_where_a_signature_is_required(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    private, _ = new_key(capsys, home, "release", trust=True)
    stranger, _ = new_key(capsys, home, "stranger", trust=False)
    monkeypatch.setenv("REQUIRE_SIGNATURE", "true")
    draft = str(models.healthy(home / "v2", seed=2))
    assert "the first version would have none" in refused(capsys, "publish", draft)
    words = refused(capsys, "publish", draft, "--sign", stranger)
    assert "signed by stranger" in words and "not trusted here" in words
    assert said(capsys, "versions", "list") == []
    assert said(capsys, "publish", draft, "--sign", private)["version"] == 2
    standings = [item["signature"]["standing"] for item in said(capsys, "versions", "list")]
    assert standings == ["trusted", "trusted"], "the first version too"


def test_a_start_by_hand_carries_the_requirement(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    new_key(capsys, home, "release", trust=True)
    said(capsys, "publish", str(models.healthy(home / "v2", seed=2)))
    monkeypatch.setenv("REQUIRE_SIGNATURE", "true")
    said(capsys, "rollout", "start", "2")
    body = list(open_store(load()).events())[-1].body
    assert isinstance(body, RolloutStarted)
    assert body.policy.require_signature
