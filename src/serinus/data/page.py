"""The report of a data set as a page with pictures: one file that needs no other."""

import base64
import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader
from numpy.typing import NDArray

from serinus.data import charts
from serinus.data.dataset import PAGE, Dataset, Pair, Split, load_image
from serinus.data.draft import BANDS
from serinus.data.prepare import read_issues
from serinus.data.report import Issue, IssueCode, Report, Severity
from serinus.data.xbd import CLASSES
from serinus.imagery.decode import encode_jpeg
from serinus.imagery.overlay import COLOURS, colour_of

SAMPLES = 12
_SIDE = 380
"""Pixels of a sample's longest side."""
_PATHS = 20
"""As many places of one kind of issue stand in the page."""


class _Sample(NamedTuple):
    key: str
    split: str
    buildings: str
    pre: str
    """Data URI; empty where there is none."""
    post: str


class _Kind(NamedTuple):
    """All issues of one kind."""

    code: IssueCode
    drops: bool
    times: int
    fix: str
    examples: tuple[tuple[str, str], ...]
    """Path and message of the first."""


def page_file(dataset: Dataset) -> Path:
    """The page in the data set's folder; made when it is not there yet."""
    path = dataset.path / PAGE
    if not path.exists():
        write_page(path, dataset)
    return path


def write_page(path: Path, dataset: Dataset) -> None:
    """Writes the page of a data set to `path`, which appears whole. Raises Corrupt for a damaged data set."""
    put(path, render(dataset.report, read_issues(dataset), source=dataset.manifest.source, dataset=dataset))


def put(path: Path, html: str) -> None:
    """Writes a page; it appears whole."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="utf-8", delete=False) as file:
        file.write(html)
        Path(file.name).chmod(0o644)
    Path(file.name).replace(path)


def render(report: Report, issues: Iterable[Issue], *, source: str, dataset: Dataset | None = None) -> str:
    """The page. Without `dataset` (the import was refused) it has no pictures and no table of splits."""
    template = Environment(
        loader=PackageLoader("serinus.data"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).get_template("report.html")
    buildings = sum(report.per_class.values())
    return template.render(
        report=report,
        source=source,
        buildings=buildings,
        dropped=report.pairs_found - report.pairs_usable - report.pairs_post_only,
        kinds=_kinds(issues),
        classes=charts.classes(report.per_class) if buildings else "",
        disasters=charts.disasters(report.per_disaster) if buildings else "",
        sizes=charts.sizes({band: report.per_size.get(band, 0) for band in BANDS}) if buildings else "",
        splits=[] if dataset is None else list(_splits(dataset)),
        samples=[] if dataset is None else [_sample(dataset, pair) for pair in chosen(dataset.pairs())],
        dataset=None if dataset is None else dataset.manifest,
        legend=[
            (str(name), "#{:02x}{:02x}{:02x}".format(*COLOURS[label])) for label, name in enumerate(CLASSES)
        ],
    )


def chosen(pairs: Sequence[Pair], most: int = SAMPLES) -> list[Pair]:
    """Pairs to show: one disaster after the other, those with rare classes first, else by hash."""
    counts = Counter(label for pair in pairs for label in pair.classes)

    def rank(pair: Pair) -> tuple[float, bytes]:
        rarest = min((counts[label] for label in pair.classes), default=float("inf"))
        return rarest, hashlib.sha256(pair.key.encode()).digest()

    by_disaster: dict[str, list[Pair]] = {}
    for pair in sorted(pairs, key=rank):
        by_disaster.setdefault(pair.disaster, []).append(pair)
    turns = (islice(queue, turn, turn + 1) for turn in range(most) for queue in by_disaster.values())
    return list(islice(chain.from_iterable(turns), most))


def _kinds(issues: Iterable[Issue]) -> list[_Kind]:
    found: dict[IssueCode, list[Issue]] = {}
    counts: Counter[IssueCode] = Counter()
    for one in issues:
        counts[one.code] += 1
        kept = found.setdefault(one.code, [])
        if len(kept) < _PATHS:
            kept.append(one)
    kinds = [
        _Kind(
            code=code,
            drops=kept[0].severity is Severity.DROP,
            times=counts[code],
            fix=kept[0].fix,
            examples=tuple((one.path, one.message) for one in kept),
        )
        for code, kept in found.items()
    ]
    return sorted(kinds, key=lambda kind: (not kind.drops, -kind.times, kind.code))


def _splits(dataset: Dataset) -> Iterator[dict[str, object]]:
    for split in Split:
        pairs = dataset.pairs(split)
        labels = Counter(label for pair in pairs for label in pair.classes)
        total = max(sum(labels.values()), 1)
        yield {
            "name": split.value,
            "pairs": len(pairs),
            "empty": sum(not pair.classes for pair in pairs),
            "classes": [(labels[label], labels[label] / total) for label in range(len(CLASSES))],
        }


def _sample(dataset: Dataset, pair: Pair) -> _Sample:
    most = pair.width * pair.height
    pre = load_image(dataset.path / pair.pre, pair.sha256_pre, most)
    post = load_image(dataset.path / pair.post, pair.sha256_post, most)
    counts = Counter(pair.classes)
    words = ", ".join(f"{counts[label]} {CLASSES[label]}" for label in sorted(counts)) or "no building"
    return _Sample(pair.key, pair.split.value, words, _uri(_small(pre)), _uri(_labelled(post, pair)))


def _small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    scale = _SIDE / max(picture.shape[:2])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=way), np.uint8)


def _labelled(post: NDArray[np.uint8], pair: Pair) -> NDArray[np.uint8]:
    picture = _small(post)
    scale = picture.shape[1] / pair.width
    for box, label in sorted(zip(pair.boxes, pair.classes, strict=True), key=lambda one: one[1]):
        x1, y1, x2, y2 = (round(edge * scale) for edge in box)
        for colour, thickness in (((12, 14, 18), 4), (colour_of(label), 2)):
            cv2.rectangle(picture, (x1, y1), (x2, y2), colour, thickness)
    return picture


def _uri(picture: NDArray[np.uint8]) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(picture, quality=82)).decode()
