"""From an uploaded archive to a data set version: nothing is overwritten, nothing half-done stays."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from serinus.core.errors import InvalidInput, TooLarge
from serinus.core.ids import Clock
from serinus.data.archive import BLOCK, Archive, ArchiveLimits, Member, UnreadableMember
from serinus.data.convert import RULES, Converted, UnparsableLabel, convert, parse_label
from serinus.data.dataset import (
    IMAGES,
    Dataset,
    Manifest,
    Pair,
    Split,
    dataset_id,
)
from serinus.data.draft import Draft
from serinus.data.losses import losses
from serinus.data.naming import Kind, Part, When, classify, split_of
from serinus.data.opening import open_archive
from serinus.data.report import Issue, IssueCode, Report, Verdict, issue
from serinus.data.sources import made_of
from serinus.data.storing import store, workspace, write_image
from serinus.data.summary import summarize
from serinus.imagery.decode import decode

DEFAULT_LIMITS = ArchiveLimits()

_LABEL_BYTES = 16_000_000
"""One with a thousand buildings takes 1 MB; read into memory, JSON can take thirty times its size."""

Slot = tuple[When, Kind]
Progress = Callable[[int, int], object]
"""Called with (pairs done, pairs found)."""
Reading = Callable[[str, int, int], object]
"""Called while the archive is read as a whole, with (words, bytes done, bytes in all)."""


class ImportRefused(InvalidInput):
    """Nothing usable, or too much lost and nobody confirmed. `report` says why; `issues` are all of them."""

    def __init__(self, message: str, *, remedy: str, report: Report, issues: tuple[Issue, ...]) -> None:
        super().__init__(message, remedy=remedy)
        self.report = report
        self.issues = issues

    @property
    def can_confirm(self) -> bool:
        """Whether the import goes on when somebody confirms the loss."""
        return self.report.verdict is Verdict.NEEDS_CONFIRMATION


class _Found(NamedTuple):
    """All members that belong to one pair."""

    disaster: str
    split: Split | None
    members: dict[Slot, list[Member]]


class _Run(NamedTuple):
    """What one import carries along."""

    archive: Archive
    work: Path
    max_pixels: int
    seed: int
    issues: list[Issue]
    """Grows."""


class _Dropped(Exception):
    """This pair cannot be used; carries the issue."""

    def __init__(self, found: Issue) -> None:
        super().__init__(found.message)
        self.issue = found


def import_archive(
    source: Path,
    datasets_dir: Path,
    *,
    clock: Clock,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    seed: int = 0,
    confirm: bool = False,
    name: str = "",
    progress: Progress | None = None,
    reading: Reading | None = None,
) -> Dataset:
    """Imports the archive at `source` (called `name` in the manifest) into `datasets_dir`.

    Equal content gives the same id and no second copy; an archive that was imported in this way before is
    recognised by its hash. `seed` decides the split, `confirm` accepts the loss of more than a tenth of the
    pairs. One member at a time is in memory.
    Raises InvalidInput or TooLarge for an archive that is refused, ImportRefused with the report otherwise.
    """
    datasets_dir.mkdir(parents=True, exist_ok=True)
    digest = _digest(source, reading)
    recipe = hashlib.sha256(msgspec.json.encode((RULES, limits, seed))).hexdigest()
    known = made_of(datasets_dir, digest, recipe)
    if known is not None:
        dataset = Dataset.open(datasets_dir, known)
        if confirm or dataset.report.verdict is Verdict.OK:
            return dataset
    with workspace(datasets_dir) as work, _opened(source, limits, work, reading) as archive:
        issues: list[Issue] = []
        run = _Run(archive, work, limits.max_pixels, seed, issues)
        found, ignored = _group(archive, issues)
        draft, lost = Draft(work), list[Issue]()
        for number, key in enumerate(sorted(found), 1):
            try:
                _add(run, draft, _pair(run, key, found[key]), fixed=found[key].split is not None)
            except _Dropped as dropped:
                lost.append(dropped.issue)
            if progress:
                progress(number, len(found))
        issues.extend(lost)
        content = draft.sha256()
        manifest = Manifest(
            id=dataset_id(content),
            sha256=content,
            created=clock(),
            source=name or source.name,
            source_sha256=digest,
            recipe=recipe,
            seed=seed,
            pairs=(),
            fixed=tuple(key for key in sorted(found) if found[key].split),
        )
        report = summarize(manifest, draft, issues, found=len(found), lost=len(lost), ignored=dict(ignored))
        _refuse(report, issues, lost, confirm=confirm)
        return store(work, manifest, draft, report, issues)


def _digest(source: Path, reading: Reading | None) -> str:
    whole, size, done = hashlib.sha256(), source.stat().st_size, 0
    with source.open("rb") as file:
        while block := file.read(BLOCK):
            whole.update(block)
            done += len(block)
            if reading:
                reading("reading the archive", done, max(size, done))
    return whole.hexdigest()


def _opened(
    source: Path, limits: ArchiveLimits, work: Path, reading: Reading | None
) -> AbstractContextManager[Archive]:
    moved = None if reading is None else partial(reading, "unpacking the archive")
    return open_archive(source, limits, scratch=work, moved=moved)


def _group(archive: Archive, issues: list[Issue]) -> tuple[dict[str, _Found], Counter[str]]:
    """Members by pair and slot, and how many files were passed over."""
    slots: dict[str, dict[Slot, list[Member]]] = defaultdict(lambda: defaultdict(list))
    disasters: dict[str, str] = {}
    splits: dict[str, set[Split]] = defaultdict(set)
    ignored: Counter[str] = Counter()
    for member in archive.members:
        part = classify(member.name)
        if not isinstance(part, Part):
            ignored[part.value] += 1
            continue
        slots[part.key][part.when, part.kind].append(member)
        disasters[part.key] = part.disaster
        if part.split:
            splits[part.key].add(part.split)
        if part.mixed_case:
            issues.append(issue(IssueCode.MIXED_CASE, member.name, "The name has capital letters."))
        if part.kind is Kind.IMAGE and part.suffix != "png":
            issues.append(issue(IssueCode.NOT_PNG, member.name, f"The picture is a {part.suffix} file."))
    return {
        # A pair that lies in a test folder as well is never trained on.
        key: _Found(disasters[key], max(splits[key], key=list(Split).index, default=None), dict(members))
        for key, members in slots.items()
    }, ignored


def _add(run: _Run, draft: Draft, pair: Pair, *, fixed: bool) -> None:
    first = draft.add(pair, fixed=fixed)
    if first is not None:
        apart = fixed and pair.split is not first.split
        splits = f"but is for {pair.split}, not {first.split}" if apart else "and shares its split"
        words = f"{pair.key} shows the same post picture as {first.key}, {splits}."
        run.issues.append(issue(IssueCode.SAME_PICTURE, pair.key, words))


def _pair(run: _Run, key: str, found: _Found) -> Pair:
    """One pair, its pictures written into the workspace. Raises _Dropped."""
    members = _members(run, key, found)
    label_member = members[When.POST, Kind.LABEL]
    if label_member.size > _LABEL_BYTES:
        size, most = label_member.size / 1e6, _LABEL_BYTES / 1e6
        words = f"The label would take {size:.0f} MB; {most:.0f} MB are the limit."
        raise _Dropped(issue(IssueCode.LABEL_UNPARSABLE, label_member.name, words))
    try:
        label = parse_label(run.archive.read(label_member))
    except (UnparsableLabel, UnreadableMember) as error:
        raise _Dropped(
            issue(IssueCode.LABEL_UNPARSABLE, label_member.name, f"The label cannot be read: {error}.")
        ) from error
    post = _image(run, members[When.POST, Kind.IMAGE])
    height, width = post.shape[:2]
    sha256_post = write_image(run.work, post)
    del post  # one picture at a time
    sha256_pre = _pre(run, members.get((When.PRE, Kind.IMAGE)), width, height)
    converted = convert(label, width=width, height=height)
    run.issues.extend(_oddities(converted, label_member.name, width, height))
    return Pair(
        key=key,
        disaster=found.disaster,
        split=found.split or split_of(key, run.seed),
        pre=f"{IMAGES}/{sha256_pre}.png" if sha256_pre else "",
        post=f"{IMAGES}/{sha256_post}.png",
        sha256_pre=sha256_pre,
        sha256_post=sha256_post,
        width=width,
        height=height,
        boxes=converted.boxes,
        classes=converted.classes,
    )


def _pre(run: _Run, member: Member | None, width: int, height: int) -> str:
    """The hash of the pre picture, written; empty where there is none. Raises _Dropped."""
    if member is None:
        return ""
    pre = _image(run, member)
    if pre.shape[:2] != (height, width):
        raise _Dropped(
            issue(
                IssueCode.SIZE_MISMATCH,
                member.name,
                f"pre has {pre.shape[1]} x {pre.shape[0]} pixels, post {width} x {height}.",
            )
        )
    return write_image(run.work, pre)


def _members(run: _Run, key: str, found: _Found) -> dict[Slot, Member]:
    """The one member of each slot. Raises _Dropped when one that is needed is missing or contested."""
    one: dict[Slot, Member] = {}
    for slot, members in found.members.items():
        one[slot] = members[0]
        if len(members) > 1:
            _check_copies(run, members)
    any_name = next(iter(one.values())).name
    if (When.POST, Kind.IMAGE) not in one:
        raise _Dropped(issue(IssueCode.POST_IMAGE_MISSING, any_name, f"{key} has no post image."))
    if (When.POST, Kind.LABEL) not in one:
        if (When.PRE, Kind.LABEL) in one:
            path = one[When.PRE, Kind.LABEL].name
            run.issues.append(issue(IssueCode.LABEL_ONLY_PRE, path, f"{key} has a label for pre only."))
        raise _Dropped(issue(IssueCode.POST_LABEL_MISSING, any_name, f"{key} has no post label."))
    if (When.PRE, Kind.IMAGE) not in one:
        path = one[When.POST, Kind.IMAGE].name
        run.issues.append(issue(IssueCode.PRE_IMAGE_MISSING, path, f"{key} has no pre image."))
    return one


def _check_copies(run: _Run, members: list[Member]) -> None:
    try:
        digests = {run.archive.digest(member) for member in members}
    except UnreadableMember:
        digests = set()
    if len(digests) != 1:
        raise _Dropped(
            issue(
                IssueCode.NAME_CONFLICT,
                members[1].name,
                f"{len(members)} files have this name and they differ.",
            )
        )
    run.issues.append(issue(IssueCode.DUPLICATE, members[1].name, f"The file is there {len(members)} times."))


def _image(run: _Run, member: Member) -> NDArray[np.uint8]:
    try:
        return decode(run.archive.read(member), max_pixels=run.max_pixels)
    except TooLarge as error:
        raise _Dropped(issue(IssueCode.IMAGE_TOO_LARGE, member.name, error.message)) from error
    except (InvalidInput, UnreadableMember) as error:
        words = error.message if isinstance(error, InvalidInput) else f"The archive is damaged here: {error}."
        raise _Dropped(issue(IssueCode.IMAGE_CORRUPT, member.name, words)) from error


def _oddities(converted: Converted, path: str, width: int, height: int) -> Iterator[Issue]:
    words = {
        IssueCode.UN_CLASSIFIED: "un-classified",
        IssueCode.UNKNOWN_SUBTYPE: "of an unknown subtype",
        IssueCode.POLYGON_CLIPPED: "partly outside the picture",
        IssueCode.POLYGON_OUTSIDE: "wholly outside the picture",
        IssueCode.POLYGON_TINY: "too small",
        IssueCode.POLYGON_INVALID: "not a valid polygon",
        IssueCode.POLYGON_HOLES: "with holes",
        IssueCode.POLYGON_MULTI: "of several parts",
    }
    for code, count in sorted(converted.oddities.items()):
        yield issue(code, path, f"{count} building{'s' if count > 1 else ''} {words[code]}.")
    declared = converted.declared
    if declared not in ((None, None), (width, height)):  # no set: what strangers declare may have no hash
        yield issue(
            IssueCode.METADATA_SIZE,
            path,
            f"The metadata say {declared[0]} x {declared[1]}, the picture has {width} x {height} pixels.",
        )


def _refuse(report: Report, issues: list[Issue], lost: list[Issue], *, confirm: bool) -> None:
    """Raises ImportRefused when there is nothing, or too little without `confirm`."""
    report = msgspec.structs.replace(report, dataset_id="")
    if report.verdict is Verdict.UNUSABLE:
        missing = losses(lost, post_only=report.pairs_post_only)
        raise ImportRefused(
            f"The archive holds no usable pair: of {report.pairs_found} found, {missing.words}."
            if report.pairs_found
            else "The archive holds no usable pair: "
            "no file is named <disaster>_<number>_{pre,post}_disaster.{png,json}.",
            remedy=missing.remedy,
            report=report,
            issues=tuple(issues),
        )
    if report.verdict is Verdict.NEEDS_CONFIRMATION and not confirm:
        raise ImportRefused(
            f"{len(lost)} of {report.pairs_found} pairs cannot be used: {losses(lost).words}.",
            remedy="Repair the archive, or confirm that the rest is enough.",
            report=report,
            issues=tuple(issues),
        )
