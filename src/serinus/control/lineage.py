"""Where a version came from, and what became of it: from the hash of its data to its rollouts' evidence."""

from typing import Any

import msgspec

from serinus.artifact.manifest import told
from serinus.control.explain import explain
from serinus.core.enums import RolloutPhase
from serinus.core.errors import NotFound
from serinus.core.ids import Digest, Version
from serinus.rollout.events import RolloutStarted
from serinus.store import Store

_DATA = ("dataset_sha256", "disasters", "pairs")
_CODE = ("code_sha256", "torch", "threads", "seed", "licence")
_WEIGHTS = ("model.onnx", "best.pt")


class Data(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    sha256: str
    """Of its content; empty where the version does not say."""
    disasters: tuple[str, ...]
    pairs: dict[str, int]
    """By split."""
    tiles: int
    """Pictures that the version has learned from, those of its parents included."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout of the version."""

    rollout: int
    phase: RolloutPhase
    headline: str
    evidence: str
    """Digest of the newest frozen slice; empty when nothing was judged."""
    slices: int
    override: bool
    """A person promoted it against the evidence."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the chain."""

    version: Version | None
    """None: a parent that this store does not know."""
    digest: Digest
    """Of its manifest."""
    trainer: str = ""
    data: Data | None = None
    config: dict[str, Any] = {}
    code: dict[str, Any] = {}
    """Versions and hashes of what ran, and its seed."""
    weights: dict[str, Digest] = {}
    """sha256 by file."""
    metrics: dict[str, float] = {}
    rollouts: tuple[Judged, ...] = ()
    parent: "Origin | None" = None


def lineage(store: Store, version: Version) -> Origin:
    """The version, its rollouts, and what it was fine-tuned from, back to the first.

    Raises NotFound when there is no such version, Corrupt when a manifest is damaged.
    """
    record = store.state().versions.get(version)
    if record is None:
        raise NotFound(f"There is no version {version}.", remedy="`serinus versions list` names them.")
    rollouts: dict[Version, list[int]] = {}
    for event in store.newest_events():
        if isinstance(event.body, RolloutStarted):
            rollouts.setdefault(event.body.version, []).insert(0, event.body.rollout)
    digests = {one.digest: number for number, one in sorted(store.state().versions.items(), reverse=True)}
    chain: list[Origin] = []
    digest: Digest | None = record.digest
    number: Version | None = version
    while digest is not None and all(digest != one.digest for one in chain):
        one = _origin(store, number, digest, rollouts.get(number, []) if number is not None else [])
        chain.append(one)
        digest = store.manifest(digest).lineage.parent if number is not None else None
        number = digests.get(digest) if digest is not None else None
    found = chain.pop()
    while chain:
        found = msgspec.structs.replace(chain.pop(), parent=found)
    return found


def _origin(store: Store, version: Version | None, digest: Digest, rollouts: list[int]) -> Origin:
    if version is None:
        return Origin(version=None, digest=digest)
    manifest = store.manifest(digest)
    made = manifest.lineage
    config = {name: value for name, value in made.config.items() if name not in _DATA}
    code = {name: config.pop(name) for name in _CODE if name in config}
    return Origin(
        version=version,
        digest=digest,
        trainer=made.trainer,
        data=Data(
            id=made.dataset,
            sha256=told(made, "dataset_sha256", str, ""),
            disasters=told(made, "disasters", tuple[str, ...], ()),
            pairs=told(made, "pairs", dict[str, int], {}),
            tiles=len(made.tiles),
        )
        if made.dataset
        else None,
        config=config,
        code=({"serinus": made.code} if made.code else {}) | code,
        weights={name: manifest.files[name].sha256 for name in _WEIGHTS if name in manifest.files},
        metrics=manifest.metrics,
        rollouts=tuple(_judged(store, rollout) for rollout in rollouts),
    )


def _judged(store: Store, rollout: int) -> Judged:
    found = explain(store, rollout, most_points=2)
    return Judged(
        rollout=rollout,
        phase=found.phase,
        headline=found.headline,
        evidence=found.digest,
        slices=found.slices,
        override=found.override,
    )
