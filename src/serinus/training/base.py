"""Makes the packaged base model again: `python -m serinus.training.base OUT`.

What every new installation publishes as version 1. Trained on synthetic pairs only, of a seed of its own, so
that it has seen no picture that the demo or the tests make. Every number is fixed: the same machine and
versions give the same weights.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from serinus.data.importing import import_archive
from serinus.data.synth.write import write_zip
from serinus.training.run import train
from serinus.training.trainer import Progress, TrainSpec

DISASTER = "synth-hurricane"
PAIRS, SIZE, SEED = 110, 256, 20_240_915
SPEC = TrainSpec(epochs=8, batch=8, img_size=SIZE, seed=SEED, threads=2)


def make(out: Path) -> Path:
    """Writes the draft to `out`; what was there is replaced once the new one is ready. Gives `out`."""
    with tempfile.TemporaryDirectory(prefix="serinus-base-") as scratch:
        archive = Path(scratch) / "base.zip"
        write_zip(archive, DISASTER, PAIRS, SIZE, SEED)
        dataset = import_archive(archive, Path(scratch) / "datasets", clock=lambda: 0.0)
        draft = train(SPEC, dataset, Path(scratch) / "base", progress=_show)
        if out.exists():
            shutil.rmtree(out)
        shutil.copytree(draft, out)
    return out


def _show(progress: Progress) -> None:
    sys.stderr.write(f"\r{progress.fraction:4.0%} {progress.words:60}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="directory to make")
    make(parser.parse_args().out)
    sys.stderr.write("\n")
