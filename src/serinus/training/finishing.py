"""From a trained detector to the files of a draft: the same for every trainer of ours."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch
from torch import nn

from serinus.artifact.manifest import Contract
from serinus.evaluation.detection import Metrics
from serinus.training import export
from serinus.training.measuring import measured
from serinus.training.samples import Samples
from serinus.training.trainer import Phase, Progress

_GOLDEN = 4
_THRESHOLDS = (0.1, 0.8)


class Looks(NamedTuple):
    """What a training looks at beside what it learns from."""

    watch: Samples
    measure: Samples
    progress: Callable[[Progress], None]
    cancelled: Callable[[], bool]
    epochs: int


def finish(detector: nn.Module, contract: Contract, looks: Looks, device: torch.device, out: Path) -> Metrics:
    """Measures, then writes model.onnx, contract.json and the golden results into `out`.

    `detector`: uint8 [N, H, W, 6] -> float32 [N, K, 6]. The threshold of `contract` is chosen here: the best
    F1 on the watched split, not on the measured one. Raises Cancelled.
    """
    looks.progress(Progress(phase=Phase.MEASURING, epochs=looks.epochs))
    classes, cancelled = contract.classes, looks.cancelled
    best = measured(detector, looks.watch, classes, device, threshold=None, cancelled=cancelled)
    threshold = round(min(max(best.threshold, _THRESHOLDS[0]), _THRESHOLDS[1]), 2)
    metrics = measured(detector, looks.measure, classes, device, threshold=threshold, cancelled=cancelled)
    looks.progress(Progress(phase=Phase.EXPORTING, epochs=looks.epochs))
    chosen = msgspec.structs.replace(contract, score_threshold=threshold)
    (out / "contract.json").write_bytes(msgspec.json.encode(chosen))
    export.export(detector, chosen, out, step=chosen.stride)
    pictures = [looks.measure.sample(i).fitted.image[0] for i in range(min(_GOLDEN, len(looks.measure)))]
    export.golden(detector, pictures, out)
    return metrics
