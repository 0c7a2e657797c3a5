"""A Python that has Ultralytics, for tests that run its code."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

PACKAGES = (
    "ultralytics",
    "ultralytics-thop",
    "torchvision",
    "polars",
    "polars-runtime-32",
    "pyyaml",
    "requests",
    "urllib3",
    "charset-normalizer",
)
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
# There is no torchvision for the CPU on every index: the operators that an import of it needs are declared,
# and the one that is called is Ultralytics' own.
DECLARED = """
import torch

declared = torch.library.Library("torchvision", "FRAGMENT")
for name in ("nms", "qnms"):
    declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def nms(boxes, scores, limit):
    from ultralytics.utils.nms import TorchNMS

    return TorchNMS.nms(boxes, scores, limit)


declared.impl("nms", nms, "CPU")
"""
SCRIPT = Path(__file__).parent / "with_ultralytics.py"


@pytest.fixture(scope="session")
def ultralytics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has Ultralytics beside what this one has. It is not put into ours: opencv-python, which
    it asks for, takes the place of our opencv-python-headless."""
    home = tmp_path_factory.mktemp("ultralytics")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps"]
    subprocess.run([*pip, "-c", str(CONSTRAINTS), *PACKAGES], check=True)
    (packages,) = (home / "lib").glob("python*/site-packages")
    (packages / "shared.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
    (packages / "sitecustomize.py").write_text(DECLARED)
    return python


def start(python: Path, *words: str) -> "subprocess.Popen[str]":
    """The script in that Python."""
    return subprocess.Popen(
        [str(python), str(SCRIPT), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1", "HOME": words[1]},
    )


def in_python(python: Path, *words: str) -> Any:
    """What the script comes to."""
    child = start(python, *words)
    said, complained = child.communicate()
    assert child.returncode == 0, complained[-3000:]
    return json.loads(io.StringIO(said).readlines()[-1])
