"""Another version of a data set: the same pairs in other splits. The first one stays as it is."""

import csv
import hashlib
import os
import shutil
from collections.abc import Iterator, Set
from contextlib import suppress
from itertools import chain
from pathlib import Path

import msgspec

from serinus.core.errors import InvalidInput, NotFound
from serinus.core.ids import Clock
from serinus.data.dataset import Dataset, Head, Manifest, Pair, Split, dataset_id
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

    Of a version that was split again already the one that it was made of is taken, where it is still there: a
    disaster left out may have cost it pairs.

    `leave_out`: a disaster that is kept for testing, whole, while all others are for training and validation;
    what the folders of the archive kept from training (`test`, `hold`) is left out then. Pictures are linked,
    not copied. Raises InvalidInput for an unknown disaster and for one that leaves nothing to train on.
    """
    with suppress(NotFound):
        dataset = Dataset.open(datasets_dir, dataset.head.parent or dataset.id)
    old = dataset.head
    fixed = _fixed(dataset, old)
    with workspace(datasets_dir) as work:
        draft = Draft(work)
        known: set[str] = set()
        for pair in chain(dataset.each_pair(), dataset.each_post_only()):
            if pair.pre:
                known.add(pair.disaster)
            split = _split_again(pair, fixed, seed, leave_out)
            if split is not None:
                asked = pair.key in fixed or pair.disaster == leave_out
                draft.add(msgspec.structs.replace(pair, split=split), fixed=asked)
                for name in filter(None, (pair.pre, pair.post)):
                    _link(dataset.path / name, work / name)
        if leave_out:
            _check(dataset.id, draft, known, leave_out)
        content = draft.sha256()
        if content == old.sha256:
            return dataset
        manifest = Manifest(
            id=dataset_id(content),
            sha256=content,
            created=clock(),
            source=old.source,
            source_sha256=old.source_sha256,
            seed=seed,
            classes=old.classes,
            pairs=(),
            fixed=tuple(sorted(fixed)),
            parent=old.parent or dataset.id,
            left_out=leave_out,
        )
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


def _fixed(dataset: Dataset, head: Head) -> frozenset[str]:
    """Keys whose split was asked for; where an old manifest does not say, those that no hash explains."""
    if head.fixed or head.recipe or head.parent:
        return frozenset(head.fixed)
    return frozenset(
        pair.key for pair in dataset.each_pair() if pair.split is not split_of(pair.key, head.seed)
    )


def _split_again(pair: Pair, fixed: frozenset[str], seed: int, leave_out: str) -> Split | None:
    """None: the pair has no place in the new version."""
    asked = pair.split if pair.key in fixed else None
    if not leave_out:
        return asked or split_of(pair.key, seed)
    if pair.disaster == leave_out:
        return Split.TEST
    if asked is Split.TEST:
        return None  # never trained on, and of no disaster that is tested
    return asked or _train_or_val(pair.key, seed)


def _train_or_val(key: str, seed: int) -> Split:
    place = int(hashlib.sha256(f"{seed}|{key}".encode()).hexdigest(), 16) % 100
    return Split.TRAIN if place < _TRAIN else Split.VAL


def _check(old: str, draft: Draft, known: Set[str], leave_out: str) -> None:
    """`known`: disasters of the pairs of `old`."""
    if leave_out not in known:
        raise InvalidInput(
            f"{old} has no disaster {leave_out!r}.", remedy=f"It has {', '.join(sorted(known))[:500]}."
        )
    if draft.tally.splits[Split.TEST] == draft.tally.pairs:
        raise InvalidInput(
            f"Without {leave_out} nothing of {old} is left to train on.",
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
