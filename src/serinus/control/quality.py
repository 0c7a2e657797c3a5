"""The quality gate: on every golden set a candidate must not be worse than current, nor must any class.

Both versions run over the set in a sandbox; the paired bootstrap bounds what the candidate may have lost,
in the mean (mAP50) and class by class, as the policy asks (`control.gates`).
What current found on a set is kept in memory: neither the version nor the set ever changes.
"""

from collections.abc import Sequence
from typing import TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from serinus.artifact.manifest import Contract, Manifest
from serinus.control import gates
from serinus.control.checks import Check
from serinus.control.golden import Gate, check_name
from serinus.control.settings import ControllerSettings
from serinus.core.enums import ReasonCode
from serinus.core.errors import InvalidInput, ModelFault
from serinus.core.ids import Digest
from serinus.engine import trial
from serinus.evaluation.bootstrap import compare
from serinus.imagery.decode import decode
from serinus.imagery.stack import Fitted, fit, to_original
from serinus.rollout.policy import Policy
from serinus.store import GoldenSet, Store

Found: TypeAlias = list[NDArray[np.float32]]
"""Per pair the detections [K, 6] in original pixels, without unused rows."""
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
        contract = self._store.manifest(candidate).contract
        classes = contract.classes
        known = max((label for pair in golden.pairs for label in pair.classes), default=0)
        if known >= len(classes):
            words = f"It knows the classes 0 to {len(classes) - 1}; this set has buildings of class {known}."
            return Check(name=name, failed=ReasonCode.VERIFY_FAILED, words=words)
        try:
            theirs = self._current(current, golden)
        except ModelFault as error:
            # A broken current must not block its own repair.
            return Check(
                name=name, words=f"Current itself fails on it, so there is nothing to compare: {error}"
            )
        try:
            ours = self._run(candidate, golden)
        except ModelFault as error:
            return Check(name=name, failed=ReasonCode.VERIFY_FAILED, words=f"On this set {error}")
        truth = [
            (np.array(pair.boxes, np.float32).reshape(-1, 4), np.array(pair.classes, np.int64))
            for pair in golden.pairs
        ]
        try:
            compared = compare(
                truth,
                theirs,
                ours,
                classes,
                thresholds=(
                    self._store.manifest(current).contract.score_threshold,
                    contract.score_threshold,
                ),
                samples=self._settings.bootstrap_samples,
            )
        except InvalidInput as error:
            return Check(name=name, words=f"This set measures nothing: {error}")
        return _checked(name, gates.judge(compared, classes, policy))

    def _current(self, digest: Digest, golden: GoldenSet) -> Found:
        known = self._known.get((digest, golden.digest))
        if known is None:
            known = self._run(digest, golden)
            # Only the present current matters: what an older one found is dropped.
            self._known = {key: found for key, found in self._known.items() if key[0] == digest}
            self._known[digest, golden.digest] = known
        return known

    def _run(self, digest: Digest, golden: GoldenSet) -> Found:
        contract = self._store.manifest(digest).contract
        pictures = _Pictures(golden, contract)
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

    def __init__(self, golden: GoldenSet, contract: Contract) -> None:
        self._golden = golden
        self._contract = contract
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
        pre, post = (
            decode((self._golden.path / picture).read_bytes(), max_pixels=_MAX_PIXELS)
            for picture in (pair.pre, pair.post)
        )
        fitted = fit(pre, post, size=self._contract.size, stride=self._contract.stride)
        self.geometry[index] = fitted._replace(image=fitted.image[:, :0, :0])
        picture: NDArray[np.uint8] = fitted.image[0]
        return picture


def _checked(name: str, made: tuple[Gate, ...]) -> Check:
    mean = made[0]
    return Check(
        name=name,
        failed=None if all(gate.passed for gate in made) else ReasonCode.QUALITY_GATE,
        words=gates.words_of(made),
        numbers={
            "map50_current": mean.current,
            "map50_candidate": mean.candidate,
            "difference": mean.difference,
            "low": mean.low,
            "high": mean.high,
            "margin": mean.margin,
            "pairs": float(mean.pictures),
        },
        gates=made,
    )
