"""Draws the example pairs of the page Inference anew: `python tools/examples.py`."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from serinus.data.synth.scenery import Disaster  # noqa: E402
from serinus.data.synth.tile import synth_tile  # noqa: E402

OUT = ROOT / "src/serinus/api/examples"
SIZE = 256
"""Pixels: what the packaged model takes without scaling."""
PAIRS = {"hurricane": (Disaster.HURRICANE, 3), "wildfire": (Disaster.WILDFIRE, 4)}


def main() -> None:
    """Writes them."""
    OUT.mkdir(exist_ok=True)
    for name, (disaster, number) in PAIRS.items():
        tile = synth_tile(23, disaster, number, SIZE)
        for when, pixels in (("pre", tile.pre), ("post", tile.post)):
            path = OUT / f"{name}-{when}.png"
            Image.fromarray(np.asarray(pixels)).save(path, optimize=True)
            sys.stderr.write(f"{path.name}: {path.stat().st_size // 1000} kB\n")


if __name__ == "__main__":
    main()
