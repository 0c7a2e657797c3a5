"""The report of a data set as a page with pictures: one file that needs no other."""

import base64
import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
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
    put(path, render(dataset.report, read_issues(dataset), source=dataset.head.source, dataset=dataset))


def put(path: Path, html: str) -> None:
    """Writes a page; it appears whole."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="utf-8", delete=False) as file:
        file.write(html)
        Path(file.name).chmod(0o644)
    Path(file.name).replace(path)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("serinus.data"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )


def render(report: Report, issues: Iterable[Issue], *, source: str, dataset: Dataset | None = None) -> str:
    """The page. Without `dataset` (the import was refused) it has no pictures and no table of splits."""
    template = _environment().get_template("report.html")
    buildings = sum(report.per_class.values())
    contents = None if dataset is None else _contents(dataset)
    return template.render(
        report=report,
        source=source,
        buildings=buildings,
        dropped=report.pairs_found - report.pairs_usable - report.pairs_post_only,
        kinds=_kinds(issues),
        classes=charts.classes(report.per_class) if buildings else "",
        disasters=charts.disasters(report.per_disaster) if buildings else "",
        sizes=charts.sizes({band: report.per_size.get(band, 0) for band in BANDS}) if buildings else "",
        splits=[] if contents is None else contents.splits,
        samples=[] if dataset is None or contents is None else _samples(dataset, contents),
        dataset=None if dataset is None else dataset.head,
        legend=[
            (str(name), "#{:02x}{:02x}{:02x}".format(*COLOURS[label])) for label, name in enumerate(CLASSES)
        ],
    )


class Candidate(NamedTuple):
    """A pair that may be shown, as far as the choice goes."""

    key: str
    disaster: str
    labels: frozenset[int]


class _Contents(NamedTuple):
    """What one look at all pairs gives."""

    splits: list[Mapping[str, object]]
    candidates: list[Candidate]
    buildings: Counter[int]
    """Class -> buildings."""


def chosen(candidates: Iterable[Candidate], buildings: Mapping[int, int], most: int = SAMPLES) -> list[str]:
    """Keys of pairs to show: one disaster after the other, those with rare classes first, else by hash.

    `buildings`: how many there are of each class.
    """

    def rank(one: Candidate) -> tuple[float, bytes]:
        rarest = min((buildings[label] for label in one.labels), default=float("inf"))
        return rarest, hashlib.sha256(one.key.encode()).digest()

    by_disaster: dict[str, list[str]] = {}
    for one in sorted(candidates, key=lambda one: (rank(one), one.disaster)):
        by_disaster.setdefault(one.disaster, []).append(one.key)
    turns = (islice(queue, turn, turn + 1) for turn in range(most) for queue in by_disaster.values())
    return list(islice(chain.from_iterable(turns), most))


def _contents(dataset: Dataset) -> _Contents:
    labels: dict[Split, Counter[int]] = {split: Counter() for split in Split}
    pairs: Counter[Split] = Counter()
    empty: Counter[Split] = Counter()
    candidates = []
    for pair in dataset.each_pair():
        pairs[pair.split] += 1
        empty[pair.split] += not pair.classes
        labels[pair.split].update(pair.classes)
        candidates.append(Candidate(pair.key, pair.disaster, frozenset(pair.classes)))
    splits: list[Mapping[str, object]] = []
    for split, counts in labels.items():
        total = max(sum(counts.values()), 1)
        classes = [(counts[label], counts[label] / total) for label in range(len(CLASSES))]
        row = {"name": split.value, "pairs": pairs[split], "empty": empty[split], "classes": classes}
        splits.append(row)
    return _Contents(splits, candidates, sum(labels.values(), Counter()))


def _samples(dataset: Dataset, contents: _Contents) -> list[_Sample]:
    keys = chosen(contents.candidates, contents.buildings)
    found = {pair.key: _sample(dataset, pair) for pair in dataset.each_pair() if pair.key in keys}
    return [found[key] for key in keys]


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
