"""Sums a data set up as its report."""

from itertools import pairwise

import msgspec
import numpy as np

from serinus.data.dataset import Manifest, Pair, Split
from serinus.data.report import INLINE_ISSUES, Issue, IssueCode, Report, Severity, Verdict, issue
from serinus.data.xbd import CLASSES

MAX_LOST = 0.10
"""Losing a larger share of the pairs needs confirmation."""
RARE = 20
"""A class with fewer buildings is warned about."""
SIDES = (8, 16, 32, 64, 128)
"""Bounds between the bands of buildings' sizes: pixels, square root of the box's area."""
BANDS = (f"< {SIDES[0]}", *(f"{low}-{high}" for low, high in pairwise(SIDES)),
         f">= {SIDES[-1]}")  # fmt: skip


def summarize(
    manifest: Manifest, issues: list[Issue], *, found: int, lost: int, ignored: dict[str, int]
) -> Report:
    """The report of `manifest`, made of `found` pairs of which `lost` cannot be used.

    Adds what concerns the data set as a whole to `issues`, and sorts them.
    """
    pairs = manifest.pairs
    per_disaster = _per_disaster(pairs)
    per_class = {name: sum(counts[name] for counts in per_disaster.values()) for name in map(str, CLASSES)}
    for label, count in per_class.items():
        if count < RARE:
            issues.append(issue(IssueCode.RARE_CLASS, "", f"{label} occurs {count} times; {RARE} are few."))
    if len(per_disaster) == 1:
        issues.append(issue(IssueCode.SINGLE_DISASTER, "", f"All pairs are of {next(iter(per_disaster))}."))
    issues.sort(key=lambda one: (one.severity is not Severity.DROP, one.code, one.path))
    verdict = Verdict.NEEDS_CONFIRMATION if lost > MAX_LOST * found else Verdict.OK
    return Report(
        dataset_id=manifest.id if pairs else "",
        sha256=manifest.source_sha256,
        verdict=verdict if pairs else Verdict.UNUSABLE,
        pairs_found=found,
        pairs_usable=len(pairs),
        pairs_post_only=len(manifest.post_only),
        splits=split_counts(pairs),
        per_class=per_class,
        per_disaster=per_disaster,
        per_size=_per_size(pairs),
        issues=tuple(issues[:INLINE_ISSUES]),
        issues_total=len(issues),
        ignored=ignored,
    )


def resplit(report: Report, manifest: Manifest) -> Report:
    """The report of a version that has the pairs of another, or some of them, in other splits."""
    per_disaster = _per_disaster(manifest.pairs)
    return msgspec.structs.replace(
        report,
        dataset_id=manifest.id,
        pairs_usable=len(manifest.pairs),
        pairs_post_only=len(manifest.post_only),
        splits=split_counts(manifest.pairs),
        per_class={name: sum(counts[name] for counts in per_disaster.values()) for name in map(str, CLASSES)},
        per_disaster=per_disaster,
        per_size=_per_size(manifest.pairs),
    )


def split_counts(pairs: tuple[Pair, ...]) -> dict[str, int]:
    """Split -> pairs."""
    return {split.value: sum(pair.split is split for pair in pairs) for split in Split}


def _per_disaster(pairs: tuple[Pair, ...]) -> dict[str, dict[str, int]]:
    counted: dict[str, dict[str, int]] = {}
    for pair in pairs:
        counts = counted.setdefault(pair.disaster, {"pairs": 0, **dict.fromkeys(map(str, CLASSES), 0)})
        counts["pairs"] += 1
        for number in pair.classes:
            counts[CLASSES[number]] += 1
    return counted


def _per_size(pairs: tuple[Pair, ...]) -> dict[str, int]:
    counts = np.zeros(len(BANDS), np.int64)
    for pair in pairs:
        boxes = np.asarray(pair.boxes, np.float64).reshape(-1, 4)
        sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
        counts += np.bincount(np.digitize(sides, SIDES), minlength=len(BANDS))
    return dict(zip(BANDS, counts.tolist(), strict=True))
