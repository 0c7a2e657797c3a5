"""Whether a GPU can run models here: asked of a child process, which a broken driver may take down.

`python -m serinus.engine.device MODEL` runs a model once on the GPU and prints what it found, as JSON. The
service's own process never loads the runtime.
"""

import subprocess
import sys
from pathlib import Path

import msgspec

_SECONDS = 120.0
_WORDS = 400


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What the child says."""

    runtime: str
    """Version of ONNX Runtime."""
    providers: tuple[str, ...]
    """What it was built for."""
    works: bool
    cause: str = ""
    """Why not, as far as is known."""

    @property
    def built_for_cuda(self) -> bool:
        return "CUDAExecutionProvider" in self.providers


def look(model: Path, *, seconds: float = _SECONDS) -> Finding:
    """Runs `model` once on the GPU, in a child process."""
    command = [sys.executable, "-P", "-m", "serinus.engine.device", str(model)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return Finding(runtime="", providers=(), works=False, cause=f"no answer within {seconds:g} s")
    talk = " ".join(done.stderr.decode("utf-8", "replace").split())[-_WORDS:]
    try:
        found = msgspec.json.decode(done.stdout, type=Finding)
    except msgspec.MsgspecError:
        return Finding(
            runtime="", providers=(), works=False, cause=talk or f"ended with code {done.returncode}"
        )
    return found if found.works or found.cause else msgspec.structs.replace(found, cause=talk)


def _find(model: Path) -> Finding:
    import numpy as np
    import onnxruntime as ort

    from serinus.core.enums import Device
    from serinus.core.errors import Misconfigured, ModelFault
    from serinus.engine.session import CUDA, open_session

    runtime, providers = ort.__version__, tuple(ort.get_available_providers())
    if CUDA not in providers:
        return Finding(runtime=runtime, providers=providers, works=False)
    try:
        session = open_session(model, device=Device.CUDA)
        given = session.get_inputs()[0]
        session.run(None, {given.name: np.zeros((1, 64, 64, given.shape[3]), np.uint8)})
    except Misconfigured:
        return Finding(runtime=runtime, providers=providers, works=False)  # the runtime's log says why
    except (ModelFault, RuntimeError) as error:
        return Finding(runtime=runtime, providers=providers, works=False, cause=str(error)[:_WORDS])
    return Finding(runtime=runtime, providers=providers, works=True)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(_find(Path(sys.argv[1]))))
