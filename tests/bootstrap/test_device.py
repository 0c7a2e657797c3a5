"""Which device runs the models: with the ONNX Runtime that is installed, and in words for the others."""

import os
import subprocess
import sys
from pathlib import Path

import onnxruntime as ort
import pytest

import serinus
from serinus.bootstrap.device import device_of, refusal
from serinus.bootstrap.settings import WrongSettings, load
from serinus.cli.exits import Exit
from serinus.core.enums import Device
from serinus.engine.device import Finding, look

MODEL = Path(serinus.__file__).parent / "base/model.onnx"
HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers()


def test_the_child_tells_what_the_runtime_offers() -> None:
    found = look(MODEL)
    assert found.providers == tuple(ort.get_available_providers())
    assert found.runtime == ort.__version__


def test_a_child_that_breaks_is_a_finding(tmp_path: Path) -> None:
    found = look(tmp_path / "model.onnx", seconds=0.001)
    assert (found.works, "no answer within" in found.cause) == (False, True)


@pytest.mark.skipif(HAS_CUDA, reason="the ONNX Runtime here was built for CUDA")
def test_without_the_package_auto_is_the_cpu_and_cuda_is_refused() -> None:
    assert device_of(load(device="auto")) is Device.CPU
    assert device_of(load(device="cpu")) is Device.CPU
    with pytest.raises(WrongSettings, match=r"built without it; it offers .*CPU") as refused:
        device_of(load(device="cuda"))
    assert "pip install onnxruntime-gpu" in refused.value.remedy


def test_a_gpu_that_does_not_work_is_refused_with_the_runtimes_own_words() -> None:
    cause = "libcublasLt.so.12: cannot open shared object file"
    providers = ("CUDAExecutionProvider", "CPUExecutionProvider")
    error = refusal(Finding(runtime="1.32.0", providers=providers, works=False, cause=cause))
    assert cause in error.message
    assert "nvidia-smi" in error.remedy


@pytest.mark.processes
@pytest.mark.skipif(HAS_CUDA, reason="the ONNX Runtime here was built for CUDA")
@pytest.mark.parametrize("command", ["infer", "up"])
def test_the_service_does_not_start_and_says_whose_fault_it_is(tmp_path: Path, command: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "serinus",
            command,
            "--device",
            "cuda",
            "--model-dir",
            str(tmp_path / "models"),
        ],
        env=os.environ | {"DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == Exit.USAGE
    assert "DEVICE is cuda, but the ONNX Runtime" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "models").exists(), "nothing was begun"
