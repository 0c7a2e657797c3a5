import json
from pathlib import Path
from typing import Any

import pytest

from serinus.artifact.manifest import Contract, Lineage
from serinus.artifact.validate import read_draft
from serinus.core.errors import InvalidInput


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    folder = tmp_path / "draft"
    (folder / "training").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "contract.json").write_text("{}")
    (folder / "training" / "results.csv").write_text("epoch,loss\n")
    return folder


def test_a_draft_with_everything(draft: Path) -> None:
    (draft / "contract.json").write_text(json.dumps({"size": 640, "stride": 32, "max_detections": 300}))
    (draft / "lineage.json").write_text(json.dumps({"trainer": "compact", "tiles": ["ab", "cd"]}))
    (draft / "metrics.json").write_text(json.dumps({"map50": 0.5, "train_epochs": 10}))
    (draft / "best.pt").write_bytes(b"weights")
    read = read_draft(draft)
    assert read.contract == Contract(size=640, stride=32, max_detections=300)
    assert read.lineage == Lineage(trainer="compact", tiles=("ab", "cd"))
    assert read.metrics == {"map50": 0.5, "train_epochs": 10.0}
    assert read.payload == ("best.pt", "model.onnx", "training/results.csv")


def test_the_optional_documents_have_defaults(draft: Path) -> None:
    read = read_draft(draft)
    assert (read.contract, read.lineage, read.metrics) == (Contract(), Lineage(), {})


@pytest.mark.parametrize("missing", ["model.onnx", "contract.json"])
def test_what_is_required_is_named(draft: Path, missing: str) -> None:
    (draft / missing).unlink()
    with pytest.raises(InvalidInput, match=f"has no {missing}"):
        read_draft(draft)


def test_an_empty_model_is_refused(draft: Path) -> None:
    (draft / "model.onnx").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"model\.onnx is empty"):
        read_draft(draft)


def test_a_manifest_is_refused(draft: Path) -> None:
    (draft / "manifest.json").write_text("{}")
    with pytest.raises(InvalidInput, match="made at publication"):
        read_draft(draft)


@pytest.mark.parametrize("name", ["contract.json", "lineage.json", "metrics.json"])
@pytest.mark.parametrize("content", ["", "[]", '{"size": "big", "tiles": 3, "map50": "high"}', "\xff"])
def test_a_document_that_cannot_be_read_is_named(draft: Path, name: str, content: str) -> None:
    (draft / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(InvalidInput, match=f"{name} cannot be read"):
        read_draft(draft)


@pytest.mark.parametrize("value", ["null", "1e999", "NaN"])
def test_metrics_that_json_cannot_hold_are_refused(draft: Path, value: str) -> None:
    (draft / "metrics.json").write_text(f'{{"map50": {value}}}')
    with pytest.raises(InvalidInput, match=r"metrics\.json"):
        read_draft(draft)


def test_links_are_refused(draft: Path) -> None:
    (draft / "best.pt").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput, match=r"best\.pt is a link"):
        read_draft(draft)


def test_a_link_to_a_draft_is_no_draft(draft: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(draft)
    with pytest.raises(InvalidInput, match="not a folder"):
        read_draft(tmp_path / "link")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channels": ["post_r", "post_g", "post_b", "pre_r", "pre_g", "pre_b"]}, "serving stacks pre_r"),
        ({"channels": []}, "channels"),
        ({"stride": 0}, "stride 0"),
        ({"size": 8, "stride": 16}, "size 8"),
        ({"size": 1_000_000}, "size 1000000"),
        ({"classes": []}, "classes"),
        ({"classes": ["a", "a"]}, "classes"),
        ({"classes": ["a", " "]}, "classes"),
        ({"score_threshold": 1.5}, "score_threshold"),
        ({"max_detections": 0}, "max_detections"),
        ({"input_name": ""}, "input_name"),
    ],
)
def test_a_contract_that_serving_cannot_obey(draft: Path, change: dict[str, Any], words: str) -> None:
    (draft / "contract.json").write_text(json.dumps(change))
    with pytest.raises(InvalidInput, match=words):
        read_draft(draft)
