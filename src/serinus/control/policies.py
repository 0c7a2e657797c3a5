"""Policies by name: the two that are built in, and those that the store keeps."""

import msgspec

from serinus.core.errors import InvalidInput, NotFound
from serinus.rollout.policy import BUILT_IN, DEFAULT, Policy
from serinus.store import PolicyRecord, Store


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that a rollout may get."""

    name: str
    built_in: bool
    edition: int | None
    """1, 2, 3 ...; None for a built-in one."""
    time: float | None
    """When this edition was set, seconds since 1970-01-01 UTC."""
    actor: str
    reason: str
    policy: Policy


def named(store: Store, name: str, default: Policy) -> Policy:
    """What `name` means now. `default`: the policy of that name, with what the settings say.

    Raises NotFound when nobody set it.
    """
    return look_up(store, name, default).policy


def look_up(store: Store, name: str, default: Policy) -> Named:
    """A policy with who set it. Raises NotFound when nobody did."""
    if name in BUILT_IN:
        return _built_in(default if name == DEFAULT.name else BUILT_IN[name])
    record = store.policy(name)
    if record is None:
        names = ", ".join(one.name for one in policies(store, default))
        raise NotFound(f"There is no policy {name!r}.", remedy=f"There are: {names}.")
    return _stored(record)


def policies(store: Store, default: Policy) -> list[Named]:
    """All of them, the built-in ones first. Raises Corrupt, naming a damaged file."""
    built_in = [_built_in(default if one == DEFAULT else one) for one in BUILT_IN.values()]
    return built_in + [_stored(record) for name in store.policy_names() if (record := store.policy(name))]


def editions(store: Store, name: str) -> list[PolicyRecord]:
    """All editions of a policy, oldest first; none of a built-in one. Raises NotFound."""
    found = store.policy_history(name)
    if not found and name not in BUILT_IN:
        raise NotFound(f"There is no policy {name!r}.", remedy="`serinus policy list` names them.")
    return found


def put(
    store: Store, name: str, policy: Policy, *, actor: str, reason: str, expect: int | None = None
) -> PolicyRecord:
    """Sets what `name` means from now on. `expect`: the edition that was looked at, 0 for none.

    Raises InvalidInput when the document has another name; Conflict when there is another edition by now.
    """
    if policy.name != name:
        raise InvalidInput(
            f"The document is the policy {policy.name!r}, not {name!r}.",
            remedy="Give it that name, or leave the name out of the document.",
        )
    return store.put_policy(policy, actor=actor, reason=reason.strip() or "by hand", expect=expect)


def _built_in(policy: Policy) -> Named:
    return Named(
        name=policy.name, built_in=True, edition=None, time=None, actor="", reason="built in", policy=policy
    )


def _stored(record: PolicyRecord) -> Named:
    return Named(
        name=record.policy.name,
        built_in=False,
        edition=record.edition,
        time=record.time,
        actor=record.actor,
        reason=record.reason,
        policy=record.policy,
    )
