"""Golden sets for the tests: pictures whose truth is what a healthy version of seed 0 finds on them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from serinus.imagery.decode import encode_png
from serinus.store import GoldenEntry
from serinus.store.golden import GoldenIndex
from tests import models


def write_golden(
    folder: Path,
    *,
    pairs: int = 12,
    seed: int = 5,
    turned: int = 0,
    calls: Sequence[int] = (0, 1, 2, 3),
    dataset: str = "ds-test",
) -> tuple[str, ...]:
    """Fills `folder` as `data.golden.export_golden` does; gives the sha256 of the post pictures.

    `turned` 1: the truth is what `models.other_classes` finds; `calls`: what `models.calling` does.
    """
    folder.mkdir(parents=True)
    images = models.golden_images(pairs=pairs, seed=seed)
    answers = models.run(models.healthy_graph(0, turned), images)
    entries = []
    for index, (image, found) in enumerate(zip(images, answers, strict=True)):
        pre, post = encode_png(image[..., :3]), encode_png(image[..., 3:])
        (folder / f"{index}-pre.png").write_bytes(pre)
        (folder / f"{index}-post.png").write_bytes(post)
        rows = found[found[:, 4] > 0]
        entries.append(
            GoldenEntry(
                key=f"synth_{index:08d}",
                sha256=hashlib.sha256(post).hexdigest(),
                sha256_pre=hashlib.sha256(pre).hexdigest(),
                pre=f"{index}-pre.png",
                post=f"{index}-post.png",
                boxes=tuple((float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in rows[:, :4]),
                classes=tuple(calls[int(label)] for label in rows[:, 5]),
            )
        )
    index_file = GoldenIndex(dataset=dataset, pairs=tuple(entries))
    (folder / "golden.json").write_bytes(msgspec.json.encode(index_file))
    return tuple(entry.sha256 for entry in entries)
