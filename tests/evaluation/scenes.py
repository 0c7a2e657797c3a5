"""Made-up truth and detections, seeded."""

import numpy as np

CLASSES = ("no-damage", "minor-damage", "major-damage", "destroyed")

Truth = list[tuple[np.ndarray, np.ndarray]]


def scenes(
    *, pictures: int, seed: int = 0, noise: float = 2.0, alarms: int = 10, rare: bool = False
) -> tuple[Truth, list[np.ndarray]]:
    """256 px, about 9 buildings each; corners off by `noise` px, some classes wrong, `alarms` false ones."""
    rng = np.random.default_rng(seed)
    shares = [0.9, 0.08, 0.015, 0.005] if rare else [0.6, 0.14, 0.13, 0.13]
    truth, found = [], []
    for _ in range(pictures):
        count = int(rng.integers(3, 15))
        corner, size = rng.uniform(0, 216, (count, 2)), rng.uniform(14, 40, (count, 2))
        boxes = np.hstack((corner, corner + size)).astype(np.float32)
        labels = rng.choice(4, count, p=shares)
        truth.append((boxes, labels))
        said = np.where(rng.random(count) < 0.15, rng.integers(0, 4, count), labels)
        hits = np.column_stack(
            (boxes + rng.normal(0, 1, boxes.shape) * noise, rng.uniform(0.2, 1, count), said)
        )
        place = rng.uniform(0, 220, (alarms, 2))
        false = np.column_stack(
            (place, place + 25, rng.uniform(0.01, 0.6, alarms), rng.integers(0, 4, alarms))
        )
        rows = np.vstack((hits, false)).astype(np.float32)
        rows[:, 2:4] = np.maximum(rows[:, 2:4], rows[:, :2] + 1)
        found.append(rows)
    return truth, found


def perfect(truth: Truth) -> list[np.ndarray]:
    return [
        np.column_stack((boxes, np.full(len(boxes), 0.9), labels)).astype(np.float32)
        for boxes, labels in truth
    ]
