"""What this house began as: forms by Starlette, Pillow, boxes drawn by matplotlib. Arguments: port, threads.

The network is the same as everywhere here; the prototype's own was slower.
"""

import asyncio
import base64
import io
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
import uvicorn
from fastapi import FastAPI, UploadFile
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from pipeline import MODEL, SIZE

app = FastAPI()
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(str(MODEL), options)
threads = ThreadPoolExecutor(int(sys.argv[2]))


def overlay(picture: np.ndarray, found: list[list[float]], scale: float) -> str:
    figure = Figure(figsize=(10, 10))
    axes = figure.subplots()
    axes.imshow(picture)
    for x1, y1, x2, y2, sure, kind in found:
        box = Rectangle(
            (x1 / scale, y1 / scale), (x2 - x1) / scale, (y2 - y1) / scale, fill=False, color="red"
        )
        axes.add_patch(box)
        axes.text(x1 / scale, y1 / scale, f"{kind:.0f} {sure:.2f}", color="white", fontsize=8)
    axes.axis("off")
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    return base64.b64encode(file.getvalue()).decode()


def run(pre: bytes, post: bytes) -> dict:
    pictures = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in (pre, post)]
    height, width = pictures[0].shape[:2]
    scale = min(1.0, SIZE / max(height, width))
    size = (round(width * scale), round(height * scale))
    small = [np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BOX)) for each in pictures]
    (rows,) = session.run(None, {session.get_inputs()[0].name: np.concatenate(small, 2)[None]})
    found = rows[0][rows[0][:, 4] >= 0.3].tolist()
    return {"found": found, "overlay": overlay(pictures[1], found, scale)}


@app.post("/predict")
async def predict(pre_disaster: UploadFile, post_disaster: UploadFile) -> dict:
    pre, post = await pre_disaster.read(), await post_disaster.read()
    return await asyncio.get_running_loop().run_in_executor(threads, run, pre, post)


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
