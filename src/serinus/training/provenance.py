"""What made a version, by hashes: so that an equal run can be told from one that only looks equal."""

import hashlib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import serinus
from serinus.data.dataset import Dataset

_ROOMS = ("core", "artifact", "imagery", "data", "engine", "evaluation", "training")
"""What a training runs."""


@cache
def code_sha256() -> str:
    """Of all source files that a training may run, by name and content."""
    root = Path(serinus.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for room in _ROOMS for path in (root / room).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def of_dataset(dataset: Dataset) -> dict[str, Any]:
    """Members of a lineage's `config` that say what was learned from."""
    pairs = dataset.pairs()
    return {
        "dataset_sha256": dataset.manifest.sha256,
        "disasters": sorted({pair.disaster for pair in pairs}),
        "pairs": dict(sorted(Counter(str(pair.split) for pair in pairs).items())),
    }
