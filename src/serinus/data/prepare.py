"""Another version of a data set: the same pairs in other splits. The first one stays as it is."""

import csv
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from serinus.core.errors import InvalidInput
from serinus.core.ids import Clock
from serinus.data.dataset import Dataset, Manifest, Pair, Split, dataset_id
from serinus.data.draft import Draft
from serinus.data.naming import split_of
from serinus.data.report import Issue, IssueCode, Severity
from serinus.data.storing import store, workspace
from serinus.data.summary import resplit

_TRAIN = 82
"""Of a hundred hashes, where all else is for testing: 70 to 15 between train and val."""


def prepare(
    dataset: Dataset, datasets_dir: Path, *, clock: Clock, seed: int = 0, leave_out: str = ""
) -> Dataset:
    """The pairs of `dataset` split again with `seed`; equal pairs in equal splits give the same id.

    `leave_out`: a disaster that is kept for testing, whole, while all others are for training and validation;
    what the folders of the archive kept from training (`test`, `hold`) is left out then. Pictures are linked,
    not copied. Raises InvalidInput for an unknown disaster and for one that leaves nothing to train on.
    """
    old = dataset.manifest
    fixed = _fixed(old)
    pairs = _split_again(old.pairs, fixed, seed, leave_out)
    post_only = _split_again(old.post_only, fixed, seed, leave_out)
    if leave_out:
        _check(old, pairs, leave_out)
    with workspace(datasets_dir) as work:
        draft = Draft(work)
        draft.add_all(pairs + post_only)
        content = draft.sha256()
        if content == old.sha256:
            return dataset
        manifest = msgspec.structs.replace(
            old,
            id=dataset_id(content),
            sha256=content,
            created=clock(),
            seed=seed,
            pairs=(),
            post_only=(),
            fixed=tuple(sorted(fixed)),
            recipe="",
            parent=old.parent or old.id,
            left_out=leave_out,
        )
        for pair in pairs + post_only:
            for name in filter(None, (pair.pre, pair.post)):
                _link(dataset.path / name, work / name)
        report = resplit(dataset.report, manifest, draft)
        return store(work, manifest, draft, report, list(read_issues(dataset)))


def read_issues(dataset: Dataset) -> Iterator[Issue]:
    """All issues of a data set, from its CSV."""
    with dataset.issues_file.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield Issue(
                code=IssueCode(row["code"]),
                severity=Severity(row["severity"]),
                path=row["path"],
                message=row["message"],
                fix=row["fix"],
            )


def _fixed(manifest: Manifest) -> frozenset[str]:
    """Keys whose split was asked for; where an old manifest does not say, those that no hash explains."""
    if manifest.fixed or manifest.recipe:
        return frozenset(manifest.fixed)
    return frozenset(
        pair.key for pair in manifest.pairs if pair.split is not split_of(pair.key, manifest.seed)
    )


def _split_again(
    pairs: tuple[Pair, ...], fixed: frozenset[str], seed: int, leave_out: str
) -> tuple[Pair, ...]:
    again = []
    for pair in pairs:
        asked = pair.split if pair.key in fixed else None
        if not leave_out:
            split: Split | None = asked or split_of(pair.key, seed)
        elif pair.disaster == leave_out:
            split = Split.TEST
        elif asked is Split.TEST:
            split = None  # never trained on, and of no disaster that is tested
        else:
            split = asked or _train_or_val(pair.key, seed)
        if split is not None:
            again.append(msgspec.structs.replace(pair, split=split))
    return tuple(again)


def _train_or_val(key: str, seed: int) -> Split:
    place = int(hashlib.sha256(f"{seed}|{key}".encode()).hexdigest(), 16) % 100
    return Split.TRAIN if place < _TRAIN else Split.VAL


def _check(old: Manifest, pairs: tuple[Pair, ...], leave_out: str) -> None:
    known = sorted({pair.disaster for pair in old.pairs})
    if leave_out not in known:
        raise InvalidInput(
            f"{old.id} has no disaster {leave_out!r}.", remedy=f"It has {', '.join(known)[:500]}."
        )
    if all(pair.split is Split.TEST for pair in pairs):
        raise InvalidInput(
            f"Without {leave_out} nothing of {old.id} is left to train on.",
            remedy="Import an archive with several disasters.",
        )


def _link(source: Path, target: Path) -> None:
    """Pictures are never changed: one file may have two names. Where it cannot, it is copied."""
    try:
        os.link(source, target)
    except FileExistsError:
        return  # two pairs may share a picture
    except OSError:
        shutil.copyfile(source, target)
