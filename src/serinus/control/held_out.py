"""Held-out pairs: what a candidate did not see of the data set that it was trained on, beside current.

They refuse nobody: a first, short training may be worse and still be what somebody wants to try. But where
the canary answers differently later on, they vouch for it, or do not. A data set is read within limits: it
belongs to other processes, and may be away, changed, or larger than anything that is meant.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from serinus.artifact.files import check_relative, sha256_pieces
from serinus.artifact.manifest import Manifest
from serinus.control import gates
from serinus.control.checks import Check
from serinus.control.golden import HELD_OUT
from serinus.control.quality import CurrentFails, QualityGate, numbers_of
from serinus.control.settings import ControllerSettings
from serinus.core.errors import Corrupt, InvalidInput, ModelFault, NotFound, TooLarge
from serinus.core.ids import Digest
from serinus.data.dataset import MANIFEST, Dataset, Pair, Split, dataset_id
from serinus.rollout.policy import ClassMetric
from serinus.store import GoldenEntry, GoldenSet, Store

_UNUSABLE = (
    Corrupt,
    InvalidInput,
    NotFound,
    msgspec.MsgspecError,
    OSError,
    ValueError,
    RecursionError,
    MemoryError,
)
"""What a data set may do to whoever reads it; none of it is the candidate's fault."""
_MANIFEST_BYTES = 128 << 20
"""Of synthetic pairs one takes some 400, and each of its buildings 40."""
_PICTURE_BYTES = 256 << 20
_BOXES = 5000
"""Of one pair; one with more is left out: matching takes time and memory with every box."""
_ARRAY_BYTES = 1 << 30
"""Of all pictures as a version wants them."""


def check(
    gate: QualityGate, store: Store, candidate: Digest, current: Digest, settings: ControllerSettings
) -> Check:
    """Measures both versions on the candidate's held-out pairs. Never a failure. Raises Unavailable."""
    manifests = store.manifest(candidate), store.manifest(current)
    name = manifests[0].lineage.dataset
    try:
        pairs = find(*manifests, settings)
        answers = gate.answers(candidate, current, pairs, read_seconds=settings.held_out_seconds)
        compared = gate.compare(candidate, current, pairs, answers)
    except CurrentFails as error:
        return _nothing(name, f"current itself fails on them: {error}")
    except ModelFault as error:
        words = (
            f"On the held-out pairs of its data set {name} {error} So they do not vouch for other answers."
        )
        return Check(name=HELD_OUT + name, words=words, vouches=False)
    except _UNUSABLE as error:
        return _nothing(name, str(error) or type(error).__name__)
    classes = manifests[0].contract.classes
    made = gates.judge_itself(compared, classes)
    certain = gates.clearly_worse(made)
    doubt = gates.doubt(compared, made)
    # Recall passes where AP is judged as well: told only where it does not.
    told = [gate for gate in made if gate.metric != ClassMetric.RECALL or not gate.passed]
    end = "clearly worse" if certain else f"not clearly worse, but {doubt}" if doubt else "not clearly worse"
    if certain or doubt:
        end += ": they do not vouch for other answers"
    return Check(
        name=HELD_OUT + name,
        words=f"On held-out pairs of its data set {name}: {gates.words_of(told)} That is {end}.",
        numbers=numbers_of(made[0]),
        gates=made,
        vouches=not (certain or doubt),
    )


def find(candidate: Manifest, current: Manifest, settings: ControllerSettings) -> GoldenSet:
    """Pairs of the candidate's data set that neither version was trained on; the same ones each time.

    Raises NotFound, Corrupt, TooLarge or InvalidInput, which say why there are none, and OSError.
    """
    manifests = (candidate, current)
    if not candidate.lineage.tiles:
        raise NotFound("it does not say which pictures it was trained on.")
    dataset = _open(candidate.lineage.dataset, settings.datasets)
    classes = dataset.head.classes
    if any(one.contract.classes != classes for one in manifests):
        raise InvalidInput("its classes are not those of both versions.")
    seen = {tile for one in manifests for tile in one.lineage.tiles}
    held_out = [
        pair
        for pair in dataset.each_pair()
        if pair.split is Split.TEST and pair.sha256_post not in seen and len(pair.boxes) <= _BOXES
    ]
    if not held_out:
        raise NotFound("it has no pairs that both versions did not see in training.")
    # Sorted by a hash of what they show: a choice without a pattern that is the same everywhere.
    most = _most(manifests, settings.held_out_pairs)
    chosen = sorted(held_out, key=lambda pair: (pair.sha256_post, pair.key))[:most]
    for pair in chosen:
        _check_pair(dataset.path, pair, len(classes))
    return GoldenSet(
        name=HELD_OUT + dataset.id,
        digest=sha256_pieces(f"{pair.sha256_pre}{pair.sha256_post}".encode() for pair in chosen),
        path=dataset.path,
        dataset=dataset.id,
        pairs=tuple(_entry(pair) for pair in chosen),
    )


def _nothing(name: str, why: str) -> Check:
    words = f"No held-out pairs of its data set {name} can vouch for it: {why}"
    return Check(name=HELD_OUT + name, words=words if words.endswith(".") else f"{words}.")


def _open(name: str, folder: Path | None) -> Dataset:
    if folder is None or not folder.is_dir():
        raise NotFound("the controller has no data sets below DATA_DIR.")
    manifest = folder / name / MANIFEST
    if Path(name).name != name or not manifest.is_file():
        raise NotFound("it is not below the controller's DATA_DIR.")
    with manifest.open("rb") as file:
        data = file.read(_MANIFEST_BYTES + 1)
    if len(data) > _MANIFEST_BYTES:
        raise TooLarge(f"its {MANIFEST} is larger than {_MANIFEST_BYTES >> 20} MiB.")
    dataset = Dataset(folder / name, data=data)  # what was checked is what is read
    if dataset_id(dataset.content()) != name:
        raise Corrupt("it was changed: its content is not what its name says.")
    return dataset


def _most(manifests: Sequence[Manifest], limit: int) -> int:
    """How many pairs fit into memory and time: fewer where a version wants large pictures."""
    largest = max(one.contract.size**2 * len(one.contract.channels) for one in manifests)
    return max(1, min(limit, _ARRAY_BYTES // largest))


def _check_pair(folder: Path, pair: Pair, classes: int) -> None:
    """Raises before anything is read what could make a reader wait, swell or leave the folder."""
    if len(pair.boxes) != len(pair.classes) or not all(0 <= label < classes for label in pair.classes):
        raise Corrupt(f"the boxes of {pair.key} make no sense.")
    for picture in (pair.pre, pair.post):
        path = folder / check_relative(picture)
        if not path.is_file():
            raise Corrupt(f"{picture} is missing.")
        if path.stat().st_size > _PICTURE_BYTES:
            raise TooLarge(f"{picture} is larger than {_PICTURE_BYTES >> 20} MiB.")


def _entry(pair: Pair) -> GoldenEntry:
    return GoldenEntry(
        key=pair.key,
        sha256=pair.sha256_post,
        sha256_pre=pair.sha256_pre,
        pre=pair.pre,
        post=pair.post,
        boxes=pair.boxes,
        classes=pair.classes,
    )
