"""The report of a data set: what was found, what was used, and every oddity with what to do about it."""

import csv
import io
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from serinus.core.text import visible

INLINE_ISSUES = 200
"""As many issues stand in the report itself; all of them in its CSV."""


class Severity(StrEnum):
    DROP = "drop"
    """The pair was left out."""
    WARN = "warn"


class Verdict(StrEnum):
    OK = "ok"
    NEEDS_CONFIRMATION = "needs_confirmation"
    """More pairs were lost than anyone should lose unasked."""
    UNUSABLE = "unusable"


class IssueCode(StrEnum):
    POST_IMAGE_MISSING = "post_image_missing"
    IMAGE_CORRUPT = "image_corrupt"
    IMAGE_TOO_LARGE = "image_too_large"
    SIZE_MISMATCH = "size_mismatch"
    POST_LABEL_MISSING = "post_label_missing"
    LABEL_UNPARSABLE = "label_unparsable"
    NAME_CONFLICT = "name_conflict"
    PRE_IMAGE_MISSING = "pre_image_missing"
    LABEL_ONLY_PRE = "label_only_pre"
    UN_CLASSIFIED = "un_classified"
    UNKNOWN_SUBTYPE = "unknown_subtype"
    POLYGON_CLIPPED = "polygon_clipped"
    POLYGON_OUTSIDE = "polygon_outside"
    POLYGON_TINY = "polygon_tiny"
    POLYGON_INVALID = "polygon_invalid"
    POLYGON_HOLES = "polygon_holes"
    POLYGON_MULTI = "polygon_multi"
    NOT_PNG = "not_png"
    MIXED_CASE = "mixed_case"
    DUPLICATE = "duplicate"
    SAME_PICTURE = "same_picture"
    RARE_CLASS = "rare_class"
    SINGLE_DISASTER = "single_disaster"
    METADATA_SIZE = "metadata_size"


_DROPS = {
    IssueCode.POST_IMAGE_MISSING: "Add the post image, or remove the rest of the pair.",
    IssueCode.IMAGE_CORRUPT: "Copy the picture again from its source.",
    IssueCode.IMAGE_TOO_LARGE: "Cut it into tiles, or raise the limit of pixels.",
    IssueCode.SIZE_MISMATCH: "Crop or scale pre and post to the same area.",
    IssueCode.POST_LABEL_MISSING: "Add the label of the post image.",
    IssueCode.LABEL_UNPARSABLE: "Repair the JSON; `features.xy` must be a list of features with `wkt`.",
    IssueCode.NAME_CONFLICT: "Rename one of the two, or remove the wrong one.",
}
_WARNINGS = {
    IssueCode.PRE_IMAGE_MISSING: "Add the pre image; without it only a post-only model can use the pair.",
    IssueCode.LABEL_ONLY_PRE: "Damage is only in post labels; add it.",
    IssueCode.UN_CLASSIFIED: "Nothing: these buildings are left out of training and evaluation.",
    IssueCode.UNKNOWN_SUBTYPE: "Use no-damage, minor-damage, major-damage, destroyed or un-classified.",
    IssueCode.POLYGON_CLIPPED: "Nothing: it was cut at the edge of the picture.",
    IssueCode.POLYGON_OUTSIDE: "Check that the label belongs to this picture.",
    IssueCode.POLYGON_TINY: "Nothing: a building this small cannot be learned.",
    IssueCode.POLYGON_INVALID: "Check the polygon's WKT.",
    IssueCode.POLYGON_HOLES: "Nothing: holes do not change the box.",
    IssueCode.POLYGON_MULTI: "Nothing: its parts count as one building.",
    IssueCode.NOT_PNG: "Prefer PNG; JPEG changes pixels.",
    IssueCode.MIXED_CASE: "Nothing: names are compared without case.",
    IssueCode.DUPLICATE: "Nothing: the copies are identical and count once.",
    IssueCode.SAME_PICTURE: "Remove one of the two: what is learned and what it is tested on must differ.",
    IssueCode.RARE_CLASS: "Add pairs that show it; scores of rare classes mean little.",
    IssueCode.SINGLE_DISASTER: "Add other events; models for one event fail on the next.",
    IssueCode.METADATA_SIZE: "Nothing: the real size of the picture is used.",
}
FIXES: dict[IssueCode, tuple[Severity, str]] = {
    **{code: (Severity.DROP, fix) for code, fix in _DROPS.items()},
    **{code: (Severity.WARN, fix) for code, fix in _WARNINGS.items()},
}
"""The one table: how bad each issue is and what helps."""


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    code: IssueCode
    severity: Severity
    path: str
    """Name in the archive; empty for the data set as a whole."""
    message: str
    fix: str


def issue(code: IssueCode, path: str, message: str) -> Issue:
    severity, fix = FIXES[code]
    return Issue(code=code, severity=severity, path=path, message=message, fix=fix)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    dataset_id: str
    """Empty when nothing was stored."""
    sha256: str
    """Of the archive."""
    verdict: Verdict
    pairs_found: int
    pairs_usable: int
    """With both pictures and a label."""
    pairs_post_only: int = 0
    """Without a pre picture: kept for models that look at the post picture only."""
    splits: dict[str, int]
    """Split -> pairs."""
    per_class: dict[str, int]
    """Class -> buildings."""
    per_disaster: dict[str, dict[str, int]]
    """Disaster -> `pairs` and buildings per class."""
    per_size: dict[str, int] = {}
    """Band of side lengths (pixels, square root of the box's area) -> buildings."""
    issues: tuple[Issue, ...]
    """At most INLINE_ISSUES, the worst first."""
    issues_total: int
    ignored: dict[str, int] = {}
    """Files that were passed over without a word: `system` files, `targets`, `other`."""


def issues_csv(issues: Sequence[Issue]) -> str:
    """All issues as CSV with a header. Cells that a spreadsheet would run as a formula are quoted with ', and
    control characters, which names of files may hold, are written out.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(Issue.__struct_fields__)
    for one in issues:
        writer.writerow([_inert(visible(str(getattr(one, field)))) for field in Issue.__struct_fields__])
    return out.getvalue()


def _inert(cell: str) -> str:
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
