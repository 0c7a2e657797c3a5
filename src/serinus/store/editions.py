"""Editions of what has a name: numbered documents that are never changed; the newest counts.

    <folder>/<name>/0000000001.json    put if absent: the commit point

An `edition_saved` event follows each and holds its hash, so that a newest edition that was lost is missed: a
golden set that is silently gone would be a gate that is silently open. A writer that is killed in between
leaves an edition that counts and that no event knows, as older versions of Serinus did.
"""

import re
from collections.abc import Callable

from serinus.artifact.files import sha256_bytes
from serinus.core.enums import Named
from serinus.core.errors import Corrupt, Unavailable
from serinus.rollout.events import EditionSaved
from serinus.rollout.state import Edition, State
from serinus.store.backend import Backend
from serinus.store.journal import Journal
from serinus.store.registry import Registry
from serinus.store.witness import numbered

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ATTEMPTS = 100
_LAST = 10**10 - 1
"""Names have ten digits."""
_AGAIN = {
    Named.GOLDEN: "add the set again: `serinus golden add`",
    Named.POLICY: "set the policy again: `serinus policy set`",
}


class Editions:
    """`golden/` or `policies/`. Any number of processes may share it."""

    def __init__(self, what: Named, backend: Backend, journal: Journal, registry: Registry) -> None:
        self._what = what
        self._backend = backend
        self._journal = journal
        self._registry = registry

    def names(self) -> tuple[str, ...]:
        """Names that mean something, also where only an event tells; sorted."""
        known = {folder.partition("/") for folder in self._journal.state().editions}
        told = {name for what, _, name in known if what == self._what}
        return tuple(sorted(told | {name for name in self._backend.names(self._what) if self._listed(name)}))

    def last(self, name: str) -> int:
        """The number of the newest edition; 0 when there is none.

        Raises Corrupt when it is one that an event knows and that is missing or another one.
        """
        last, known = self._listed(name), self._known(self._journal.state(), name)
        if known is None or last > known.number:
            return last
        key = self.key(name, known.number)
        data = self._backend.read(key)
        if data is None or sha256_bytes(data) != known.sha256:
            raise Corrupt(
                f"{self._backend.name(key)} is {'missing' if data is None else 'not what was saved'}: "
                f"it is the newest edition of {name}.",
                remedy="`serinus store check --repair --from BACKUP` restores it; without a backup, "
                f"{_AGAIN[self._what]}.",
            )
        return known.number

    def read(self, name: str, number: int) -> tuple[bytes, str]:
        """The document, empty when it is missing, and what people call it."""
        key = self.key(name, number)
        return self._backend.read(key) or b"", self._backend.name(key)

    def refuse(self) -> None:
        """Raises as `Registry.refuse`; asked before what an edition names is stored."""
        self._registry.refuse()

    def save(self, name: str, make: Callable[[int], bytes], *, actor: str, reason: str) -> int:
        """Puts what `make` gives for the next number, which is given back; then the event.

        Raises as `Registry.refuse`, and saves nothing then; Unavailable after too many lost races.
        """
        known = self._known(self._registry.refuse(), name)
        for _ in range(_ATTEMPTS):
            number = max(self._listed(name), known.number if known is not None else 0) + 1
            if number > _LAST:
                raise Corrupt(
                    f"{self._backend.name(self.key(name, _LAST))} has the last number that there is.",
                    remedy="It is not of this store: move it away.",
                )
            data = make(number)
            if self._backend.put_if_absent(self.key(name, number), data):
                break
        else:
            raise Unavailable(f"Too many save {name} at once.", remedy="Try again.")
        saved = EditionSaved(what=self._what, name=name, edition=number, sha256=sha256_bytes(data))
        self._registry.append(lambda _: saved, actor=actor, reason=lambda _: reason)
        return number

    def key(self, name: str, number: int) -> str:
        return f"{self._what}/{name}/{number:010d}.json"

    def _known(self, state: State, name: str) -> Edition | None:
        return state.editions.get(f"{self._what}/{name}")

    def _listed(self, name: str) -> int:
        return max(numbered(self._backend.names(f"{self._what}/{name}")), default=0)
