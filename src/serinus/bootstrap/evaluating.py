"""Measures published versions on data sets: one alone, or two beside each other."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from serinus.artifact.manifest import Manifest
from serinus.bootstrap import machine
from serinus.bootstrap.settings import Settings
from serinus.bootstrap.wiring import look_at_store
from serinus.core.errors import InvalidInput, NotFound
from serinus.core.ids import Version
from serinus.data.dataset import Dataset, Pair, load_image, load_pair
from serinus.engine import output
from serinus.engine.session import Model
from serinus.evaluation import page, plots
from serinus.evaluation.agreement import agreement
from serinus.evaluation.assessment import Assessment, Picture, assess
from serinus.evaluation.bootstrap import Bound, Comparison, compare
from serinus.evaluation.coco import Found
from serinus.imagery.overlay import preview
from serinus.imagery.stack import fit, to_original

Move = Callable[[float, float, str], None]
"""Moves a progress bar: done, total, words."""
ALL = "all"
_SHOWN = 4
"""Pictures that got better, and as many that got worse."""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """evaluation.json"""

    version: Version
    digest: str
    dataset: str
    split: str
    warnings: tuple[str, ...]
    assessment: Assessment
    loss_curve: bool
    """Whether the training's own curves stand beside it."""
    baseline: str = ""
    """Whether six channels beat three, as its training found; empty when it was not asked."""


