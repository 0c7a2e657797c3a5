"""A picture for the model card: pairs that the version did not learn from, and what it shows on them."""

from pathlib import Path

import cv2
import numpy as np

from serinus.artifact.manifest import Contract
from serinus.imagery.decode import decode, encode_jpeg
from serinus.imagery.overlay import preview
from serinus.training.export import GOLDEN

FILE = "training/examples.jpg"
_MOST, _SIDE, _GAP = 3, 512, 6
_MAX_PIXELS = 1 << 26


def write_examples(draft: Path, contract: Contract) -> None:
    """Writes training/examples.jpg of the golden results: a row each, before and after with its boxes."""
    with np.load(draft / GOLDEN, allow_pickle=False) as arrays:
        images, detections = arrays["images"][:_MOST], arrays["detections"][:_MOST]
    rows = []
    for image, found in zip(images, detections, strict=True):
        shown = found[found[:, 4] >= contract.score_threshold]
        # Drawn at the size that is shown: lines that are scaled down lose their colour to their dark edge.
        drawn = preview(image[..., 3:], shown, contract.classes, longest=_SIDE)
        after = decode(drawn, max_pixels=_MAX_PIXELS)
        height, width = after.shape[:2]
        before = np.full_like(after, after[-1, 0])  # beside the legend: its ground
        scale = min(width / image.shape[1], height / image.shape[0])
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        before[: size[1], : size[0]] = cv2.resize(image[..., :3], size, interpolation=cv2.INTER_CUBIC)
        gap = np.full((height, _GAP, 3), 255, np.uint8)
        row = np.hstack((before, gap, after))
        rows += [row, np.full((_GAP, row.shape[1], 3), 255, np.uint8)]
    (draft / FILE).write_bytes(encode_jpeg(np.vstack(rows[:-1])))
