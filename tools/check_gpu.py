"""Checks on a machine with an NVIDIA GPU what no other machine can: python tools/check_gpu.py

Wants onnxruntime-gpu in place of onnxruntime, with its CUDA and cuDNN libraries. It looks whether the GPU is
found, whether the packaged model answers there as on the CPU, alone and in batches, what batches are worth,
and whether `serinus infer --device cuda` serves and says so. Ends with 1 at the first thing that is wrong.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

import serinus
from serinus.artifact.manifest import Contract
from serinus.bootstrap.device import device_of
from serinus.bootstrap.settings import WrongSettings, load
from serinus.core.enums import Device
from serinus.engine.output import mismatch
from serinus.engine.pace import measure
from serinus.engine.session import Model
from serinus.serving.batching import choose

BASE = Path(serinus.__file__).parent / "base"
CONFIDENCE, PIXELS, FLOOR = 0.02, 1.0, 0.1
SECONDS = 120.0


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")


def check_answers() -> None:
    """The same on both devices, alone and in a batch."""
    contract = msgspec.json.decode((BASE / "contract.json").read_bytes(), type=Contract)
    processor, card = (
        Model.load(BASE / "model.onnx", contract, device=device, device_bytes=4 << 30)
        for device in (Device.CPU, Device.CUDA)
    )
    with np.load(BASE / "training/golden.npz", allow_pickle=False) as arrays:
        images = arrays["images"]
    together = card.infer(images)
    for number, image in enumerate(images):
        wanted = processor.infer(image[None])[0]
        for name, found in (("alone", card.infer(image[None])[0]), ("in a batch", together[number])):
            words = mismatch(wanted, found, floor=FLOOR, confidence=CONFIDENCE, pixels=PIXELS)
            if words:
                raise SystemExit(f"Picture {number} {name}: the GPU answers otherwise: {words}")
    say(f"{len(images)} golden pictures: the GPU answers as the CPU does, alone and in a batch.")
    for device, model in ((Device.CPU, processor), (Device.CUDA, card)):
        pace = measure(model, device=device)
        say(f"{device}: {choose(pace, 0.005)}")


def check_service() -> None:
    """It starts, and says that it runs there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        places = {"MODEL_DIR": f"{folder}/models", "DATA_DIR": f"{folder}/data", "INFER_PORT": str(port)}
        process = subprocess.Popen(
            [sys.executable, "-m", "serinus", "infer", "--device", "cuda"], env=os.environ | places
        )
        try:
            status = wait_loaded(process, port)
        finally:
            process.terminate()
            process.wait(60)
    if status["device"] != "cuda" or not status["loaded"]:
        raise SystemExit(f"The service says: {json.dumps(status)}")
    say(f"The service runs on the GPU: {json.dumps(status['loaded'])}")


def wait_loaded(process: "subprocess.Popen[bytes]", port: int) -> dict[str, object]:
    """/model-status, once a version is loaded."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/model-status")
            status: dict[str, object] = json.loads(connection.getresponse().read())
            if status["current_model"]:
                return status
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.2)
    raise SystemExit("The service did not load a version.")


def main() -> None:
    try:
        device_of(load(device="cuda"))
    except WrongSettings as error:
        raise SystemExit(str(error)) from error
    check_answers()
    check_service()


if __name__ == "__main__":
    main()
