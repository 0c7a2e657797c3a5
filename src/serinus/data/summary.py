"""Sums a data set up as its report."""

import msgspec

from serinus.data.dataset import Manifest
from serinus.data.draft import Draft
from serinus.data.report import INLINE_ISSUES, Issue, IssueCode, Report, Severity, Verdict, issue

MAX_LOST = 0.10
"""Losing a larger share of the pairs needs confirmation."""
RARE = 20
"""A class with fewer buildings is warned about."""


def summarize(
    manifest: Manifest, draft: Draft, issues: list[Issue], *, found: int, lost: int, ignored: dict[str, int]
) -> Report:
    """The report of a data set made of `found` pairs of which `lost` cannot be used.

    Adds what concerns the data set as a whole to `issues`, and sorts them.
    """
    tally = draft.tally
    for label, count in tally.per_class.items():
        if count < RARE:
            issues.append(issue(IssueCode.RARE_CLASS, "", f"{label} occurs {count} times; {RARE} are few."))
    if len(tally.per_disaster) == 1:
        words = f"All pairs are of {next(iter(tally.per_disaster))}."
        issues.append(issue(IssueCode.SINGLE_DISASTER, "", words))
    issues.sort(key=lambda one: (one.severity is not Severity.DROP, one.code, one.path))
    verdict = Verdict.NEEDS_CONFIRMATION if lost > MAX_LOST * found else Verdict.OK
    return Report(
        dataset_id=manifest.id if tally.pairs else "",
        sha256=manifest.source_sha256,
        verdict=verdict if tally.pairs else Verdict.UNUSABLE,
        pairs_found=found,
        pairs_usable=tally.pairs,
        pairs_post_only=draft.post_only,
        splits=tally.splits,
        per_class=tally.per_class,
        per_disaster=tally.per_disaster,
        per_size=tally.per_size,
        issues=tuple(issues[:INLINE_ISSUES]),
        issues_total=len(issues),
        ignored=ignored,
    )


def resplit(report: Report, manifest: Manifest, draft: Draft) -> Report:
    """The report of a version that has the pairs of another, or some of them, in other splits."""
    tally = draft.tally
    return msgspec.structs.replace(
        report,
        dataset_id=manifest.id,
        pairs_usable=tally.pairs,
        pairs_post_only=draft.post_only,
        splits=tally.splits,
        per_class=tally.per_class,
        per_disaster=tally.per_disaster,
        per_size=tally.per_size,
    )
