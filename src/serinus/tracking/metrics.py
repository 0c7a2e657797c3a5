"""From the names that trainers give their metrics in MLflow to ours. Pure."""

import math
import re
from collections.abc import Mapping

_MOST = 500
_OURS = {
    "map50": "map50",
    "map5095": "map50_95",
    "precision": "precision",
    "recall": "recall",
}


def metrics_of(recorded: Mapping[str, float]) -> dict[str, float]:
    """Every finite metric under its own name, and under ours where that is obvious.

    `metrics/mAP50B`, `val_map_50` and `mAP50-95` are; what was measured in training is not, and where two
    names mean the same and their values differ, neither is.
    """
    finite = {name: value for name, value in sorted(recorded.items()) if math.isfinite(value)}
    meant: dict[str, set[float]] = {}
    for name, value in finite.items():
        ours = _ours(name)
        if ours is not None:
            meant.setdefault(ours, set()).add(value)
    obvious = {name: values.pop() for name, values in meant.items() if len(values) == 1}
    return {**obvious, **dict(list(finite.items())[:_MOST])}


def _ours(name: str) -> str | None:
    words = [word for word in re.split(r"[/_.\s-]+", name.lower()) if word]
    if "train" in words:
        return None
    plain = "".join(word for word in words if word not in ("metrics", "val", "eval", "test", "final", "best"))
    plain = re.sub(r"[()@:]", "", plain)
    return _OURS.get(plain) or _OURS.get(plain.removesuffix("b"))  # B: boxes, as Ultralytics says
