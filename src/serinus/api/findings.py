"""From checked detections to the documents of the inference API. Pure."""

from typing import Any

import numpy as np

from serinus.api.inference_documents import Detection, ImageSize, ModelUsed
from serinus.serving.prediction import Prediction


def findings(prediction: Prediction) -> dict[str, Any]:
    """The members of `Findings`, the most confident detection first."""
    classes = prediction.contract.classes
    rows = prediction.detections[np.argsort(-prediction.detections[:, 4], kind="stable")]
    detections = [_detection(number, row.tolist(), classes) for number, row in enumerate(rows)]
    counts = {name: sum(each.class_name == name for each in detections) for name in classes}
    damaged = len(detections) - counts[classes[0]]
    width, height = prediction.size
    return {
        "detections": detections,
        "model_used": prediction.role,
        "model": ModelUsed(
            version=prediction.target.version, sha256=prediction.target.digest, role=prediction.role
        ),
        "image_size": ImageSize(width=width, height=height),
        "counts": counts,
        "total": len(detections),
        "damaged_pct": round(100 * damaged / len(detections), 1) if detections else 0.0,
        "assigned": prediction.assigned,
        "override": prediction.override,
        "fallback": prediction.fallback,
        "warnings": _warnings(prediction, width, height),
    }


def _detection(number: int, row: list[float], classes: tuple[str, ...]) -> Detection:
    left, top, right, bottom, confidence, kind = row
    return Detection(
        id=number,
        cls=int(kind),
        class_name=classes[int(kind)],
        conf=round(confidence, 4),
        xyxy=(round(left, 2), round(top, 2), round(right, 2), round(bottom, 2)),
    )


def _warnings(prediction: Prediction, width: int, height: int) -> list[str]:
    contract = prediction.contract
    found: list[str] = []
    if max(width, height) > contract.size:
        found.append(
            f"The pair was scaled down from {width} x {height} to a longest side of {contract.size} px; "
            "small buildings may be missed. Send tiles."
        )
    if len(prediction.detections) >= contract.max_detections:
        found.append(f"The model gives at most {contract.max_detections} buildings; there may be more.")
    return found
