"""What people send to decide, and what they are answered."""

from typing import Annotated, Any

import msgspec

from serinus.api.words import Entry
from serinus.control.policies import Named
from serinus.store import PolicyRecord


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a decision: the event that was appended."""

    status: str = "ok"
    seq: int
    entry: Entry


class ByHand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every decision by hand says."""

    reason: str
    """Why, for the history; must not be empty."""
    expect: int | None = None
    """`seq` of the state that was looked at: 409 when something has happened since. None: decide anyway."""
    actor: str = ""
    """Who decides; empty: `operator via ui`."""


class Command(ByHand, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A decision by hand."""

    confirm: bool = False
    """Promotes although the evidence does not suffice, or speaks against it."""


class UndoCommand(Command, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The decision to go back."""

    version: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """One that was current before; None: the previous one."""


class StartCommand(ByHand, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The decision to start a rollout."""

    version: Annotated[int, msgspec.Meta(ge=1)]
    """Also one that was rejected or retired."""
    policy: str = ""
    """Name of its policy; empty: the one that rollouts get which start by themselves."""


class ShareCommand(ByHand, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The decision that the canary gets another share."""

    share: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]


class PolicyCommand(ByHand, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The decision that the active rollout obeys another policy: by its name, or as a document."""

    name: str = ""
    """Of a policy that is there."""
    document: dict[str, Any] | None = None
    """A policy, see /api/policies/schema; with `name` beside it, under that name."""
    step: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """On which of its steps it begins, from 0. None: on the one that the present share has reached."""


class SetPolicyCommand(ByHand, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The decision what a name of a policy means from now on: as a document, or as people write it."""

    expect: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """The edition that was looked at, 0 where there was none: 409 when there is another by now. None: decide
    anyway."""
    document: dict[str, Any] | None = None
    """A policy, see /api/policies/schema."""
    text: str = ""
    """A policy in YAML or JSON, in place of `document`."""


class PoliciesPage(msgspec.Struct, frozen=True, kw_only=True):
    """All policies, the built-in ones first."""

    policies: tuple[Named, ...]
    default: str
    """Name of the policy that rollouts get which start by themselves."""


class PolicyPage(msgspec.Struct, frozen=True, kw_only=True):
    """A policy and its editions, oldest first."""

    policy: Named
    editions: tuple[PolicyRecord, ...]
