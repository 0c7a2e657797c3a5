"""What the compact trainer learns in how long, on two cores.

    make bench-train [BENCH_ARGS="--quick --json FILE"]

1. From scratch on synth-hurricane: goal mAP50 >= 0.75 on its test split in <= 2 minutes. The baseline in the
   same run sees the post picture only.
2. That version fine-tuned on both disasters: what it wins on synth-wildfire, what it loses on synth-hurricane
   (goal: at most 0.02), with intervals of the paired bootstrap.

Wall seconds mean something on an idle machine only; CPU seconds stand beside them.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from serinus.artifact.manifest import Contract
from serinus.data.dataset import Dataset, Pair, load_pair
from serinus.data.importing import import_archive
from serinus.data.synth.scenery import Disaster
from serinus.data.synth.write import SynthSet, write_sets
from serinus.engine.session import Model
from serinus.evaluation.bootstrap import Bound, compare
from serinus.evaluation.coco import Found
from serinus.imagery.stack import fit, to_original
from serinus.training.baseline import FILE, Baseline
from serinus.training.run import train
from serinus.training.trainer import TrainSpec

A, B = Disaster("synth-hurricane"), Disaster("synth-wildfire")
GOAL, SECONDS, LOSS = 0.75, 120.0, 0.02


def dataset(folder: Path, name: str, pairs: int, *disasters: Disaster) -> Dataset:
    write_sets(folder / f"{name}.zip", [SynthSet(disaster=one, pairs=pairs, seed=7) for one in disasters])
    return import_archive(folder / f"{name}.zip", folder / "datasets", clock=lambda: 0.0)


def timed(spec: TrainSpec, data: Dataset, out: Path, **more: Any) -> dict[str, float]:
    wall, cpu = time.monotonic(), time.process_time()
    train(spec, data, out, **more)
    metrics = json.loads((out / "metrics.json").read_bytes())
    return {
        "wall_seconds": round(time.monotonic() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "map50": metrics["map50"],
    }


def answers(draft: Path, data: Dataset, pairs: list[Pair]) -> list[Found]:
    contract = msgspec.json.decode((draft / "contract.json").read_bytes(), type=Contract)
    model = Model.load(draft / "model.onnx", contract)
    found = []
    for pair in pairs:
        pre, post, _, _ = load_pair(data, pair)
        fitted = fit(pre, post, size=contract.size, stride=contract.stride)
        found.append(to_original(model.infer(fitted.image)[0], fitted))
    return found


def difference(data: Dataset, disaster: Disaster, old: Path, new: Path) -> Bound:
    pairs = [pair for pair in data.pairs("test") if pair.disaster == disaster]
    truth = [load_pair(data, pair)[2:] for pair in pairs]
    return compare(truth, answers(old, data, pairs), answers(new, data, pairs), data.manifest.classes).map50()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the pairs: only to see that it runs")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given = parser.parse_args()
    pairs, epochs, tuned = (24, 2, 1) if given.quick else (180, 10, 8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hurricane = dataset(folder, "a", pairs, A)
        both = dataset(folder, "ab", pairs, A, B)
        first, second = folder / "first", folder / "second"
        scratch = timed(TrainSpec(epochs=epochs), hurricane, first)
        tuning = timed(TrainSpec(epochs=tuned, base=first), both, second)
        on_a, on_b = (difference(both, one, first, second) for one in (A, B))
        timed(TrainSpec(epochs=epochs), hurricane, folder / "again", with_baseline=True)
        beaten = msgspec.json.decode((folder / "again" / FILE).read_bytes(), type=Baseline)
    met = {
        f"mAP50 >= {GOAL} on {A}": scratch["map50"] >= GOAL,
        f"<= {SECONDS:.0f} s (wall)": scratch["wall_seconds"] <= SECONDS,
        f"<= {LOSS} lost on {A}": on_a.difference >= -LOSS,
        f"better on {B}": on_b.low > 0,
    }
    lines = [f"from scratch on {A}: {scratch}", f"fine-tuned on both: {tuning}"]
    for disaster, bound in ((A, on_a), (B, on_b)):
        lines.append(
            f"{disaster} test: {bound.a:.3f} -> {bound.b:.3f}, {bound.difference:+.3f} "
            f"({bound.low:+.3f} to {bound.high:+.3f})"
        )
    lines += [beaten.words, *(f"{'met' if kept else 'MISSED':7}{words}" for words, kept in met.items())]
    sys.stdout.write("\n".join(lines) + "\n")
    if given.json:
        figures = {"scratch": scratch, "tuning": tuning, "met": met, "baseline": msgspec.to_builtins(beaten)}
        figures |= {str(A): msgspec.to_builtins(on_a), str(B): msgspec.to_builtins(on_b)}
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
