"""How often a class gate refuses an equal version, and how often one whose classes went wrong.

    make bench-gates

Made-up versions that miss a fifth of the buildings and call a tenth by a wrong class, each with mistakes of
its own: `equal` is no worse than current; `swapped` calls minor damage major and the reverse; `shuffled`
calls everything by chance; `lost` never says destroyed. Beside it the strict gate (loss: possible).
"""

import argparse
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from serinus.evaluation.bootstrap import compare
from serinus.evaluation.coco import Found, Truth
from serinus.rollout.policy import ClassGate

CLASSES = ("no-damage", "minor-damage", "major-damage", "destroyed")
SHARES = (0.6, 0.14, 0.13, 0.13)
GATE = ClassGate()
Change = Callable[[Found, np.random.Generator], Found]


def truth_of(pictures: int, rng: np.random.Generator) -> Truth:
    """256 px, 3 to 14 buildings each."""
    found = []
    for _ in range(pictures):
        count = int(rng.integers(3, 15))
        corner, size = rng.uniform(0, 216, (count, 2)), rng.uniform(14, 40, (count, 2))
        boxes = np.hstack((corner, corner + size)).astype(np.float32)
        found.append((boxes, rng.choice(4, count, p=SHARES)))
    return found


def answers(truth: Truth, rng: np.random.Generator) -> list[Found]:
    """What a version finds: 3 px off, a fifth missed, a tenth by a class of chance, three false alarms."""
    found = []
    for boxes, labels in truth:
        kept = rng.random(len(labels)) >= 0.2
        some, said = boxes[kept], labels[kept].copy()
        wrong = rng.random(len(said)) < 0.1
        said[wrong] = rng.integers(0, 4, int(wrong.sum()))
        hits = np.column_stack((some + rng.normal(0, 3, some.shape), rng.uniform(0.3, 1, len(said)), said))
        place = rng.uniform(0, 220, (3, 2))
        false = np.column_stack((place, place + 25, rng.uniform(0.01, 0.6, 3), rng.integers(0, 4, 3)))
        rows = np.vstack((hits, false)).astype(np.float32)
        rows[:, 2:4] = np.maximum(rows[:, 2:4], rows[:, :2] + 1)
        found.append(rows)
    return found


def renamed(names: tuple[int, ...]) -> Change:
    def change(rows: Found, _: np.random.Generator) -> Found:
        return np.column_stack((rows[:, :5], np.array(names)[rows[:, 5].astype(int)])).astype(np.float32)

    return change


def shuffled(rows: Found, rng: np.random.Generator) -> Found:
    return np.column_stack((rows[:, :5], rng.choice(4, len(rows), p=SHARES))).astype(np.float32)


CHANGES: dict[str, Change] = {
    "equal": renamed((0, 1, 2, 3)),
    "swapped": renamed((0, 2, 1, 3)),
    "shuffled": shuffled,
    "lost": renamed((0, 1, 2, 2)),
}


def refused(pictures: int, change: Change, seed: int) -> tuple[bool, bool]:
    """By the default gate, and by the same one with loss: possible."""
    rng = np.random.default_rng(seed)
    truth = truth_of(pictures, rng)
    current, candidate = answers(truth, rng), [change(rows, rng) for rows in answers(truth, rng)]
    compared = compare(truth, current, candidate, CLASSES, samples=400)
    bounds = [
        compared.ap50(label, GATE.confidence)
        for label, support in enumerate(compared.support)
        if support.objects >= GATE.min_objects and support.pictures >= GATE.min_pictures
    ]
    return any(one.high < -GATE.margin for one in bounds), any(one.low < -GATE.margin for one in bounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    runs = parser.parse_args().runs
    table = Table(
        "pairs", "version", "refused", "refused with loss: possible", title=f"{GATE}", title_style=""
    )
    for pictures in (20, 40, 100):
        for name, change in CHANGES.items():
            made = np.array([refused(pictures, change, seed) for seed in range(runs)])
            table.add_row(str(pictures), name, *(f"{share:.0%}" for share in made.mean(axis=0)))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
