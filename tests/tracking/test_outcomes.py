"""Which outcome the journal gives an imported version."""

from pathlib import Path

import pytest

from serinus.core.enums import ReasonCode
from serinus.core.ids import Version
from serinus.rollout.events import Body, Promoted, Rejected, RolledBack, RolloutStarted, Undone, Verified
from serinus.rollout.policy import Policy
from serinus.store import Store
from serinus.tracking.outcomes import Outcome, tags_of
from serinus.tracking.telling import read_outcomes
from tests import models

IMPORTED = "alice via mlflow import"


def publish(store: Store, folder: Path, seed: int, actor: str = IMPORTED) -> Version:
    return store.publish(models.healthy(folder / f"v{seed}", seed=seed), note="", actor=actor)


def happen(store: Store, *bodies: Body) -> None:
    for body in bodies:
        store.append(body, actor="controller", reason=f"because of {type(body).__name__}")


def rollout(number: int, version: Version, supersedes: int | None = None) -> RolloutStarted:
    return RolloutStarted(rollout=number, version=version, policy=Policy(), supersedes=supersedes)


def promoted(number: int, version: Version) -> Promoted:
    return Promoted(rollout=number, version=version, code=ReasonCode.EVIDENCE_GOOD, evidence="e" * 64)


@pytest.fixture
def based(store: Store, tmp_path: Path) -> Store:
    store.publish(models.healthy(tmp_path / "base"), note="", actor="first start", initial=True)
    return store


def test_each_end_has_its_outcome(based: Store, tmp_path: Path) -> None:
    two, three, four, five = (publish(based, tmp_path, seed) for seed in (2, 3, 4, 5))
    happen(based, rollout(1, two), Rejected(rollout=1, code=ReasonCode.QUALITY_GATE))
    happen(based, rollout(2, three), Verified(rollout=2, share=0.5), rollout(3, four, supersedes=2))
    happen(based, RolledBack(rollout=3, version=four, code=ReasonCode.ERRORS, evidence="f" * 64))
    happen(based, rollout(4, five), Verified(rollout=4, share=0.5), promoted(4, five))
    ended = read_outcomes(based).ended
    assert {version: each.outcome for version, each in ended.items()} == {
        two: Outcome.REJECTED,
        three: Outcome.SUPERSEDED,
        four: Outcome.ROLLED_BACK,
        five: Outcome.PROMOTED,
    }
    tags = tags_of(ended[four])
    assert tags["serinus.evidence"] == "f" * 64 and tags["serinus.reason"] == "because of RolledBack"
    assert tags["serinus.sha256"] == based.state().versions[four].digest

    happen(based, Undone(version=Version(1), undone=five))
    assert read_outcomes(based).ended[five].outcome is Outcome.UNDONE


def test_only_what_this_program_imported_counts(based: Store, tmp_path: Path) -> None:
    """A lineage may be written by anybody; the actor is not."""
    two = publish(based, tmp_path, 2, actor="bob via cli")
    happen(based, rollout(1, two), Rejected(rollout=1, code=ReasonCode.VERIFY_FAILED))
    assert not read_outcomes(based).ended
