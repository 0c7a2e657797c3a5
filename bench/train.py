"""What the compact trainer learns in how long, on two cores.

    make bench-train [BENCH_ARGS="--quick --json FILE"]

1. From scratch on synth-hurricane: goal mAP50 >= 0.75 on its test split in <= 2 minutes on two idle cores.
2. Six channels against three: the same training sees the post picture only; the paired bootstrap compares
   both on the test split, as `serinus train --baseline` does.
3. The version of 1 fine-tuned on both disasters: what it wins on synth-wildfire, what it loses on
   synth-hurricane (goal: at most 0.02), with intervals of the paired bootstrap over pairs that nobody saw.

Wall seconds mean something on an idle machine only; CPU seconds, of all processes of a training, stand beside
them: on two cores a training can take no more of them than twice the wall seconds.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from serinus.artifact.manifest import Contract
from serinus.data.dataset import Dataset, load_pair
from serinus.data.importing import import_archive
from serinus.data.synth.scenery import Disaster
from serinus.data.synth.write import SynthSet, write_sets
from serinus.engine.session import Model
from serinus.evaluation.bootstrap import Bound, compare
from serinus.evaluation.coco import Found
from serinus.imagery.stack import fit, to_original
from serinus.training.baseline import Baseline, against_baseline
from serinus.training.compact import Compact
from serinus.training.run import train
from serinus.training.trainer import TrainSpec

A, B = Disaster("synth-hurricane"), Disaster("synth-wildfire")
GOAL, SECONDS, CORES, LOSS = 0.75, 120.0, 2, 0.02
UNSEEN_SEED = 99


def dataset(folder: Path, name: str, pairs: int, *disasters: Disaster, seed: int = 7) -> Dataset:
    write_sets(folder / f"{name}.zip", [SynthSet(disaster=one, pairs=pairs, seed=seed) for one in disasters])
    return import_archive(folder / f"{name}.zip", folder / "datasets", clock=lambda: 0.0)


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Seconds of the wall clock, and of the CPU with all child processes that ended."""
    wall, before = time.monotonic(), os.times()
    work()
    after = os.times()
    return {
        "wall_seconds": round(time.monotonic() - wall, 1),
        "cpu_seconds": round(sum(after[:4]) - sum(before[:4]), 1),
    }


def trained(spec: TrainSpec, data: Dataset, out: Path) -> dict[str, float]:
    took = timed(lambda: train(spec, data, out))
    return took | {"map50": json.loads((out / "metrics.json").read_bytes())["map50"]}


def answers(draft: Path, data: Dataset) -> list[Found]:
    contract = msgspec.json.decode((draft / "contract.json").read_bytes(), type=Contract)
    model = Model.load(draft / "model.onnx", contract)
    found = []
    for pair in data.pairs():
        pre, post, _, _ = load_pair(data, pair)
        fitted = fit(pre, post, size=contract.size, stride=contract.stride)
        found.append(to_original(model.infer(fitted.image)[0], fitted))
    return found


def difference(data: Dataset, old: Path, new: Path) -> Bound:
    """mAP50 of both on all pairs of `data`."""
    truth = [load_pair(data, pair)[2:] for pair in data.pairs()]
    return compare(truth, answers(old, data), answers(new, data), data.manifest.classes).map50()


def baseline(spec: TrainSpec, data: Dataset, draft: Path) -> tuple[Baseline, dict[str, float]]:
    found: list[Baseline] = []

    def work() -> None:
        found.append(
            against_baseline(
                spec,
                data,
                draft,
                Compact(),
                split="test",
                progress=lambda _: None,
                cancelled=lambda: False,
                checkpoint=None,
            )
        )

    took = timed(work)
    return found[0], took


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the pairs: only to see that it runs")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings; the pairs are always the same")
    parser.add_argument("--threads", type=int, default=CORES, help="1 where the cores are not idle")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given = parser.parse_args()
    pairs, unseen, epochs, tuned = (24, 8, 2, 1) if given.quick else (180, 60, 10, 8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = measured(
            folder, pairs, unseen, TrainSpec(epochs=epochs, seed=given.seed, threads=given.threads), tuned
        )
    met = verdicts(figures)
    for words, kept in met.items():
        say(f"{'met' if kept else 'MISSED':7}{words}")
    if given.json:
        given.json.write_text(json.dumps(msgspec.to_builtins(figures | {"met": met}), indent=2) + "\n")
    return 0


def measured(folder: Path, pairs: int, unseen: int, spec: TrainSpec, tuned: int) -> dict[str, Any]:
    hurricane = dataset(folder, "a", pairs, A)
    both = dataset(folder, "ab", pairs, A, B)
    fresh = {one: dataset(folder, f"unseen-{one}", unseen, one, seed=UNSEEN_SEED) for one in (A, B)}
    first, second = folder / "first", folder / "second"
    scratch = trained(spec, hurricane, first)
    say(f"from scratch on {A}: {scratch}")
    alone, took = baseline(spec, hurricane, first)
    say(f"{alone.words} ({took})")
    tuning = trained(msgspec.structs.replace(spec, epochs=tuned, base=first), both, second)
    say(f"fine-tuned on both: {tuning}")
    bounds = {str(one): difference(fresh[one], first, second) for one in (A, B)}
    for disaster, bound in bounds.items():
        say(
            f"{disaster}, {unseen} unseen pairs: {bound.a:.3f} -> {bound.b:.3f}, {bound.difference:+.3f} "
            f"({bound.low:+.3f} to {bound.high:+.3f})"
        )
    return {"scratch": scratch, "baseline": alone, "baseline_took": took, "tuning": tuning, "tuned": bounds}


def verdicts(figures: dict[str, Any]) -> dict[str, bool]:
    scratch, tuned = figures["scratch"], figures["tuned"]
    return {
        f"mAP50 >= {GOAL} on {A}": scratch["map50"] >= GOAL,
        f"<= {SECONDS:.0f} s (wall)": scratch["wall_seconds"] <= SECONDS,
        f"<= {CORES * SECONDS:.0f} s (CPU)": scratch["cpu_seconds"] <= CORES * SECONDS,
        f"<= {LOSS} lost on {A}": tuned[str(A)].difference >= -LOSS,
        f"better on {B}": tuned[str(B)].low > 0,
    }


if __name__ == "__main__":
    sys.exit(main())
