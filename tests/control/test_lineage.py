from pathlib import Path

import msgspec
import pytest

from serinus.artifact.manifest import Lineage
from serinus.control.lineage import Origin, lineage
from serinus.core.enums import RolloutPhase
from serinus.core.errors import NotFound
from serinus.core.ids import Digest, Version
from tests import models
from tests.control.world import World


def _draft(folder: Path, number: int, parent: Digest | None, **config: object) -> Path:
    draft = models.healthy(folder, seed=number)
    made = Lineage(trainer="compact", config=config, dataset="ds-1", parent=parent, code="0.1.0")
    (draft / "lineage.json").write_bytes(msgspec.json.encode(made))
    return draft


def test_from_the_data_to_the_evidence(world: World, tmp_path: Path) -> None:
    """Version 2 comes from version 1 and is promoted on evidence; version 3 comes from it, untried."""
    first = world.store.state().versions[Version(1)].digest
    config = {"epochs": 3, "seed": 7, "dataset_sha256": "ab" * 32, "pairs": {"train": 9}, "torch": "2.13"}
    second = world.publish(_draft(tmp_path / "b", 7, first, **config))
    world.replica.beat(world.state)
    world.verify()
    assert world.until_over(users=40, seconds=400).phase is RolloutPhase.PROMOTED
    digest = world.store.state().versions[second].digest
    third = world.publish(_draft(tmp_path / "c", 8, digest))

    found = lineage(world.store, third)
    assert (found.version, found.rollouts) == (third, ())
    parent = found.parent
    assert parent is not None
    assert (parent.version, parent.digest) == (second, digest)
    assert parent.data is not None
    assert (parent.data.id, parent.data.sha256, parent.data.pairs) == ("ds-1", "ab" * 32, {"train": 9})
    assert parent.config == {"epochs": 3}
    assert parent.code == {"serinus": "0.1.0", "seed": 7, "torch": "2.13"}
    assert parent.weights == {"model.onnx": world.store.manifest(digest).files["model.onnx"].sha256}
    (judged,) = parent.rollouts
    assert judged.phase is RolloutPhase.PROMOTED
    assert judged.slices > 0
    frozen = world.store.last_frozen(judged.rollout)
    assert frozen is not None
    assert len(judged.evidence) == 64
    assert f"version {second}" in judged.headline.lower()
    base = parent.parent
    assert base is not None
    assert (base.version, base.parent) == (Version(1), None)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Origin) == found


def test_a_parent_of_another_store_ends_the_chain(world: World, tmp_path: Path) -> None:
    unknown = Digest("cd" * 32)
    version = world.publish(_draft(tmp_path / "b", 7, unknown, pairs="nine", disasters=3, dataset_sha256=[1]))
    found = lineage(world.store, version)
    assert found.parent == Origin(version=None, digest=unknown)
    assert found.data is not None
    assert (found.data.sha256, found.data.pairs, found.data.disasters) == ("", {}, ())


def test_an_unknown_version(world: World) -> None:
    with pytest.raises(NotFound, match="no version 99"):
        lineage(world.store, Version(99))
