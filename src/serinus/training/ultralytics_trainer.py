"""The trainer `ultralytics`: YOLO11 and YOLO26 for detection on six channels, by Ultralytics' own code.

Ultralytics is under AGPL-3.0: its terms cover whoever serves the result over a network. So it is an extra
that nobody gets unasked, and it is imported here only when it trains.

Pairs go to it as six-page TIFFs, post-only pictures as PNGs. Its geometry (mosaic, scale, shift, flips)
treats all channels alike; its colours know three channels only, so light and contrast are changed here, for
pre and post alike. What comes out is exported as an imported checkpoint is: see `ultralytics_checkpoint`.
"""

import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import torch

from serinus.artifact.manifest import Contract
from serinus.core.errors import InvalidInput, Misconfigured, ModelFault
from serinus.data.dataset import Dataset, Pair, Split
from serinus.engine.conversion import Refused
from serinus.training import elsewhere, ultralytics_checkpoint
from serinus.training.checkpoints import said_by_torch
from serinus.training.compact import training_size
from serinus.training.finishing import Looks, finish
from serinus.training.measuring import first_with_buildings, learned, thinned
from serinus.training.samples import Samples, view
from serinus.training.trainer import (
    Inputs,
    Phase,
    Precision,
    Progress,
    Trained,
    TrainSpec,
    check_spec,
)
from serinus.training.ultralytics_callbacks import Watcher, shine
from serinus.training.ultralytics_resume import Keeper

FAMILIES = ("yolo11", "yolo26")
_STRIDE = 32
_CLASS_POWER = 0.5
"""Rare classes count by the root of how rare they are, as for compact."""
_WEIGHTS = "best.pt"
_TRACKERS = ("clearml", "comet", "dvc", "mlflow", "neptune", "raytune", "tensorboard", "wandb")


class Ultralytics:
    """See `trainer.Trainer`. Pictures are scaled to one size, never tiled."""

    name = "ultralytics"
    licence = "AGPL-3.0"
    summary = "YOLO11 and YOLO26. AGPL-3.0: whoever serves the result over a network must offer its source."
    needs = ("ultralytics", "torchvision")

    def train(
        self,
        spec: TrainSpec,
        dataset: Dataset,
        out: Path,
        *,
        progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
        checkpoint: Path | None,
    ) -> Trained:
        """Trains on `train`, watches `val` after each epoch, keeps the best weights, measures on `test`.

        From a checkpoint it goes on with the next epoch, as if nobody had killed it.
        """
        check_spec(spec)
        family = spec.family or FAMILIES[0]
        if family not in FAMILIES:
            raise InvalidInput(
                f"The trainer ultralytics knows no family {family!r}.",
                remedy=f"Say {' or '.join(FAMILIES)}.",
            )
        missing = [name for name in self.needs if importlib.util.find_spec(name) is None]
        if missing:
            raise Misconfigured(
                f"The trainer ultralytics needs {', '.join(missing)}, which is not installed.",
                remedy="Install serinus[ultralytics]. It is under AGPL-3.0: read its terms first.",
            )
        progress(Progress(phase=Phase.LOADING, epochs=spec.epochs))
        learned(dataset, spec.inputs)
        size = training_size(dataset.pairs(), spec.img_size, _STRIDE)
        base = None if spec.base is None else _base(spec.base)
        # Beside the draft: all pairs unpacked are more than /tmp may hold.
        with tempfile.TemporaryDirectory(prefix=".yolo-", dir=out.parent) as folder:
            run = _Run(spec, family, base, dataset, size, Path(folder), checkpoint)
            return _train(run, out, progress, cancelled)


class _Run(NamedTuple):
    """What the steps of one training share."""

    spec: TrainSpec
    family: str
    base: Any
    """Network to start from, or None."""
    dataset: Dataset
    size: int
    work: Path
    """Gone when the training ends."""
    checkpoint: Path | None
    """Outlives a killed training; None: nothing is kept."""


def _train(
    run: _Run, out: Path, progress: Callable[[Progress], None], cancelled: Callable[[], bool]
) -> Trained:
    spec, dataset, size = run.spec, run.dataset, run.size
    watched, watched_pairs = first_with_buildings(dataset, (Split.VAL, Split.TRAIN))
    measured, measured_pairs = first_with_buildings(dataset, (Split.TEST, Split.VAL, Split.TRAIN))
    watch = Samples(dataset, thinned(watched_pairs), size, _STRIDE)
    measure = Samples(dataset, measured_pairs, size, _STRIDE)
    watcher = Watcher(spec.epochs, progress, cancelled)
    keeper = Keeper(run.checkpoint, watcher)
    if keeper.words:
        progress(Progress(phase=Phase.LOADING, epochs=spec.epochs, note=keeper.words))
    if not keeper.over:
        _work(
            run,
            _write_data(run, {"train": learned(dataset, spec.inputs), "val": watched_pairs}),
            watcher,
            keeper,
        )
    if not keeper.best:
        raise ModelFault("Ultralytics kept no weights.", remedy="Look at the data set's report.")
    model = _network(run, keeper.best)
    torch.save({"epoch": -1, "model": deepcopy(model).half(), "ema": None, "train_args": {}}, out / _WEIGHTS)
    detector = ultralytics_checkpoint.Detections(model).eval()
    contract = Contract(
        size=size,
        stride=int(model.stride.max()),
        classes=dataset.manifest.classes,
        max_detections=ultralytics_checkpoint.KEPT,
    )
    looks = Looks(watch, measure, progress, cancelled, spec.epochs)
    return Trained(
        metrics=finish(detector, contract, looks, torch.device("cpu"), out),
        measured_on=str(measured),
        watched=str(watched),
        history=tuple(watcher.rows),
        best_epoch=watcher.best_epoch,
    )


