"""Tells MLflow how the rollouts of imported versions ended: tags of the model version, an alias if wanted.

Derived from the journal and from the tags that are there, so it may be stopped anywhere and run again: what
is told already is not told twice. Where a model version was imported more than once, the newest outcome
counts.
"""

from collections.abc import Callable, Iterable

import msgspec

from serinus.core.errors import SerinusError, Unavailable
from serinus.core.ids import Version
from serinus.store import Store
from serinus.tracking.outcomes import Ended, Outcomes, tags_of
from serinus.tracking.registry import Registry
from serinus.tracking.source import Source, source_of

OpenRegistry = Callable[[Source], Registry]
"""The server to tell about an import. Raises what `Registry` raises."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one outcome."""

    version: Version
    model: str
    model_version: str
    outcome: str
    changed: bool = False
    """Whether tags were set now (or would be, in a dry run); False with no `trouble`: they were there."""
    trouble: str = ""


def read_outcomes(store: Store) -> Outcomes:
    outcomes = Outcomes()
    for event in store.events():
        outcomes.add(event)
    return outcomes


def tell(
    store: Store,
    open_registry: OpenRegistry,
    *,
    limit: int | None = None,
    alias: str = "",
    dry_run: bool = False,
) -> list[Told]:
    """Tells outcomes that are not told yet, oldest first; with `limit` looks at so many of the newest only.

    What goes wrong with one is in its `trouble`; a server that cannot be reached is not tried again.
    """
    told: list[Told] = []
    registries: dict[str, Registry | str] = {}
    outcomes = read_outcomes(store)
    pending = _newest(store, outcomes, limit)
    for ended, source in pending:
        registry = registries.get(source.tracking_uri)
        changed, trouble = False, ""
        try:
            if registry is None:
                registry = registries[source.tracking_uri] = open_registry(source)
            if isinstance(registry, str):
                trouble = registry
            else:
                changed = _tell_one(registry, source, ended, dry_run)
        except SerinusError as error:
            trouble = str(error)
            if registry is None or isinstance(error, Unavailable):
                registries[source.tracking_uri] = trouble
        told.append(
            Told(
                version=ended.version,
                model=source.model,
                model_version=source.version,
                outcome=ended.outcome,
                changed=changed,
                trouble=trouble,
            )
        )
    if alias and not dry_run:
        told += _follow(store, outcomes, registries, [source for _, source in pending], alias=alias)
    return told


def _newest(store: Store, outcomes: Outcomes, limit: int | None) -> list[tuple[Ended, Source]]:
    """The newest outcome of each model version, oldest first."""
    found: dict[tuple[str, str, str], tuple[Ended, Source]] = {}
    for ended in sorted(outcomes.ended.values(), key=lambda each: -each.seq):
        source = imported_from(store, ended)
        if source is not None:
            found.setdefault((source.tracking_uri, source.model, source.version), (ended, source))
        if limit is not None and len(found) >= limit:
            break
    return sorted(found.values(), key=lambda pair: pair[0].seq)


def imported_from(store: Store, ended: Ended) -> Source | None:
    """None when the artifact is gone or damaged: others tell that."""
    try:
        return source_of(store.manifest(ended.digest).lineage.config)
    except SerinusError:
        return None


def _tell_one(registry: Registry, source: Source, ended: Ended, dry_run: bool) -> bool:
    there = registry.again(source).tags
    wanted = tags_of(ended)
    changes = {name: value for name, value in wanted.items() if there.get(name, "") != value}
    if not dry_run:
        for name, value in changes.items():
            if value:
                registry.tag(source, name, value)
            else:
                registry.untag(source, name)
    return bool(changes)


def _follow(
    store: Store,
    outcomes: Outcomes,
    registries: dict[str, Registry | str],
    sources: Iterable[Source],
    *,
    alias: str,
) -> list[Told]:
    """The alias points at what serves; where that is not of this model, it leaves versions of our import."""
    state = store.state()
    if state.current is None:
        return []
    promoted = outcomes.ended.get(state.current)
    current = None if promoted is None else imported_from(store, promoted)
    ours: dict[tuple[str, str], set[str]] = {}
    for source in sources:
        ours.setdefault((source.tracking_uri, source.model), set()).add(source.version)
    trouble: list[Told] = []
    for (uri, model), versions in ours.items():
        serves = current is not None and (current.tracking_uri, current.model) == (uri, model)
        wanted = current.version if serves and current is not None else ""
        registry = registries.get(uri)
        if not isinstance(registry, Registry):
            continue
        try:
            now = registry.alias(model, alias)
            if now != wanted and (wanted or now in versions):
                registry.set_alias(model, alias, wanted)
        except SerinusError as error:
            trouble.append(
                Told(
                    version=state.current,
                    model=model,
                    model_version=wanted,
                    outcome="current",
                    trouble=str(error),
                )
            )
    return trouble
