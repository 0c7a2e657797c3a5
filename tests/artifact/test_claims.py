import json
from typing import Any

import pytest

from serinus.artifact.claims import MOST_BYTES, read_claims, read_metrics
from serinus.core.errors import InvalidInput


def claims(**document: Any) -> Any:
    return read_claims(json.dumps(document).encode())


def test_the_documented_names_become_ours_and_the_rest_is_kept() -> None:
    found = claims(
        version=2,
        timestamp="2024-01-15T10:30:00",
        traffic_weight=0.5,
        metrics={
            "train_epochs": 10,
            "final_map": 0.84,
            "final_precision": 0.79,
            "final_recall": None,
            "fitness": 0.5,
        },
    )
    assert found.metrics == {"train_epochs": 10.0, "map50": 0.84, "precision": 0.79}
    assert found.config == {
        "version": 2,
        "timestamp": "2024-01-15T10:30:00",
        "traffic_weight": 0.5,
        "metrics": {"final_recall": None, "fitness": 0.5},
    }
    assert found.note == "version 2 of another trainer, 2024-01-15T10:30:00"


def test_our_own_names_are_taken_too() -> None:
    ours = {"map50": 0.5, "map50_95": 0.25, "recall": 1, "map50/destroyed": 0.1}
    assert read_metrics(ours | {"loss": 3.0}, "m.json") == ours


def test_a_note_classes_and_a_size_are_understood() -> None:
    found = claims(note="  more\n data ", names={"0": "a", "1": "b"}, imgsz=320)
    assert (found.note, found.classes, found.size) == ("more data", ("a", "b"), 320)
    assert claims(classes=["x"]).classes == ("x",)


@pytest.mark.parametrize("said", [{"names": {"0": "a", "2": "b"}}, {"classes": [1]}, {"classes": "abc"}])
def test_what_is_no_list_of_classes_is_no_claim(said: dict[str, Any]) -> None:
    assert claims(**said).classes == ()


@pytest.mark.parametrize("size", [True, 0, -5, 10**9, "640", 1.5])
def test_what_is_no_size_is_no_claim(size: Any) -> None:
    assert claims(img_size=size).size is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no JSON object"),
        (b'{"version": 2', "no JSON object"),
        (b"[1, 2]", "no JSON object"),
        (b"\xff\xfe", "no JSON object"),
        (b'{"a":' * 100_000, "no JSON object"),
        (b'{"metrics": {"final_map": NaN}}', "no JSON object"),
        (b'{"metrics": {"final_map": "good"}}', "final_map is 'good'"),
        (b'{"metrics": {"map50": true}}', "map50 is True"),
        (b'{"a": "' + b"x" * MOST_BYTES + b'"}', "bytes"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        read_claims(data)
    assert refused.value.remedy