def _work(run: _Run, data: Path, watcher: Watcher, keeper: Keeper) -> None:
    """The epochs that are left; what torch was set to before comes back."""
    trainer = _trainer(run, data)
    watcher.listen_to(trainer)
    keeper.listen_to(trainer)
    threads = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(run.spec.threads or len(os.sched_getaffinity(0)))
    try:
        trainer.train()
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


def _network(run: _Run, weights: dict[str, torch.Tensor]) -> Any:
    """Ultralytics' network with `weights`, without what its training hung on it (paths of this machine)."""
    _guard(run)
    from ultralytics.nn.tasks import DetectionModel

    classes = run.dataset.manifest.classes
    model = DetectionModel(_architecture(run), ch=_channels(run), nc=len(classes), verbose=False)
    model.load_state_dict(weights)
    model.names, model.args = dict(enumerate(classes)), {}
    return model.float().eval()


def _guard(run: _Run) -> None:
    """Before anything of Ultralytics is imported: it fetches, installs and asks for nothing."""
    os.environ.update(ultralytics_checkpoint.GUARDS)
    os.environ["YOLO_CONFIG_DIR"] = str(run.work)


def _architecture(run: _Run) -> str:
    return f"{run.family}{run.spec.size}.yaml"


def _channels(run: _Run) -> int:
    return 3 if run.spec.inputs is Inputs.POST else 6


def _trainer(run: _Run, data: Path) -> Any:
    """Ultralytics' trainer, told everything, so that it fetches, plots and asks for nothing."""
    _guard(run)
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.utils import SETTINGS

    # In memory only: it would log to whatever tracker is installed, and write that down for the next program.
    dict.update(SETTINGS, dict.fromkeys(_TRACKERS, False), sync=False)
    spec = run.spec
    mixed = spec.precision is not Precision.FLOAT32 and torch.cuda.is_available()
    trainer = DetectionTrainer(
        overrides={
            "model": _architecture(run),
            "data": str(data),
            "epochs": spec.epochs,
            "batch": spec.batch,
            "nbs": spec.batch,  # else it adds gradients up to 64 pairs, and nobody knows how far it is
            "imgsz": run.size,
            "seed": spec.seed,
            "patience": spec.patience,
            "project": str(run.work),
            "name": "run",
            "pretrained": False,
            "plots": False,
            "verbose": False,
            "workers": 0,
            "amp": "bf16" if mixed else False,
            "deterministic": True,
            "cls_pw": _CLASS_POWER,
            "flipud": 0.5,
            "hsv_h": 0.0,
            "hsv_s": 0.0,
            "hsv_v": 0.0,
        }
    )
    trainer.callbacks = {event: [] for event in trainer.callbacks}
    prepared, build = trainer.preprocess_batch, trainer.get_model
    trainer.preprocess_batch = lambda batch: shine(prepared(batch))

    def started(cfg: Any = None, weights: Any = None, verbose: bool = False) -> Any:
        made = build(cfg, weights, verbose)
        if run.base is not None:
            made.load(run.base)
        return made

    trainer.get_model = started
    # Measuring once more is done here, by the same code as for every trainer.
    trainer.final_eval = lambda: None
    return trainer


def _base(path: Path) -> Any:
    """The network in a checkpoint of Ultralytics, read as an imported one is. Raises InvalidInput."""
    os.environ.update(ultralytics_checkpoint.GUARDS)
    weights = path / _WEIGHTS if path.is_dir() else path
    remedy = "Train without a base (`--base none`), or give one of a version that ultralytics trained."
    try:
        names = elsewhere.wanted_names(weights)
        if not names or not names <= ultralytics_checkpoint.ALLOWED.keys():
            raise InvalidInput(f"{weights} is no checkpoint of Ultralytics.", remedy=remedy)
        return ultralytics_checkpoint.load(weights).float()
    except (Refused, *elsewhere.READ_ERRORS) as error:
        raise InvalidInput(f"{weights} cannot be read: {said_by_torch(error)}.", remedy=remedy) from error


def _write_data(run: _Run, splits: dict[str, Sequence[Pair]]) -> Path:
    """The pairs as Ultralytics reads them, at training size; gives the YAML that describes them."""
    work, post_only = run.work, run.spec.inputs is Inputs.POST
    for split, pairs in splits.items():
        pictures, labels = work / "data" / "images" / split, work / "data" / "labels" / split
        pictures.mkdir(parents=True)
        labels.mkdir(parents=True)
        samples = Samples(run.dataset, pairs, run.size, _STRIDE, keep=False)
        for number in range(len(samples)):
            seen = view(samples.sample(number))
            height, width = seen.image.shape[:2]
            if post_only:
                cv2.imwrite(str(pictures / f"{number:06}.png"), seen.image[..., :2:-1])  # it reads BGR
            else:
                planes = [seen.image[..., channel].copy() for channel in range(seen.image.shape[2])]
                cv2.imwritemulti(str(pictures / f"{number:06}.tiff"), planes)
            lines = [
                f"{label} {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} "
                f"{(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f}\n"
                for (x1, y1, x2, y2), label in zip(seen.boxes.tolist(), seen.labels.tolist(), strict=True)
            ]
            (labels / f"{number:06}.txt").write_text("".join(lines))
    described = work / "data.yaml"
    described.write_text(  # JSON is YAML
        json.dumps(
            {
                "path": str(work / "data"),
                "train": "images/train",
                "val": "images/val",
                "channels": _channels(run),
                "names": dict(enumerate(run.dataset.manifest.classes)),
            }
        )
    )
    return described
