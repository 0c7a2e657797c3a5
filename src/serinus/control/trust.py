"""Whose signatures count, and what follows for a version that has none of them.

A signature is required when the rollout's policy says so, or when this process does (REQUIRE_SIGNATURE): a
rollout that somebody starts by hand under a laxer policy does not get around the controller. A version that
names a trusted key with a wrong signature is refused in any case; nothing honest makes such a version.

The keys are read at every look, so that a key that was added or taken away counts at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from serinus.artifact.signing import UNSIGNED, Finding, Keyring, examine
from serinus.core.enums import SignatureStanding
from serinus.core.errors import Conflict, Misconfigured
from serinus.core.ids import Digest
from serinus.store import Store

_NAMED = 10
"""At most this many trusted keys are named in words."""


@dataclass(frozen=True)
class Trust:
    """What this process believes, and whether it insists."""

    required: bool = False
    """Insist on a trusted signature, whatever a policy says."""
    keys: Callable[[], Keyring] = dict
    """Reads the trusted keys. Raises Misconfigured."""


NOTHING_REQUIRED = Trust()


class Judgement(NamedTuple):
    refused: bool
    words: str
    finding: Finding | None
    """None: not looked at, and not required."""


def finding(store: Store, digest: Digest, keys: Keyring) -> Finding:
    """What the signature of an artifact is worth; cheap where there is none.

    Raises NotFound, Corrupt, and Misconfigured where signatures cannot be checked.
    """
    if store.manifest(digest).signature is None:
        return UNSIGNED
    return examine(store.manifest_bytes(digest), keys)


def judge(store: Store, digest: Digest, trust: Trust, *, required: bool) -> Judgement:
    """Whether an artifact is refused for its signature, and why. `required`: by the rollout's policy.

    Raises Misconfigured when a signature is required and cannot be checked: that is no fault of the version.
    """
    required = required or trust.required
    try:
        keys = trust.keys()
        found = finding(store, digest, keys)
    except Misconfigured as error:
        if required:
            raise
        return Judgement(False, f"Its signature was not looked at: {error}", None)
    if required and not keys:
        raise Misconfigured(
            "A signature is required, but no key is trusted here.",
            remedy="Let TRUSTED_KEYS name the public keys, or a folder with them as *.pem.",
        )
    if found.standing is SignatureStanding.TRUSTED:
        return Judgement(False, found.words, found)
    if not required and found.standing is not SignatureStanding.WRONG:
        return Judgement(False, f"{found.words} No signature is required.", found)
    names = [str(key) for key in keys.values()]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    remedy = "Sign it with a trusted key: `serinus versions sign VERSION --sign KEY`."
    if found.standing is SignatureStanding.UNKNOWN_KEY:
        remedy = f"{remedy[:-1]}; or, if you trust its key, add that to TRUSTED_KEYS."
    return Judgement(True, f"{found.words} Trusted: {', '.join(names[:_NAMED])}{more}. {remedy}", found)


def insist(store: Store, digest: Digest, trust: Trust, *, required: bool) -> None:
    """Raises Conflict, for a decision by hand, when `judge` refuses or cannot tell; else as `judge` does."""
    try:
        made = judge(store, digest, trust, required=required)
    except Misconfigured as error:
        raise Conflict(
            f"That version may not serve while its signature cannot be checked. {error.message} The settings "
            "are to blame, not the version.",
            remedy=error.remedy or "Let TRUSTED_KEYS name public keys that can be read.",
        ) from error
    if made.refused:
        lenient = not judge(store, digest, Trust(keys=trust.keys), required=required).refused
        raise Conflict(
            f"That version may not serve. {made.words}",
            remedy="In an emergency: on the command line, with REQUIRE_SIGNATURE=false." if lenient else "",
        )


def refusal(store: Store, digest: Digest, trust: Trust, *, required: bool) -> str:
    """Why `insist` would refuse a decision by hand, in words; empty when it would not."""
    try:
        insist(store, digest, trust, required=required)
    except Conflict as error:
        return str(error)
    return ""
