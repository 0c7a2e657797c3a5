"""The checks before traffic, each with a name, a result and words for people.

They raise only what says nothing about the candidate ("could not measure"); what it fails is a result.
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serinus.artifact.manifest import Manifest
from serinus.artifact.validate import check_contract
from serinus.control import recorded
from serinus.control.golden import Gate
from serinus.control.recorded import GOLDEN_RESULTS
from serinus.control.settings import ControllerSettings
from serinus.control.trust import Trust, judge
from serinus.core.enums import ReasonCode
from serinus.core.errors import Corrupt, InvalidInput, Misconfigured, ModelFault, NotFound
from serinus.core.ids import Digest
from serinus.engine import trial
from serinus.engine.output import mismatch
from serinus.rollout.policy import Policy
from serinus.store import Store

SCORE_TOLERANCE = 0.01
"""Confidences may differ by this much from those of the trainer's machine."""
BOX_TOLERANCE = 1.0
"""Box sides may differ by this many pixels."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One check and how it went."""

    name: str
    failed: ReasonCode | None = None
    """None: passed, or did not apply (then the words say so)."""
    words: str
    numbers: dict[str, float] = {}
    gates: tuple[Gate, ...] = ()
    """Of a golden set, one by one."""
    vouches: bool | None = None
    """Whether it vouches for answers that differ from current's; None: it measures nothing that could."""

    def document(self) -> dict[str, Any]:
        """For the event."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def files(store: Store, digest: Digest) -> Check:
    """Every file is what the manifest says."""
    try:
        store.verify(digest)
    except (Corrupt, NotFound) as error:
        return Check(name="files", failed=ReasonCode.VERIFY_FAILED, words=str(error))
    count = len(store.manifest(digest).files)
    return Check(name="files", words=f"All {count} files match their hashes.")


def signature(store: Store, digest: Digest, trust: Trust, policy: Policy) -> Check:
    """Somebody trusted has signed it, where that is required: refused, too, where that cannot be told."""
    try:
        made = judge(store, digest, trust, required=policy.require_signature)
    except Misconfigured as error:
        words = (
            f"{error} The settings are to blame, not the version: mend them, then start its rollout again."
        )
        return Check(name="signature", failed=ReasonCode.SIGNATURE, words=words)
    return Check(name="signature", failed=ReasonCode.SIGNATURE if made.refused else None, words=made.words)


def contract(manifest: Manifest) -> Check:
    """Serving can obey the contract."""
    try:
        check_contract(manifest.contract)
    except InvalidInput as error:
        return Check(name="contract", failed=ReasonCode.VERIFY_FAILED, words=str(error))
    channels, size = len(manifest.contract.channels), manifest.contract.size
    return Check(name="contract", words=f"{channels} channels, up to {size} px, as serving makes them.")


def golden_results(artifact: Path, manifest: Manifest, settings: ControllerSettings) -> Check:
    """It loads in a sandbox and answers its own golden pairs as it did when it was trained."""
    name = "golden results"
    try:
        images, expected = _golden_results(artifact, manifest)
    except ModelFault as error:
        return Check(name=name, failed=ReasonCode.VERIFY_FAILED, words=str(error))
    try:
        found = trial.run(
            artifact,
            manifest.contract,
            images,
            seconds=settings.trial_seconds,
            memory_mb=settings.trial_memory_mb,
        )
    except ModelFault as error:
        return Check(name=name, failed=ReasonCode.VERIFY_FAILED, words=f"In the sandbox {error}")
    if expected is None:
        return Check(name=name, words="It loads and answers in the sandbox; it brings no golden results.")
    for index, (wanted, answer) in enumerate(zip(expected, found, strict=True)):
        difference = mismatch(
            wanted,
            answer,
            floor=manifest.contract.score_threshold,
            confidence=SCORE_TOLERANCE,
            pixels=BOX_TOLERANCE,
        )
        if difference:
            words = (
                f"On golden picture {index} it answers differently than when it was trained: {difference}."
            )
            return Check(name=name, failed=ReasonCode.VERIFY_FAILED, words=words)
    return Check(
        name=name,
        words=f"It loads in the sandbox and reproduces its {len(found)} golden results.",
        numbers={"pictures": float(len(found))},
    )


def _golden_results(
    artifact: Path, manifest: Manifest
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.float32]] | None]:
    """Pictures to try, and what the trainer says the answers are. Raises ModelFault for a bad file."""
    contract = manifest.contract
    if GOLDEN_RESULTS not in manifest.files:
        side = -(-min(contract.size, 256) // contract.stride) * contract.stride
        return [np.zeros((side, side, len(contract.channels)), np.uint8)], None
    images, detections = recorded.read(artifact)
    if images.shape[3] != len(contract.channels) or not len(images) == len(detections) > 0:
        raise recorded.unfit(images, detections)
    return list(images), list(detections)
