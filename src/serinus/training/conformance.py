"""Does a trainer keep the contract? One list of checks for every trainer, ours and other people's.

`serinus trainers check NAME` runs it on a small synthetic data set; a package that brings a trainer can call
`check` in its own tests.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from serinus.artifact.manifest import Contract
from serinus.artifact.validate import read_draft
from serinus.core.errors import Cancelled, InvalidInput, SerinusError
from serinus.data.dataset import MANIFEST, Dataset
from serinus.data.importing import import_archive
from serinus.data.synth.write import write_zip
from serinus.engine import output
from serinus.engine.session import Model
from serinus.training.run import train
from serinus.training.trainer import Inputs, Phase, Progress, Trainer, TrainSpec

PAIRS, SIDE, SEED = 14, 128, 1
SPEC = TrainSpec(epochs=2, batch=4, img_size=96, seed=3, threads=1)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check came to."""

    check: str
    problem: str
    """Empty when the contract is kept."""


class Broken(Exception):
    """The contract is broken; the message says how."""


class _Run:
    """What the checks share: the data, and one finished draft with what was told on the way."""

    def __init__(self, trainer: Trainer, folder: Path, spec: TrainSpec) -> None:
        self.trainer, self.folder, self.spec = trainer, folder, spec
        write_zip(folder / "pairs.zip", "synth-hurricane", PAIRS, SIDE, SEED)
        self.dataset = import_archive(folder / "pairs.zip", folder / "datasets", clock=lambda: 0.0)
        self.told: list[Progress] = []
        self.draft = folder / "draft"

    def train(self, name: str, dataset: Dataset | None = None, **changes: object) -> Path:
        spec = msgspec.structs.replace(self.spec, **changes)
        return train(spec, dataset or self.dataset, self.folder / name, trainer=self.trainer)

    def model(self, draft: Path) -> Model:
        contract = msgspec.json.decode((draft / "contract.json").read_bytes(), type=Contract)
        return Model.load(draft / "model.onnx", contract)


def check(trainer: Trainer, folder: Path, *, spec: TrainSpec = SPEC) -> Iterator[Finding]:
    """Runs every check in `folder`, which must be empty; the first one that fails does not stop the others.

    An error that is no SerinusError is a bug of the trainer, and is raised.
    """
    run = _Run(trainer, folder, spec)
    for name, one in _CHECKS.items():
        try:
            one(run)
        except (Broken, SerinusError) as error:
            yield Finding(check=name, problem=str(error))
            if one is _gives_a_draft:
                return  # the others look at it
        else:
            yield Finding(check=name, problem="")


def _says_what_it_is(run: _Run) -> None:
    lacking = [name for name in ("name", "licence", "summary") if not getattr(run.trainer, name).strip()]
    if lacking:
        raise Broken(f"{', '.join(lacking)} says nothing")


def _gives_a_draft(run: _Run) -> None:
    """Complete, and its export answers in the sandbox as its golden results say."""
    train(run.spec, run.dataset, run.draft, trainer=run.trainer, progress=run.told.append)
    read = read_draft(run.draft)
    if read.contract.classes != run.dataset.manifest.classes:
        raise Broken(f"its classes are {read.contract.classes}, not those of the data set")


def _tells_its_progress(run: _Run) -> None:
    fractions = [told.fraction for told in run.told]
    if fractions != sorted(fractions) or fractions[-1] != 1.0:
        raise Broken("the fraction done does not rise to 1")
    rows = [told.row.epoch for told in run.told if told.row is not None]
    if rows != list(range(1, run.spec.epochs + 1)):
        raise Broken(f"it told the rows of the epochs {rows}, not of 1 to {run.spec.epochs}")
    phases = list(dict.fromkeys(told.phase for told in run.told))
    if phases != list(Phase):
        raise Broken(f"its phases are {', '.join(phases)}, not {', '.join(Phase)}")


def _answers_on_every_shape(run: _Run) -> None:
    model = run.model(run.draft)
    contract = model.contract
    random = np.random.default_rng(0)
    for n, down, across in ((1, 1, 1), (3, 2, 3), (1, 5, 2)):
        height, width = down * contract.stride, across * contract.stride
        images = random.integers(0, 256, (n, height, width, len(contract.channels)), dtype=np.uint8)
        output.check(
            model.infer(images),
            width=width,
            height=height,
            classes=len(contract.classes),
            max_detections=contract.max_detections,
        )


def _same_seed_same_metrics(run: _Run) -> None:
    again = run.train("again")
    ours, theirs = ((draft / "metrics.json").read_bytes() for draft in (run.draft, again))
    if ours != theirs:
        raise Broken(f"two trainings with one seed measure {ours.decode()} and {theirs.decode()}")


def _goes_on_from_a_version(run: _Run) -> None:
    read_draft(run.train("tuned", epochs=1, base=run.draft))


def _post_only_ignores_pre(run: _Run) -> None:
    model = run.model(run.train("post-only", epochs=1, inputs=Inputs.POST))
    with np.load(run.draft / "training/golden.npz", allow_pickle=False) as arrays:
        images = arrays["images"][:1]
    changed = images.copy()
    changed[..., :3] = 255 - changed[..., :3]
    if not np.array_equal(model.infer(images), model.infer(changed)):
        raise Broken("trained on the post picture alone, its answer depends on the pre picture")


def _stops_when_cancelled(run: _Run) -> None:
    asked = iter(range(1_000_000))
    place = run.folder / "cancelled"
    place.mkdir()
    try:
        train(run.spec, run.dataset, place / "draft", trainer=run.trainer, cancelled=lambda: next(asked) >= 3)
    except Cancelled:
        left = list(place.iterdir())
        if left:
            raise Broken(f"it left {left[0].name} behind") from None
        return
    raise Broken("it trained to the end")


def _refuses_what_trains_nothing(run: _Run) -> None:
    manifest = run.dataset.manifest
    pairs = tuple(msgspec.structs.replace(pair, boxes=(), classes=()) for pair in manifest.pairs)
    bare = Dataset(Path(shutil.copytree(run.dataset.path, run.folder / "bare")))
    (bare.path / MANIFEST).write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, pairs=pairs)))
    for words, dataset, epochs in (
        ("0 epochs", run.dataset, 0),
        ("pairs without a building", bare, run.spec.epochs),
    ):
        try:
            run.train("nothing", dataset, epochs=epochs)
        except InvalidInput:
            continue
        shutil.rmtree(run.folder / "nothing")
        raise Broken(f"it trains with {words}")


_CHECKS: dict[str, Callable[[_Run], None]] = {
    "says what it is": _says_what_it_is,
    "gives a draft that is proven": _gives_a_draft,
    "tells its progress": _tells_its_progress,
    "answers on every shape": _answers_on_every_shape,
    "same seed, same metrics": _same_seed_same_metrics,
    "goes on from a version": _goes_on_from_a_version,
    "post only ignores pre": _post_only_ignores_pre,
    "stops when cancelled": _stops_when_cancelled,
    "refuses what trains nothing": _refuses_what_trains_nothing,
}
