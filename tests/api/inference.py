"""A working stand-in for the inference service: reads the form, answers with the documented fields."""

import base64
import struct
import zlib

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from serinus.api import errors
from serinus.core.errors import InvalidInput


def _png(width: int, height: int) -> bytes:
    """A grey-green picture with a lighter square in it."""
    rows = b"".join(
        b"\0"
        + b"".join(b"\xe6\xb0\x20" if 40 < x < 90 and 40 < y < 80 else b"\x6b\x7d\x5f" for x in range(width))
        for y in range(height)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


PNG = _png(256, 192)


def inference() -> FastAPI:
    """`/model-status` and `/predict`."""
    app = FastAPI()
    errors.install(app)

    @app.get("/model-status")
    async def model_status() -> dict[str, object]:
        return {"current_model": True, "canary_model": False, "deployment_mode": "production"}

    @app.post("/predict")
    async def predict(request: Request) -> JSONResponse:
        form = await request.form()
        missing = [name for name in ("pre_disaster", "post_disaster") if name not in form]
        if missing:
            raise InvalidInput(f"{missing[0]} is missing.")
        names = ("no-damage", "minor-damage", "major-damage", "destroyed")
        found = [
            {
                "id": n,
                "cls": n % 4,
                "class_name": names[n % 4],
                "conf": 0.9 - n / 20,
                "xyxy": [n, n, n + 40.5, n + 30],
            }
            for n in range(7)
        ]
        return JSONResponse(
            {
                "detections": found,
                "overlay_png_base64": base64.b64encode(PNG).decode(),
                "model_used": "canary",
                "model": {"version": 3, "sha256": "ab" * 32, "role": "canary"},
                "counts": {name: sum(d["class_name"] == name for d in found) for name in names},
                "total": len(found),
                "damaged_pct": 71.4,
                "request_id": request.headers.get("x-request-id", ""),
                "timing_ms": {"decode": 3.1, "model": 62.4, "overlay": 18.2, "total": 84.2},
                "assigned": "canary",
                "override": False,
                "image_size": {"width": 256, "height": 192},
                "fallback": False,
                "notice": "Decision support, verify on the ground.",
                "overlay": request.query_params.get("overlay", "png"),
                "asked": dict(request.query_params),
                "warnings": ["The pictures are smaller than what the model was trained on."],
            }
        )

    return app
