"""One pair from bytes to detections with OpenCV and ONNX Runtime: what the limit and all peers run.

Independent of Serinus, so that what it is compared with is not its own code; with `BENCH_STORED` PNGs are
read as Serinus reads them, so that nobody takes what its decoder saves for what the server costs.
"""

import json
import os
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

MODEL = Path(os.environ["BENCH_MODEL"])
SIZE = int(json.loads(MODEL.with_name("contract.json").read_text())["size"])
cv2.setNumThreads(1)
_prepared = (
    import_module("serinus.imagery.stored_png").stored
    if os.environ.get("BENCH_STORED")
    else lambda data: data
)


class Pipeline:
    """The model of `BENCH_MODEL`, one thread a picture."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, pre: bytes, post: bytes) -> list[list[float]]:
        small = []
        for data in (pre, post):
            picture = cv2.imdecode(np.frombuffer(_prepared(data), np.uint8), cv2.IMREAD_COLOR_RGB)
            scale = min(1.0, SIZE / max(picture.shape[:2]))
            size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
            small.append(cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if scale < 1 else picture)
        found = self._session.run(None, {self._input: cv2.merge(small)[None]})[0][0]
        return found[found[:, 4] >= 0.3].tolist()
