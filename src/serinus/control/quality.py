"""The quality gate: on every golden set a candidate must not be worse than current, nor must any class.

Both versions run over the set in a sandbox; the paired bootstrap bounds what the candidate may have lost,
in the mean (mAP50) and class by class, as the policy asks (`control.gates`).
What current found on a set is kept in memory: neither the version nor the set ever changes.
"""

import math
import time
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from serinus.artifact.manifest import Contract, Manifest
from serinus.control import gates
from serinus.control.checks import Check
from serinus.control.golden import Gate, check_name
from serinus.control.settings import ControllerSettings
from serinus.core.enums import ReasonCode
from serinus.core.errors import InvalidInput, ModelFault, TooLarge
from serinus.core.ids import Digest
from serinus.data.dataset import load_image
from serinus.engine import trial
from serinus.evaluation.bootstrap import Comparison, compare
from serinus.imagery.stack import Fitted, fit, to_original
from serinus.rollout.policy import Policy
from serinus.store import GoldenSet, Store

Found: TypeAlias = list[NDArray[np.float32]]
"""Per pair the detections [K, 6] in original pixels, without unused rows."""


class Answers(NamedTuple):
    """What two versions find on the same pairs."""

    current: Found
    candidate: Found


class CurrentFails(Exception):
    """Current itself cannot answer the pairs, so there is nothing to compare with."""


_MAX_PIXELS = 100_000_000
"""Golden pictures were checked when the set was made; this only stops what cannot be meant."""


def seen_in_training(manifest: Manifest, sets: Sequence[GoldenSet]) -> Check:
    """No golden picture was used to train the candidate."""
    trained = set(manifest.lineage.tiles)
    for golden in sets:
        seen = [pair.key for pair in golden.pairs if pair.sha256 in trained]
        if seen:
            some = ", ".join(seen[:3]) + (" ..." if len(seen) > 3 else "")
            return Check(
                name="golden pictures",
                failed=ReasonCode.TRAINED_ON_GOLDEN,
                words=f"It was trained on {len(seen)} of {len(golden.pairs)} pictures of the golden set "
                f"{golden.name!r} ({some}), so its result there would mean nothing.",
                numbers={"pictures": float(len(seen))},
            )
    if not sets:
        return Check(name="golden pictures", words="No golden set is registered.")
    if not trained:
        return Check(name="golden pictures", words="It does not say what it was trained on.")
    return Check(name="golden pictures", words="It was trained on none of the golden pictures.")


