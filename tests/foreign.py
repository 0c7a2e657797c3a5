"""What other trainers leave: folders with real weights and graphs, and what people and attackers leave."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from serinus.training import weights
from serinus.training.network import Architecture, CompactNet
from tests import models

CARD: dict[str, Any] = {
    "version": 7,
    "timestamp": "2024-01-15T10:30:00",
    "canary_start_time": "2024-01-15T10:30:00",
    "traffic_weight": 0.5,
    "img_size": 64,
    "metrics": {"train_epochs": 10, "final_map": 0.84, "final_precision": 0.79, "final_recall": 0.83},
}
ARCHITECTURE = Architecture(
    classes=("no-damage", "minor-damage", "major-damage", "destroyed"), widths=(4, 4, 8, 8)
)


def describe(folder: Path, **more: Any) -> Path:
    """`version.json`, which a trainer writes last."""
    (folder / "version.json").write_text(json.dumps(CARD | more))
    return folder


def compact(folder: Path, seed: int = 0) -> Path:
    """best.pt and best.json of an untrained compact network."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    weights.save(CompactNet(ARCHITECTURE).eval(), folder)
    return describe(folder)


def graph(folder: Path, seed: int = 0) -> Path:
    """Only best.onnx, whose contract must be derived."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "best.onnx").write_bytes(models.healthy_graph(seed).SerializeToString())
    return describe(folder)


class Attack:
    """Leaves a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.proof}",)


def checkpoint(folder: Path, value: Any) -> Path:
    """best.pt as torch saves any object."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(value, folder / "best.pt")
    return describe(folder)


def raw_pickle(folder: Path, value: Any) -> Path:
    """best.pt as a bare pickle."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "best.pt").write_bytes(pickle.dumps(value))
    return describe(folder)


def bomb(folder: Path, gigabytes: int = 8) -> Path:
    """A best.pt of some megabytes that unpacks to `gigabytes` of zeros."""
    compact(folder)
    found = io.BytesIO((folder / "best.pt").read_bytes())
    with zipfile.ZipFile(found) as small, zipfile.ZipFile(folder / "best.pt", "w") as large:
        for entry in small.infolist():
            if not entry.filename.endswith("data/0"):
                large.writestr(entry.filename, small.read(entry))
                continue
            deflated = zipfile.ZipInfo(entry.filename)
            deflated.compress_type = zipfile.ZIP_DEFLATED
            with large.open(deflated, "w", force_zip64=True) as member:
                for _ in range(gigabytes * 64):
                    member.write(bytes(1 << 24))
    return folder
