"""When probes are sent, and of what."""

from collections.abc import Sequence
from pathlib import Path

from serinus.artifact.files import sha256_bytes
from serinus.control import recorded
from serinus.control.probes import ProbePair
from serinus.control.recorded import GOLDEN_RESULTS
from serinus.core.enums import ReasonCode, RolloutPhase
from serinus.core.errors import Corrupt
from serinus.core.ids import Digest
from serinus.evidence.analysis import Analysis
from serinus.imagery.decode import encode_png
from serinus.rollout.state import Rollout
from serinus.store import Store

_MOST_PAIRS = 32


def rate(rollout: Rollout, analysis: Analysis, users_suffice: int) -> float:
    """Probes per second that the rollout needs now.

    None once users bring enough canary requests to decide by themselves; and none in a pause or a hold,
    except a hold for a failure of both versions: without requests nobody would see that it is over.
    """
    policy = rollout.policy
    waiting = rollout.phase is RolloutPhase.HELD and rollout.code is ReasonCode.SHARED_FAILURE
    wanted = (
        policy.probes
        and (rollout.phase is RolloutPhase.CANARY or waiting)
        and analysis.users.canary.requests < users_suffice
    )
    return policy.probes_per_window / policy.window_seconds if wanted else 0.0


def pairs(store: Store, current: Digest) -> Sequence[ProbePair]:
    """Pairs of the golden sets, or, where there are none, those that current brought from its training.

    Of the latter nobody knows what they show: answers of current are no truth about another version. At most
    32, spread over the sets. Empty when there are neither. Raises Corrupt, ModelFault,
    OSError.
    """
    golden = [(one.path, pair) for one in store.golden_sets() for pair in one.pairs]
    if golden:
        chosen = golden[:: max(1, len(golden) // _MOST_PAIRS)][:_MOST_PAIRS]
        return [
            ProbePair(
                _genuine(folder / pair.pre, pair.sha256_pre),
                _genuine(folder / pair.post, pair.sha256),
                bool(pair.boxes),
            )
            for folder, pair in chosen
        ]
    brought = store.manifest(current).files.get(GOLDEN_RESULTS)
    if brought is None:
        return []
    folder = store.artifact(current)
    _genuine(folder / GOLDEN_RESULTS, brought.sha256)
    images, _ = recorded.read(folder)
    return [
        ProbePair(encode_png(image[..., :3]), encode_png(image[..., 3:]), False)
        for image in images[:_MOST_PAIRS]
    ]


def _genuine(path: Path, sha256: str) -> bytes:
    """The file's bytes. Raises Corrupt when they are not those that were stored."""
    data = path.read_bytes()
    if sha256_bytes(data) != sha256:
        raise Corrupt(
            f"{path} is not what was stored: its hash does not match.",
            remedy="`serinus store check --repair --from BACKUP` restores it from a copy that has it.",
        )
    return data
