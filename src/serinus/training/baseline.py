"""Do six channels beat three? A second training that sees the post picture only, and a fair comparison."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from serinus.artifact.manifest import Contract
from serinus.core.errors import Cancelled
from serinus.data.dataset import Dataset, load_pair
from serinus.engine.session import Model
from serinus.evaluation.bootstrap import Bound, compare
from serinus.evaluation.coco import Found, Truth
from serinus.imagery.stack import fit, to_original
from serinus.training.trainer import Inputs, Progress, Trainer, TrainSpec

FILE = "training/baseline.json"
_HALF = 0.5


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """What training/baseline.json says. `a` is the post-only baseline, `b` the version itself."""

    measured_on: str
    pictures: int
    map50: Bound
    """Paired bootstrap over pictures, 95 %."""
    per_class: dict[str, Bound]
    """AP50 of the classes that the measured split has."""
    words: str


def of_two(progress: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """Tells of a training after which as long a one follows."""

    def tell(at: Progress) -> None:
        progress(msgspec.structs.replace(at, part=(0.0, _HALF), eta_seconds=None))

    return tell


def against_baseline(
    spec: TrainSpec,
    dataset: Dataset,
    draft: Path,
    trainer: Trainer,
    *,
    split: str,
    progress: Callable[[Progress], None],
    cancelled: Callable[[], bool],
    checkpoint: Path | None,
) -> Baseline:
    """Trains the same on the post picture alone, from scratch, and compares on `split`. Raises as `train`.

    Both learn from the same pairs: those without a pre picture are left out, although the baseline could use
    them. A version that was fine-tuned has an advantage that the baseline has not; then the words say so.
    """

    def tell(at: Progress) -> None:
        """Not as the version's own: its curves and figures are those of the first training."""
        progress(
            msgspec.structs.replace(
                at,
                part=(_HALF, 1.0),
                note="post-only baseline",
                map50=None,
                loss=None,
                row=None,
                eta_seconds=None,
            )
        )

    alone = msgspec.structs.replace(spec, inputs=Inputs.POST, base=None)
    dataset = Dataset(dataset.path, msgspec.structs.replace(dataset.manifest, post_only=()))
    with tempfile.TemporaryDirectory(dir=draft.parent, prefix=".baseline-") as folder:
        other = Path(folder)
        trainer.train(alone, dataset, other, progress=tell, cancelled=cancelled, checkpoint=checkpoint)
        truth, (ours, theirs) = _answers(dataset, split, (draft, other), cancelled)
    classes = dataset.manifest.classes
    found = compare(truth, theirs, ours, classes)
    whole = found.map50()
    return Baseline(
        measured_on=split,
        pictures=len(truth),
        map50=whole,
        per_class={
            name: found.ap50(label) for label, name in enumerate(classes) if found.support[label].objects
        },
        words=_words(whole, tuned=spec.base is not None),
    )


def _words(bound: Bound, *, tuned: bool) -> str:
    verdict = "It cannot be told from"
    if bound.low > 0:
        verdict = "Six channels beat"
    elif bound.high < 0:
        verdict = "Six channels lose against"
    words = (
        f"{verdict} the post-only baseline: mAP50 {bound.b:.3f} against {bound.a:.3f}, "
        f"difference {bound.difference:+.3f} ({bound.low:+.3f} to {bound.high:+.3f})."
    )
    return f"{words} The baseline was trained from scratch, the version fine-tuned." if tuned else words


def _answers(
    dataset: Dataset, split: str, drafts: tuple[Path, Path], cancelled: Callable[[], bool]
) -> tuple[Truth, tuple[list[Found], list[Found]]]:
    models = []
    for draft in drafts:
        contract = msgspec.json.decode((draft / "contract.json").read_bytes(), type=Contract)
        models.append(Model.load(draft / "model.onnx", contract))
    truth = []
    found: tuple[list[Found], list[Found]] = ([], [])
    for pair in dataset.pairs(split):
        if cancelled():
            raise Cancelled("The training was cancelled; nothing was published.")
        pre, post, boxes, labels = load_pair(dataset, pair)
        truth.append((boxes, labels))
        for model, answers in zip(models, found, strict=True):
            fitted = fit(pre, post, size=model.contract.size, stride=model.contract.stride)
            answers.append(to_original(model.infer(fitted.image)[0], fitted))
    return truth, found
