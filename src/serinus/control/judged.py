"""What users judged during a rollout, held against its policy: the feedback gate's figures.

Only answers count whose version the rollout's coin chose. A look takes what had come when both versions had
enough for it, so it finds the same however often it is made; only then are the files read.
"""

from serinus.core.errors import InvalidInput
from serinus.core.ids import Digest, Version
from serinus.rollout.feedback import FeedbackStanding, Judged, confidence_of_a_look, look
from serinus.rollout.policy import FeedbackGate
from serinus.rollout.state import Rollout, State
from serinus.store import Feedback, Store

DEFAULT_GATE = FeedbackGate()
"""How feedback may vouch for a canary whose policy has no such gate."""


_Arms = tuple[list[Feedback], list[Feedback]]
"""Of the canary and of current."""


class FeedbackWatch:
    """The feedback of one rollout after the other; remembers the last look. To be used from one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key: tuple[int, FeedbackGate] | None = None
        self._counts = (0, 0)
        self._arms: _Arms = ([], [])
        self._judged: Judged | None = None

    def standing(
        self, state: State, rollout: Rollout, *, until: float | None = None
    ) -> FeedbackStanding | None:
        """Of all feedback that came `until` then (UTC seconds), which may only rise from call to call.

        None without a baseline to compare with. Raises Corrupt, naming a damaged file.
        """
        if rollout.baseline is None:
            return None
        gate = rollout.policy.feedback or DEFAULT_GATE
        versions = (rollout.version, rollout.baseline)
        digests = (state.versions[versions[0]].digest, state.versions[versions[1]].digest)
        counts = (self._store.feedback.count(digests[0]), self._store.feedback.count(digests[1]))
        if self._key != (rollout.number, gate):
            self._key, self._counts, self._arms, self._judged = (rollout.number, gate), (0, 0), ([], []), None
        if self._counts != counts:
            canary, current = (self._of(rollout.number, *one) for one in zip(versions, digests, strict=True))
            self._counts, self._arms = counts, (canary, current)
        return self._look(gate, digests, until)

    def _of(self, rollout: int, version: Version, digest: Digest) -> list[Feedback]:
        return [
            one
            for one in self._store.feedback.of(digest)
            if (one.answered.rollout, one.answered.version) == (rollout, version)
        ]

    def _look(
        self, gate: FeedbackGate, digests: tuple[Digest, Digest], until: float | None
    ) -> FeedbackStanding:
        canary, current = ([one for one in arm if until is None or one.time <= until] for arm in self._arms)
        due = look(gate.min_pairs, len(canary), len(current))
        if due is not None and (self._judged is None or self._judged.look != due[0]):
            self._judged = self._judge(gate, digests, (canary, current), *due)
        return FeedbackStanding(
            gate=gate, canary_pairs=len(canary), current_pairs=len(current), judged=self._judged
        )

    def _judge(
        self,
        gate: FeedbackGate,
        digests: tuple[Digest, Digest],
        arms: _Arms,
        number: int,
        pairs: int,
    ) -> Judged | None:
        """Look `number`, on what had come when each version had `pairs`; None when that shows no building."""
        # Only a look takes numpy and the matching; the dashboard mostly counts.
        from serinus.control.feedback import pairs_of
        from serinus.evaluation.online import JudgedArm, difference

        enough = max(sorted(one.time for one in arm)[pairs - 1] for arm in arms)
        canary, current = (
            JudgedArm(
                *pairs_of([one for one in arm if one.time <= enough]),
                self._store.manifest(digest).contract.classes,
            )
            for digest, arm in zip(digests, arms, strict=True)
        )
        try:
            found = difference(current, canary, gate.metric, confidence=confidence_of_a_look(gate))
        except InvalidInput:
            return None
        return Judged(
            look=number,
            canary_pairs=len(canary.truth),
            current_pairs=len(current.truth),
            canary=found.b,
            current=found.a,
            low=found.low,
            high=found.high,
        )