class _Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The part of training/baseline.json that is shown."""

    words: str


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of both versions."""

    name: str
    bound: Bound

    @property
    def verdict(self) -> str:
        """In one word, by the 95 % interval of the difference."""
        if self.bound.low > 0:
            return "better"
        return "worse" if self.bound.high < 0 else "cannot be told apart"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that one version does better on; `truth`, `before`, `after` are files beside the page."""

    key: str
    words: str
    f1_a: float
    """Of the boxes that users see, right class, IoU 0.5."""
    f1_b: float
    truth: str
    before: str
    after: str


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """comparison.json: B beside A."""

    a: Version
    b: Version
    dataset: str
    split: str
    pictures: int
    warnings: tuple[str, ...]
    words: str
    rows: tuple[Row, ...]
    changes: tuple[Change, ...]


class _Subject(NamedTuple):
    version: Version
    digest: str
    manifest: Manifest
    artifact: Path


class _Ground(NamedTuple):
    """What versions are measured on."""

    dataset: Dataset
    split: str
    pairs: tuple[Pair, ...]
    pictures: tuple[Picture, ...]


def evaluate_version(
    settings: Settings, version: Version, *, data: str, split: str, out: Path | None, progress: Move
) -> tuple[Evaluation, Path]:
    """Writes evaluation.json, index.html and pictures into `out` (default: below DATA_DIR/evaluations).

    Raises NotFound for an unknown version, data set or split; InvalidInput when nothing is labelled, or the
    version has other classes; ModelFault when it does not answer.
    """
    ground = _ground(settings, data, split)
    subject = _subject(settings, version, ground)
    found = _answers(subject, ground, settings, progress)
    contract = subject.manifest.contract
    assessed = assess(ground.pictures, found, contract.classes, threshold=contract.score_threshold)
    folder = _folder(settings, out, f"v{version}-{ground.dataset.id}-{split}")
    curve = subject.artifact / "training" / "loss.png"
    done = Evaluation(
        version=version,
        digest=subject.digest,
        dataset=ground.dataset.id,
        split=split,
        warnings=_warnings(ground, (subject,)),
        assessment=assessed,
        loss_curve=curve.is_file(),
        baseline=_baseline(subject.artifact / "training" / "baseline.json"),
    )
    (folder / "evaluation.json").write_bytes(_json(done))
    plots.precision_recall(assessed, folder / "precision_recall.png")
    plots.confusion(assessed.metrics, contract.classes, split, folder / "confusion_matrix.png")
    plots.reliability(assessed.calibration, folder / "reliability.png")
    plots.sizes(assessed.per_size, folder / "sizes.png")
    if done.loss_curve:
        shutil.copyfile(curve, folder / "loss.png")
    page.write(folder / "index.html", "evaluation.html", e=done)
    return done, folder


def compare_versions(
    settings: Settings, a: Version, b: Version, *, data: str, split: str, out: Path | None, progress: Move
) -> tuple[Compared, Path]:
    """Writes comparison.json, index.html and pictures of what changed most. Raises as `evaluate_version`."""
    ground = _ground(settings, data, split)
    subjects = (_subject(settings, a, ground), _subject(settings, b, ground))

    def moved(before: int, version: Version) -> Move:
        return lambda done, total, words: progress(before + done, 2 * total, f"version {version}, {words}")

    ours = _answers(subjects[0], ground, settings, moved(0, a))
    theirs = _answers(subjects[1], ground, settings, moved(len(ground.pairs), b))
    classes = ground.dataset.manifest.classes
    thresholds = tuple(one.manifest.contract.score_threshold for one in subjects)
    truth = [(picture.boxes, picture.labels) for picture in ground.pictures]
    found = compare(truth, ours, theirs, classes, thresholds=(thresholds[0], thresholds[1]))
    rows = _rows(found, classes)
    folder = _folder(settings, out, f"v{a}-v{b}-{ground.dataset.id}-{split}")
    shown = tuple(
        [rows[rows[:, 4] >= threshold] for rows in answers]
        for answers, threshold in zip((ours, theirs), thresholds, strict=True)
    )
    done = Compared(
        a=a,
        b=b,
        dataset=ground.dataset.id,
        split=split,
        pictures=found.pictures,
        warnings=_warnings(ground, subjects),
        words=_words(rows[0], a, b),
        rows=rows,
        changes=_changes(ground, shown[0], shown[1], classes, folder),
    )
    (folder / "comparison.json").write_bytes(_json(done))
    page.write(folder / "index.html", "comparison.html", c=done)
    return done, folder


def _ground(settings: Settings, data: str, split: str) -> _Ground:
    dataset = Dataset.open(settings.data_dir / "datasets", data)
    pairs = dataset.pairs(None if split == ALL else split)
    if not any(pair.boxes for pair in pairs):
        counts = ", ".join(f"{name} {count}" for name, count in dataset.report.splits.items())
        raise InvalidInput(
            f"The split {split} of {data} shows no labelled building.",
            remedy=f"Choose another with --split; it has {counts}.",
        )
    pictures = tuple(
        Picture(
            np.asarray(pair.boxes, np.float32).reshape(-1, 4),
            np.asarray(pair.classes, np.int64),
            pair.disaster,
            pair.width,
            pair.height,
        )
        for pair in pairs
    )
    return _Ground(dataset, split, pairs, pictures)


def _subject(settings: Settings, version: Version, ground: _Ground) -> _Subject:
    store = look_at_store(settings)
    record = store.state().versions.get(version)
    if record is None:
        raise NotFound(f"There is no version {version}.", remedy="`serinus versions list` names them.")
    manifest = store.manifest(record.digest)
    if manifest.contract.classes != ground.dataset.manifest.classes:
        raise InvalidInput(
            f"Version {version} has the classes {', '.join(manifest.contract.classes)}; {ground.dataset.id} "
            f"has {', '.join(ground.dataset.manifest.classes)}.",
            remedy="Only what has the same classes, in the same order, can be measured.",
        )
    return _Subject(version, record.digest, manifest, store.artifact(record.digest))


def _answers(subject: _Subject, ground: _Ground, settings: Settings, moved: Move) -> list[Found]:
    """What the version gives for each pair, in pixels of its pictures: by the graph that serving runs."""
    contract = subject.manifest.contract
    model = Model.load(
        subject.artifact / "model.onnx", contract, threads=settings.train_threads or machine.cores()
    )
    found = []
    count = len(ground.pairs)
    for number, pair in enumerate(ground.pairs, 1):
        pre, post, _, _ = load_pair(ground.dataset, pair)
        fitted = fit(pre, post, size=contract.size, stride=contract.stride)
        answer = model.infer(fitted.image)
        output.check(
            answer,
            width=fitted.image.shape[2],
            height=fitted.image.shape[1],
            classes=len(contract.classes),
            max_detections=contract.max_detections,
        )
        found.append(to_original(answer[0], fitted))
        moved(number, count, f"pair {number} of {count}")
    return found


def _warnings(ground: _Ground, subjects: Sequence[_Subject]) -> tuple[str, ...]:
    words = []
    for subject in subjects:
        known = set(subject.manifest.lineage.tiles)
        seen = sum(pair.sha256_post in known for pair in ground.pairs)
        if seen:
            words.append(
                f"Version {subject.version} was trained on {seen} of these {len(ground.pairs)} pictures: "
                "its figures say little of pictures that it has not seen."
            )
    made = [pair.disaster.startswith(page.SYNTHETIC) for pair in ground.pairs]
    if any(made):
        part = "" if all(made) else "partly "
        words.append(f"The pictures are {part}synthetic: their scores are not comparable with real ones.")
    return tuple(words)


def _rows(found: Comparison, classes: tuple[str, ...]) -> tuple[Row, ...]:
    rows = [Row(name="mAP50", bound=found.map50())]
    present = [(label, name) for label, name in enumerate(classes) if found.support[label].objects]
    rows += [Row(name=f"AP50, {name}", bound=found.ap50(label)) for label, name in present]
    rows += [Row(name=f"recall, {name}", bound=found.recall(label)) for label, name in present]
    return tuple(rows)


def _words(row: Row, a: Version, b: Version) -> str:
    bound = row.bound
    interval = f"mAP50 {bound.b:.3f} against {bound.a:.3f}, {bound.low:+.3f} to {bound.high:+.3f}"
    if row.verdict == "cannot be told apart":
        return f"Version {b} cannot be told from version {a}: {interval}."
    return f"Version {b} is {row.verdict} than version {a}: {interval}."


def _changes(
    ground: _Ground, ours: Sequence[Found], theirs: Sequence[Found], classes: tuple[str, ...], folder: Path
) -> tuple[Change, ...]:
    """The pictures whose F1 changed most, the best first; drawn into `folder`."""
    scores = []
    for picture, a, b in zip(ground.pictures, ours, theirs, strict=True):
        truth = _as_found(picture)
        scores.append(tuple(agreement(truth, one, len(classes)).f1 for one in (a, b)))
    gains = np.array([b - a for a, b in scores])
    order = np.argsort(-gains, kind="stable")
    better = [int(n) for n in order if gains[n] > 0][:_SHOWN]
    worse = [int(n) for n in order[::-1] if gains[n] < 0][:_SHOWN]
    changes = []
    for place, number in enumerate([*better, *reversed(worse)], 1):
        pair = ground.pairs[number]
        post = load_image(ground.dataset.path / pair.post, pair.sha256_post, pair.width * pair.height)
        names = {}
        for what, boxes in (
            ("truth", _as_found(ground.pictures[number])),
            ("before", ours[number]),
            ("after", theirs[number]),
        ):
            names[what] = f"change-{place}-{what}.jpg"
            (folder / names[what]).write_bytes(_drawn(post, boxes, classes))
        f1_a, f1_b = scores[number]
        words = "better" if gains[number] > 0 else "worse"
        changes.append(Change(key=pair.key, words=words, f1_a=f1_a, f1_b=f1_b, **names))
    return tuple(changes)


def _drawn(post: NDArray[np.uint8], boxes: Found, classes: tuple[str, ...]) -> bytes:
    return preview(post, boxes, classes, longest=640)


def _as_found(picture: Picture) -> Found:
    """The truth as if a version had found it."""
    sure = np.ones(len(picture.labels))
    return np.column_stack((picture.boxes, sure, picture.labels)).astype(np.float32).reshape(-1, 6)


def _folder(settings: Settings, out: Path | None, name: str) -> Path:
    folder = out or settings.data_dir / "evaluations" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _baseline(path: Path) -> str:
    return msgspec.json.decode(path.read_bytes(), type=_Baseline).words if path.is_file() else ""


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
