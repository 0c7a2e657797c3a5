from pathlib import Path

import pytest

from serinus.bootstrap.settings import Settings, WrongSettings, environment, load, rows, store_folder
from serinus.core.errors import Misconfigured
from serinus.rollout.policy import DEFAULT


def test_defaults_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    settings = load()
    assert settings.default_policy == DEFAULT
    assert settings.policy == "default"
    policy = settings.default_policy
    assert (policy.share, policy.window_seconds, policy.max_error_rate) == (
        0.5,
        180.0,
        0.05,
    )
    assert (settings.img_size, settings.epochs, settings.batch) == (640, 10, 8)
    assert (settings.infer_port, settings.ui_port, settings.infer) == (9000, 8080, "http://127.0.0.1:9000")


def test_the_documented_environment_variables_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MODEL_DIR": "/models",
        "IMG_SIZE": "320",
        "INFER_URL": "http://infer:9000/",
        "EPOCHS": "5",
        "BATCH": "4",
        "BASE_WEIGHTS": "base.pt",
        "WINDOW_SECONDS": "30",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load()
    assert settings.model_dir == Path("/models")
    assert (settings.img_size, settings.epochs, settings.batch) == (320, 5, 4)
    assert settings.infer == "http://infer:9000"
    assert settings.base_weights == Path("base.pt")
    assert settings.default_policy.window_seconds == 30
    assert load(window_seconds=7).window_seconds == 7, "a flag wins over the environment"


def test_wrong_settings_are_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARE", "1.5")
    monkeypatch.setenv("EPOCHS", "many")
    with pytest.raises(Misconfigured) as caught:
        load()
    assert "SHARE" in caught.value.message and "EPOCHS" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("url", ["infer:9000", "ftp://infer"])
def test_a_url_without_http_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="INFER_URL"):
        load(infer_url=url)


def test_every_setting_has_a_meaning_with_its_unit() -> None:
    for row in rows(Settings.model_construct()):
        assert len(row.meaning) > 10, row.name
        for ending, unit in (("_SECONDS", "second"), ("_MB", "MB"), ("_GB", "GB")):
            if row.name.endswith(ending) and row.name != "POLL_SECONDS":
                assert unit in row.meaning or "How often" in row.meaning, row


def test_children_get_the_settings_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = load(infer_port=9100, allowed_hosts="a.example,b.example", probes=False, api_token="s3cret")
    for name, value in environment(chosen).items():
        monkeypatch.setenv(name, value)
    child = load()
    assert (child.infer_port, child.allowed_hosts, child.probes) == (9100, ("a.example", "b.example"), False)
    assert child.token == "s3cret"
    shown = {row.name: row.value for row in rows(child)}
    assert "s3cret" not in shown["API_TOKEN"]


def test_keys_are_paths_and_children_find_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = load(
        trusted_keys="keys,other/alice.pem",
        signing_key=Path("release.key"),
        signing_key_password="s3cret",
        require_signature=True,
    )
    assert chosen.trusted_keys == (Path("keys"), Path("other/alice.pem"))
    assert chosen.default_policy.require_signature
    for name, value in environment(chosen).items():
        monkeypatch.setenv(name, value)
    child = load()
    assert child.trusted_keys == (Path("keys").absolute(), Path("other/alice.pem").absolute())
    assert child.signing_key == Path("release.key").absolute()
    assert child.signing_key_password is not None
    assert child.signing_key_password.get_secret_value() == "s3cret"
    assert child.require_signature
    shown = {row.name: row.value for row in rows(child)}
    assert "s3cret" not in shown["SIGNING_KEY_PASSWORD"]


def test_requiring_a_signature_that_nobody_can_give_is_refused() -> None:
    with pytest.raises(Misconfigured, match="REQUIRE_SIGNATURE") as caught:
        load(require_signature=True)
    assert "TRUSTED_KEYS" in caught.value.remedy


@pytest.mark.parametrize("path", ["back#1", "q?x", "pct%20x", "/backup/#2", "models"])
def test_a_path_is_taken_as_it_is(path: str) -> None:
    assert store_folder(path) == Path(path)


def test_an_address_is_read_as_one() -> None:
    assert store_folder("") is None
    assert store_folder("s3://bucket/prefix") is None
    assert store_folder("file:///with%20space") == Path("/with space")
    assert store_folder("~/models") == Path.home() / "models"
    for typo in ("s3//bucket/prefix", "s3:/bucket", "file:models", "s3:///prefix", "http://host/x"):
        with pytest.raises(WrongSettings, match="no address of a store"):
            store_folder(typo)
