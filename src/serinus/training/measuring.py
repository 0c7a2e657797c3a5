"""How good a detector is on pairs of a data set: in original pixels, as the quality gate will measure."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from serinus.core.errors import Cancelled, InvalidInput
from serinus.data.dataset import Dataset, Pair, Split
from serinus.evaluation.detection import Metrics, evaluate
from serinus.imagery.stack import to_original
from serinus.training.samples import Samples
from serinus.training.trainer import Inputs

_WATCHED = 200


def measured(
    detector: nn.Module,
    samples: Samples,
    classes: tuple[str, ...],
    device: torch.device,
    *,
    threshold: float | None,
    cancelled: Callable[[], bool],
) -> Metrics:
    """`detector`: uint8 [1, H, W, 6] -> float32 [1, K, 6]; `threshold` as in `evaluate`. Raises Cancelled."""
    truth, found = [], []
    for index in range(len(samples)):
        if cancelled():
            raise Cancelled("The training was cancelled; nothing was published.")
        sample = samples.sample(index)
        with torch.inference_mode():
            answer = detector(torch.from_numpy(sample.fitted.image).to(device))[0].cpu().numpy()
        found.append(to_original(answer, sample.fitted))
        truth.append((sample.boxes, sample.labels))
    return evaluate(truth, found, classes, threshold=threshold)


def learned(dataset: Dataset, inputs: Inputs) -> tuple[Pair, ...]:
    """The training split, for a network that sees `inputs`; one of post alone learns from pairs without a pre
    picture, too. Raises InvalidInput when it shows no building.
    """
    pairs = dataset.pairs(Split.TRAIN)
    if inputs is Inputs.POST:
        pairs += dataset.post_only(Split.TRAIN)
    if not any(pair.boxes for pair in pairs):
        raise InvalidInput(
            f"The training split of {dataset.id} shows no labelled building.", remedy="Upload more pairs."
        )
    return pairs


def thinned(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """At most `_WATCHED` of them, spread evenly: what is measured after each epoch."""
    return tuple(pairs[:: -(-len(pairs) // _WATCHED)])


def first_with_buildings(dataset: Dataset, splits: Sequence[Split]) -> tuple[Split, tuple[Pair, ...]]:
    """The first of `splits` that has a labelled building: without one there is nothing to measure."""
    for split in splits:
        pairs = dataset.pairs(split)
        if any(pair.boxes for pair in pairs):
            return split, pairs
    raise InvalidInput(f"{dataset.id} shows no labelled building.", remedy="Upload more pairs.")
