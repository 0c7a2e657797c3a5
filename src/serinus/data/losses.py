"""Why pairs of an archive cannot be used, in words for whoever sent it."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from serinus.data.archive import shown
from serinus.data.report import FIXES, Issue, IssueCode

_WORDS = {
    IssueCode.POST_IMAGE_MISSING: "no post image",
    IssueCode.IMAGE_CORRUPT: "a picture that cannot be read",
    IssueCode.IMAGE_TOO_LARGE: "a picture above the limit of pixels",
    IssueCode.SIZE_MISMATCH: "pictures of different sizes",
    IssueCode.POST_LABEL_MISSING: "no post label",
    IssueCode.LABEL_UNPARSABLE: "a label that cannot be read",
    IssueCode.NAME_CONFLICT: "two files of one name",
    IssueCode.PRE_IMAGE_MISSING: "no pre image",
}
_A_PAIR = "A pair needs the pictures <disaster>_<number>_{pre,post}_disaster and the label of post."
_WHOLE = {
    IssueCode.POST_IMAGE_MISSING: "Pack images/ and labels/ into one archive.",
    IssueCode.POST_LABEL_MISSING: "Pack images/ and labels/ into one archive.",
    IssueCode.PRE_IMAGE_MISSING: "Add the pictures from before the disaster: damage is told by comparing.",
}
"""What helps where a half is missing in every pair: not one file was forgotten, but a folder."""


class Losses(NamedTuple):
    words: str
    """How many pairs have what wrong, the most frequent first, and the first of them."""
    remedy: str


def losses(lost: Sequence[Issue], *, post_only: int = 0) -> Losses:
    """`lost`: one issue for each pair that was dropped; `post_only`: pairs that have no pre image."""
    counts = Counter(one.code for one in lost)
    if post_only:
        counts[IssueCode.PRE_IMAGE_MISSING] += post_only
    if not counts:
        return Losses("", _A_PAIR)
    words = ", ".join(
        f"{count} {'has' if count == 1 else 'have'} {_WORDS[code]}" for code, count in counts.most_common()
    )
    if lost:
        words += f". First, {shown(lost[0].path)}: {lost[0].message.removesuffix('.')}"
    most = counts.most_common(1)[0][0]
    fix = _WHOLE.get(most) if len(counts) == 1 else None
    return Losses(words, f"{fix or FIXES[most][1]} {_A_PAIR}")
