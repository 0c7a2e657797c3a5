"""Named policies: what a name means, since when, by whom; an edition (`editions`) each."""

import msgspec

from serinus.core.errors import Conflict, Corrupt, InvalidInput
from serinus.core.ids import Clock, NewId
from serinus.core.text import storable
from serinus.rollout.policy import BUILT_IN, Policy
from serinus.store.editions import NAME, Editions
from serinus.store.sealed import seal, unseal

_SET_AGAIN = "Restore it from a backup, or set the policy again."


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

    def __init__(self, editions: Editions, *, clock: Clock, new_id: NewId) -> None:
        self._editions = editions
        self._clock = clock
        self._new_id = new_id

    def put(self, policy: Policy, *, actor: str, reason: str, expect: int | None = None) -> PolicyRecord:
        """`policy.name` means this policy from now on. Rollouts that were started keep theirs.

        `expect`: the edition that was the last when somebody looked, 0 for none; None: whatever it is.
        Raises InvalidInput for a name that is built in, and for what no rollout can obey; Conflict when there
        is another edition than the expected one.
        """
        storable(reason, "The reason")
        if policy.name in BUILT_IN:
            raise InvalidInput(
                f"The policy {policy.name!r} is built in and stays what it is.",
                remedy="Give yours another name, and let POLICY name it for automatic starts.",
            )
        if problems := policy.problems():
            raise InvalidInput(f"No rollout can obey this policy: {'; '.join(problems)}.")

        def make(number: int) -> bytes:
            if expect is not None and number != expect + 1:
                raise Conflict(
                    f"The policy {policy.name!r} has edition {number - 1} meanwhile, "
                    f"{f'not {expect}' if expect else 'and was to be a new one'}.",
                    remedy="Look at that edition first, or give yours another name.",
                )
            record = PolicyRecord(
                id=self._new_id(),
                edition=number,
                time=self._clock(),
                actor=actor,
                reason=reason,
                policy=policy,
            )
            return seal(msgspec.json.encode(record))

        return self._read(policy.name, self._editions.save(policy.name, make, actor=actor, reason=reason))

    def get(self, name: str) -> PolicyRecord | None:
        """The newest edition, None when nobody set it. Raises Corrupt, naming a damaged file."""
        if not NAME.fullmatch(name):
            return None
        last = self._editions.last(name)
        return self._read(name, last) if last else None

    def names(self) -> tuple[str, ...]:
        """Names that mean a policy, sorted; without the built-in ones."""
        return self._editions.names()

    def history(self, name: str) -> list[PolicyRecord]:
        """All editions, oldest first. Raises Corrupt, naming a damaged file."""
        last = self._editions.last(name) if NAME.fullmatch(name) else 0
        return [self._read(name, edition) for edition in range(1, last + 1)]

    def _read(self, name: str, edition: int) -> PolicyRecord:
        data, place = self._editions.read(name, edition)
        return decode_edition(data, place, name, edition)


def decode_edition(data: bytes, name: str, policy: str, edition: int) -> PolicyRecord:
    """Edition `edition` of `policy`. Raises Corrupt, naming the file `name`."""
    try:
        record = msgspec.json.decode(unseal(data, name), type=PolicyRecord)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"{name} cannot be read: {error}.", remedy=_SET_AGAIN) from error
    if (record.policy.name, record.edition) != (policy, edition):
        raise Corrupt(f"{name} holds edition {record.edition} of {record.policy.name}.", remedy=_SET_AGAIN)
    return record