class QualityGate:
    """Compares candidates with current. Not thread-safe: one verification at a time uses it."""

    def __init__(self, store: Store, settings: ControllerSettings) -> None:
        self._store = store
        self._settings = settings
        self._known: dict[tuple[Digest, Digest], Found] = {}

    def check(self, candidate: Digest, current: Digest, golden: GoldenSet, policy: Policy) -> Check:
        """The gate on one set. Raises what is not the candidate's fault."""
        name = check_name(golden.name)
        classes = self._store.manifest(candidate).contract.classes
        known = max((label for pair in golden.pairs for label in pair.classes), default=0)
        if known >= len(classes):
            words = f"It knows the classes 0 to {len(classes) - 1}; this set has buildings of class {known}."
            return Check(name=name, failed=ReasonCode.VERIFY_FAILED, words=words)
        try:
            answers = self.answers(candidate, current, golden)
        except CurrentFails as error:
            # A broken current must not block its own repair.
            words = f"Current itself fails on it, so there is nothing to compare: {error}"
            return Check(name=name, words=words, vouches=False)
        except ModelFault as error:
            return Check(name=name, failed=ReasonCode.VERIFY_FAILED, words=f"On this set {error}")
        try:
            compared = self.compare(candidate, current, golden, answers)
        except InvalidInput as error:
            return Check(name=name, words=f"This set measures nothing: {error}", vouches=False)
        made = gates.judge(compared, classes, policy)
        # A policy may let pass what is worse. That is its right, but no reason to believe other answers.
        itself = gates.judge_itself(compared, classes)
        against = [gate.words for gate in itself if not gate.passed]
        if doubt := gates.doubt(compared, itself):
            against.append(f"{doubt[0].upper()}{doubt[1:]}.")
        return _checked(name, made, against)

    def answers(
        self, candidate: Digest, current: Digest, pairs: GoldenSet, *, read_seconds: float = math.inf
    ) -> Answers:
        """What both find on the same pairs. Raises CurrentFails; ModelFault when the candidate does.

        `read_seconds`: TooLarge when reading the pictures for one of them takes longer. What else the
        pictures are to blame for is raised as it is.
        """
        try:
            theirs = self._current(current, pairs, read_seconds)
        except ModelFault as error:
            raise CurrentFails(str(error)) from error
        return Answers(theirs, self._run(candidate, pairs, read_seconds))

    def compare(self, candidate: Digest, current: Digest, pairs: GoldenSet, answers: Answers) -> Comparison:
        """The candidate beside current. Raises InvalidInput when the pairs show no building."""
        truth = [
            (np.array(pair.boxes, np.float32).reshape(-1, 4), np.array(pair.classes, np.int64))
            for pair in pairs.pairs
        ]
        contract = self._store.manifest(candidate).contract
        return compare(
            truth,
            answers.current,
            answers.candidate,
            contract.classes,
            thresholds=(self._store.manifest(current).contract.score_threshold, contract.score_threshold),
            samples=self._settings.bootstrap_samples,
        )

    def _current(self, digest: Digest, golden: GoldenSet, read_seconds: float) -> Found:
        known = self._known.get((digest, golden.digest))
        if known is None:
            known = self._run(digest, golden, read_seconds)
            # Only the present current matters: what an older one found is dropped.
            self._known = {key: found for key, found in self._known.items() if key[0] == digest}
            self._known[digest, golden.digest] = known
        return known

    def _run(self, digest: Digest, golden: GoldenSet, read_seconds: float) -> Found:
        contract = self._store.manifest(digest).contract
        pictures = _Pictures(golden, contract, read_seconds)
        found = trial.run(
            self._store.artifact(digest),
            contract,
            pictures,
            seconds=self._settings.trial_seconds,
            memory_mb=self._settings.trial_memory_mb,
        )
        return [
            to_original(detections[detections[:, 4] > 0], pictures.geometry[index])
            for index, detections in enumerate(found)
        ]


class _Pictures(Sequence[NDArray[np.uint8]]):
    """The pairs of a set as a contract wants them, read one at a time; geometry is kept, pixels are not."""

    def __init__(self, golden: GoldenSet, contract: Contract, seconds: float) -> None:
        self._golden = golden
        self._contract = contract
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self.geometry: dict[int, Fitted] = {}

    def __len__(self) -> int:
        return len(self._golden.pairs)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.uint8]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        pair = self._golden.pairs[index]
        if time.monotonic() > self._until:
            raise TooLarge(f"Reading its {len(self)} pairs took more than {self._seconds:g} s.")
        pre, post = (
            load_image(self._golden.path / picture, sha256, _MAX_PIXELS)
            for picture, sha256 in ((pair.pre, pair.sha256_pre), (pair.post, pair.sha256))
        )
        fitted = fit(pre, post, size=self._contract.size, stride=self._contract.stride)
        self.geometry[index] = fitted._replace(image=fitted.image[:, :0, :0])
        picture: NDArray[np.uint8] = fitted.image[0]
        return picture


def numbers_of(mean: Gate) -> dict[str, float]:
    """The gate on the mean, for the event."""
    return {
        "map50_current": mean.current,
        "map50_candidate": mean.candidate,
        "difference": mean.difference,
        "low": mean.low,
        "high": mean.high,
        "margin": mean.margin,
        "pairs": float(mean.pictures),
    }


def _checked(name: str, made: tuple[Gate, ...], against: Sequence[str]) -> Check:
    """`against`: what the measurement itself says against the candidate, in sentences."""
    passed = all(gate.passed for gate in made)
    words = gates.words_of(made)
    if passed and against:
        words += (
            f" The policy lets it pass; but this set does not vouch for other answers: {' '.join(against)}"
        )
    return Check(
        name=name,
        failed=None if passed else ReasonCode.QUALITY_GATE,
        words=words,
        numbers=numbers_of(made[0]),
        gates=made,
        vouches=passed and not against,
    )
