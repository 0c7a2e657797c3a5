"""What can happen. One event is one file of the journal; no effect precedes its event.

`Body` is the tagged union of all kinds: the tag is the member `kind` of the JSON.
"""

from typing import Any, TypeAlias

import msgspec

from serinus.core.enums import ImportRefusal, Named, ReasonCode
from serinus.core.ids import Digest, Version
from serinus.evidence.counts import Categories
from serinus.rollout.policy import Policy


class _Body(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    pass


class Published(_Body, frozen=True, kw_only=True, tag="published"):
    """A version exists. `initial` is the packaged base of the first start, which becomes current at once."""

    version: Version
    digest: Digest
    content: str = ""
    """What the artifact holds, apart from when it was made: a later draft with the same content shares it."""
    note: str = ""
    initial: bool = False
    source: str = ""
    """Id of the folder in `incoming/` that it was imported from: each is published once."""


class ImportRejected(_Body, frozen=True, kw_only=True, tag="import_rejected"):
    """A model from elsewhere was not imported and got no number; its files are in `incoming/rejected/`."""

    source: str
    """Id of the folder in `incoming/`."""
    code: ImportRefusal


class RolloutStarted(_Body, frozen=True, kw_only=True, tag="rollout_started"):
    """Verification begins. `supersedes` names the rollout that ends in this same event."""

    rollout: int
    version: Version
    policy: Policy
    supersedes: int | None = None


class Verified(_Body, frozen=True, kw_only=True, tag="verified"):
    """All checks before traffic passed: the version is the canary and gets `share` of the requests."""

    rollout: int
    share: float
    report: dict[str, Any] = {}
    vouched: tuple[str, ...] = ()
    """Golden sets and held-out pairs on which it was compared with current and is not worse."""
    measured: bool = False
    """Whether there was anything to measure it on that could have vouched."""
    past: Categories = {}
    """What current answered to users before: what the test of data drift compares with."""
    sequential: bool = False
    """No replica holds both versions: current is unloaded before the canary is loaded, which then gets all
    requests."""


class Rejected(_Body, frozen=True, kw_only=True, tag="rejected"):
    """A check before traffic failed; the version never served a request."""

    rollout: int
    code: ReasonCode
    report: dict[str, Any] = {}


class Paused(_Body, frozen=True, kw_only=True, tag="paused"):
    """Freezes the window's clock and promotion; rollback stays armed."""

    rollout: int
    k: int | None = None
    """The newest frozen slice then, -1 for none yet; None where nobody noted it."""


class Resumed(_Body, frozen=True, kw_only=True, tag="resumed"):
    """Ends a pause or a hold. After a hold, `max_evaluation` counts anew from `clock`.

    After one because of the split (ASSIGNMENT) the evidence about the split starts afresh. After one because
    of other answers (SIGNALS, DRIFT, DISAGREEMENT) these count as explained.
    """

    rollout: int
    clock: float = 0.0
    k: int | None = None
    """As in `Paused`."""
    late: float = 0.0
    """After ASSIGNMENT: seconds of the clock in which slices may hold requests from before the resume; they
    are no evidence about the split."""


class Held(_Body, frozen=True, kw_only=True, tag="held"):
    """The evidence cannot decide: share kept for `hold_for_seconds`, a person is asked."""

    rollout: int
    code: ReasonCode
    k: int = -1
    """The newest frozen slice then; what came after it tells whether a shared failure is over."""
    numbers: dict[str, float] = {}
    evidence: str = ""
    policy: str = ""


class Noted(_Body, frozen=True, kw_only=True, tag="noted"):
    """Answers changed (SIGNALS, DRIFT, DISAGREEMENT); somebody vouches for that, or the policy lets it pass.
    Once each."""

    rollout: int
    code: ReasonCode
    lenient: bool = False
    """Nobody vouched: the policy let it pass. A stricter policy holds the rollout for it after all."""
    numbers: dict[str, float] = {}
    evidence: str = ""
    policy: str = ""


class ShareChanged(_Body, frozen=True, kw_only=True, tag="share_changed"):
    """The canary's share is another one; with `step`, because the policy's next step begins.

    The evidence of a step begins after slice `k`, and its `max_evaluation` counts from `clock`.
    """

    rollout: int
    share: float
    step: int | None = None
    """Number of the step that begins, from 0."""
    k: int = -1
    clock: float = 0.0
    numbers: dict[str, float] = {}
    evidence: str = ""
    policy: str = ""


class PolicyChanged(_Body, frozen=True, kw_only=True, tag="policy_changed"):
    """From now on the rollout obeys this policy, with this share.

    `fresh`: the evidence tested something else; it restarts after slice `k`, thresholds doubled, and
    the window and `max_evaluation` count anew from `clock`. Else the evidence and the window go on.
    """

    rollout: int
    policy: Policy
    share: float
    step: int = 0
    """The step of the policy that this share is."""
    fresh: bool = False
    k: int = -1
    clock: float = 0.0
    numbers: dict[str, float] = {}


class EpochReset(_Body, frozen=True, kw_only=True, tag="epoch_reset"):
    """A shared failure is over: evidence restarts after slice `k`, thresholds doubled.

    `max_evaluation` counts anew from `clock`, so that an outage does not use the evaluation up.
    """

    rollout: int
    k: int
    clock: float = 0.0
    numbers: dict[str, float] = {}
    evidence: str = ""
    policy: str = ""


class Promoted(_Body, frozen=True, kw_only=True, tag="promoted"):
    """The canary is current. `override`: by hand, against an alarm or before the evidence sufficed."""

    rollout: int
    version: Version
    code: ReasonCode
    override: bool = False
    numbers: dict[str, float] = {}
    evidence: str = ""
    """Digest of the last frozen slice judged."""
    policy: str = ""
    """Name of the policy that it followed."""


class RolledBack(_Body, frozen=True, kw_only=True, tag="rolled_back"):
    rollout: int
    version: Version
    code: ReasonCode
    numbers: dict[str, float] = {}
    evidence: str = ""
    policy: str = ""


class Undone(_Body, frozen=True, kw_only=True, tag="undone"):
    """`version`, the previous current or an older one, is current again; `undone` is retired."""

    version: Version
    undone: Version


class Removed(_Body, frozen=True, kw_only=True, tag="removed"):
    """The artifacts of these versions may be taken away; their numbers and history stay."""

    versions: tuple[Version, ...]


class EditionSaved(_Body, frozen=True, kw_only=True, tag="edition_saved"):
    """A golden set's or a policy's name means something else from now on.

    The edition is a file of its own, which counts as soon as it is there; this tells when it is lost.
    """

    what: Named
    name: str
    edition: int
    """1, 2, 3 ..."""
    sha256: Digest
    """Of the edition's file."""


class Lost(_Body, frozen=True, kw_only=True, tag="lost"):
    """Stands in for an event with this number that happened and is not there any more.

    What it did is not known. It may have given out a version's and a rollout's number, so one of each is
    skipped.
    """

    through: int
    """The last event that is known to have been lost."""
    witness: str
    """What names it."""


Aside: TypeAlias = Published | Undone | Removed | ImportRejected | EditionSaved | Lost
"""What belongs to no rollout."""

Body: TypeAlias = (
    Published
    | ImportRejected
    | RolloutStarted
    | Verified
    | Rejected
    | Paused
    | Resumed
    | Held
    | Noted
    | ShareChanged
    | PolicyChanged
    | EpochReset
    | Promoted
    | RolledBack
    | Undone
    | Removed
    | EditionSaved
    | Lost
)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The envelope in the journal."""

    seq: int
    id: str
    """Random: tells our own lost answer from somebody else's win."""
    prev: str
    """sha256 of the predecessor's file, in hex; empty for the first."""
    time: float
    """Seconds since 1970-01-01 UTC, by the writer's clock."""
    actor: str
    """Who: `controller`, `publisher`, `alice via ui`."""
    reason: str
    """Why, in words for people."""
    body: Body
