"""What is asked for, where it came from, what its metrics mean: values only."""

import pytest

from serinus.core.errors import InvalidInput
from serinus.tracking.metrics import metrics_of
from serinus.tracking.source import (
    Source,
    Wanted,
    check_uri,
    parse_wanted,
    scrubbed,
    source_of,
    without_credentials,
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("roofs/3", Wanted("roofs", "3")),
        ("roofs/latest", Wanted("roofs", "latest")),
        ("roofs/@champion", Wanted("roofs", alias="champion")),
        ("roofs@champion", Wanted("roofs", alias="champion")),
    ],
)
def test_a_version_is_a_number_an_alias_or_the_newest(text: str, wanted: Wanted) -> None:
    assert parse_wanted(text) == wanted


@pytest.mark.parametrize("text", ["roofs", "/3", "roofs/", "roofs/three", "a/b/3", "roofs/-1", "roofs/@"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="names no version"):
        parse_wanted(text)


@pytest.mark.parametrize(
    ("uri", "plain"),
    [
        ("https://alice:s3cret@host:5000/x?token=s3cret#s3cret", "https://host:5000/x"),
        ("sqlite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
        ("postgresql+psycopg2://u:s3cret@db/mlflow", "postgresql+psycopg2://db/mlflow"),
        ("file:///srv/mlruns", "file:///srv/mlruns"),
    ],
)
def test_addresses_are_kept_without_credentials(uri: str, plain: str) -> None:
    assert without_credentials(check_uri(uri)) == plain
    assert "s3cret" not in scrubbed(f"could not reach {uri.partition('?')[0]}")


@pytest.mark.parametrize("uri", ["databricks", "./mlruns", "ftp://host/x", ""])
def test_other_kinds_of_address_are_refused(uri: str) -> None:
    with pytest.raises(InvalidInput):
        check_uri(uri)


def test_metrics_get_our_names_where_that_is_obvious() -> None:
    found = metrics_of(
        {
            "metrics/mAP50B": 0.7,
            "metrics/mAP50-95B": 0.4,
            "val_precision": 0.8,
            "train/recall": 0.99,
            "loss": 1.5,
            "broken": float("nan"),
        }
    )
    assert (found["map50"], found["map50_95"], found["precision"]) == (0.7, 0.4, 0.8)
    assert "recall" not in found, "measured in training"
    assert found["loss"] == 1.5 and "broken" not in found


def test_metrics_that_contradict_each_other_stay_under_their_own_names() -> None:
    assert metrics_of({"val/recall": 0.5, "test/recall": 0.6}) == {"val/recall": 0.5, "test/recall": 0.6}
    assert metrics_of({"recall": 0.7, "test/recall": 0.6})["recall"] == 0.7


def test_a_lineage_without_an_origin_has_none() -> None:
    assert source_of({}) is None
    assert source_of({"mlflow": "params named like this"}) is None
    origin = {"tracking_uri": "http://h", "model": "m", "version": "1", "tags": {"more": "than that"}}
    assert source_of({"mlflow": origin}) == Source(tracking_uri="http://h", model="m", version="1")
