"""A policy from a file, for questions such as "what would this policy have decided?"."""

from pathlib import Path

import msgspec

from serinus.core.errors import InvalidInput
from serinus.rollout.policy import Policy


def read_policy(path: Path) -> Policy:
    """The policy in a JSON file; what it does not name has its default.

    Raises InvalidInput, naming what is wrong; OSError when the file cannot be read.
    """
    content = path.read_bytes()
    try:
        given = msgspec.json.decode(content, type=dict[str, object])
        unknown = sorted(set(given) - set(Policy.__struct_fields__))
        if unknown:
            raise InvalidInput(
                f"{path}: a policy has no {', '.join(unknown)}.",
                remedy=f"It may have: {', '.join(Policy.__struct_fields__)}.",
            )
        policy = msgspec.json.decode(content, type=Policy)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is no policy: {error}.", remedy="It is one JSON object.") from error
    if problems := policy.problems():
        raise InvalidInput(f"{path}: the policy cannot be obeyed.", remedy="; ".join(problems) + ".")
    return policy
