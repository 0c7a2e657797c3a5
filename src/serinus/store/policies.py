"""Named policies: what a name means, since when, by whom. Nothing is ever changed.

policies/<name>/0000000001.json    put if absent: the first meaning of the name; the newest counts
"""

import re

import msgspec

from serinus.core.errors import Corrupt, InvalidInput, Unavailable
from serinus.core.ids import Clock, NewId
from serinus.core.text import storable
from serinus.rollout.policy import BUILT_IN, Policy
from serinus.store.backend import Backend
from serinus.store.sealed import seal, unseal

_FOLDER = "policies"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RECORD = re.compile(r"(\d{10})\.json")
_ATTEMPTS = 100


class PolicyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One edition of a named policy."""

    id: str
    """Random: tells our own lost answer from somebody else's win."""
    edition: int
    """1, 2, 3 ..."""
    time: float
    """Seconds since 1970-01-01 UTC."""
    actor: str
    reason: str
    policy: Policy


class Policies:
    """`policies/`. Any number of processes may share it."""

    def __init__(self, backend: Backend, *, clock: Clock, new_id: NewId) -> None:
        self._backend = backend
        self._clock = clock
        self._new_id = new_id

    def put(self, policy: Policy, *, actor: str, reason: str) -> PolicyRecord:
        """`policy.name` means this policy from now on. Rollouts that were started keep theirs.

        Raises InvalidInput for a name that is built in, and for what no rollout can obey.
        """
        storable(reason, "The reason")
        if policy.name in BUILT_IN:
            raise InvalidInput(
                f"The policy {policy.name!r} is built in and stays what it is.",
                remedy="Give yours another name, and let POLICY name it for automatic starts.",
            )
        if problems := policy.problems():
            raise InvalidInput(f"No rollout can obey this policy: {'; '.join(problems)}.")
        for _ in range(_ATTEMPTS):
            record = PolicyRecord(
                id=self._new_id(),
                edition=self._last(policy.name) + 1,
                time=self._clock(),
                actor=actor,
                reason=reason,
                policy=policy,
            )
            data = seal(msgspec.json.encode(record))
            if self._backend.put_if_absent(_key(policy.name, record.edition), data):
                return record
        raise Unavailable(f"Too many set the policy {policy.name} at once.", remedy="Try again.")

    def get(self, name: str) -> PolicyRecord | None:
        """The newest edition, None when nobody set it. Raises Corrupt, naming a damaged file."""
        if not _NAME.fullmatch(name):
            return None
        last = self._last(name)
        return self._read(name, last) if last else None

    def names(self) -> tuple[str, ...]:
        """Names that mean a policy, sorted; without the built-in ones."""
        return tuple(sorted(name for name in self._backend.names(_FOLDER) if self._last(name)))

    def history(self, name: str) -> list[PolicyRecord]:
        """All editions, oldest first. Raises Corrupt, naming a damaged file."""
        last = self._last(name) if _NAME.fullmatch(name) else 0
        return [self._read(name, edition) for edition in range(1, last + 1)]

    def _read(self, name: str, edition: int) -> PolicyRecord:
        key = _key(name, edition)
        try:
            document = unseal(self._backend.read(key) or b"", self._backend.name(key))
            record = msgspec.json.decode(document, type=PolicyRecord)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Corrupt(
                f"{self._backend.name(key)} cannot be read: {error}.",
                remedy="Restore it from a backup, or set the policy again.",
            ) from error
        if (record.policy.name, record.edition) != (name, edition):
            raise Corrupt(
                f"{self._backend.name(key)} holds edition {record.edition} of {record.policy.name}.",
                remedy="Restore it from a backup, or set the policy again.",
            )
        return record

    def _last(self, name: str) -> int:
        matches = map(_RECORD.fullmatch, self._backend.names(f"{_FOLDER}/{name}"))
        return max((int(match[1]) for match in matches if match), default=0)


def _key(name: str, edition: int) -> str:
    return f"{_FOLDER}/{name}/{edition:010d}.json"
