"""`serinus store check`: reads a whole store, says in words what is wrong, heals what it can without loss.

The order is that of trust. The journal is read from its first event and is believed only as far as its seals,
links and transitions hold. It says which artifacts, evidence and golden sets there must be; their hashes say
whether they are what was written. Everything else is passing or generated and is compared with that.

A store in use is no obstacle: what exists is listed before it is read, what seems to be missing is looked for
again, and the state is asked anew before anything is called superfluous.

Each check is a generator of problems. A repair heals one before the generator goes on, so what follows is
judged by what is there then. Nothing is ever destroyed (`ground.LOST`), nothing is taken on trust: whatever
is restored has the hash that the chain or the index asks for.
"""

from collections.abc import Iterator

import msgspec

from serinus.core.errors import SerinusError
from serinus.store import witness
from serinus.store.checking.chronicle import Chronicle, snapshot_problems
from serinus.store.checking.editions import golden_problems, policy_problems
from serinus.store.checking.findings import Finding, Kind, Problem, Severity, problem
from serinus.store.checking.ground import Ground
from serinus.store.checking.judged import answer_problems, feedback_problems
from serinus.store.checking.machine import copy_problems, state_problems, view_problems, view_seqs
from serinus.store.checking.passing import leftover_problems, passing_problems, stray_problems
from serinus.store.checking.pictures import gallery_problems
from serinus.store.checking.records import evidence_problems
from serinus.store.checking.registry import artifact_problems
from serinus.store.checking.tail import accept_loss
from serinus.store.checking.trees import Donors
from serinus.store.journal import Journal
from serinus.store.unfinished import AGAIN, MARK, words
from serinus.store.views import Views

__all__ = ["Finding", "Kind", "Severity", "accept_loss", "check"]


def check(ground: Ground, views: Views, *, repair: bool) -> Iterator[Finding]:
    """Every finding, as it is found; with `repair`, after it was healed or was not."""
    try:
        for found in _readable_problems(ground, views, repair=repair):
            if repair and found.heal is not None:
                yield _healed(found)
            else:
                yield found.finding
    finally:
        ground.close()


def _readable_problems(ground: Ground, views: Views, *, repair: bool) -> Iterator[Problem]:
    """As `_problems`; what this user may not read is called that, and is not taken for damaged."""
    try:
        for found in _problems(ground, views, repair=repair):
            yield _unreadable(found.finding.name) if found.finding.name in ground.denied else found
    except PermissionError as error:
        yield _unreadable(str(error.filename), " What would be checked after it was not looked at.")


def _unreadable(name: str, more: str = "") -> Problem:
    return problem(
        Severity.ERROR,
        Kind.UNREADABLE,
        name,
        f"This user may not read it, so nothing is known about it.{more}",
        remedy="Run the check as its owner, or let others read it (`chmod -R a+rX MODEL_DIR`).",
    )


def _problems(ground: Ground, views: Views, *, repair: bool) -> Iterator[Problem]:
    copying = words(ground.backend)
    if copying:
        yield problem(Severity.ERROR, Kind.UNFINISHED, ground.name(MARK), copying, remedy=AGAIN)
    listed = witness.snapshot_seqs(ground.backend)
    chronicle = Chronicle(ground, frozenset(listed) | view_seqs(ground.root), copying=bool(copying))
    yield from chronicle.problems()
    wrong = False
    for found in snapshot_problems(ground, chronicle, listed):
        wrong = True
        yield found
    if repair and wrong and chronicle.whole:
        Journal(ground.backend).snapshot()
    donors = Donors(ground)
    yield from artifact_problems(ground, donors, chronicle)
    yield from evidence_problems(ground, chronicle)
    yield from golden_problems(ground, donors, chronicle)
    yield from policy_problems(ground, chronicle)
    yield from feedback_problems(ground)
    yield from gallery_problems(ground)
    yield from passing_problems(ground, chronicle)
    yield from answer_problems(ground)
    yield from stray_problems(ground)
    yield from leftover_problems(ground)
    yield from view_problems(ground, chronicle, views)
    yield from copy_problems(ground)
    yield from state_problems(ground)


def _healed(found: Problem) -> Finding:
    """Tries to heal; one that cannot be healed does not keep the others from it."""
    assert found.heal is not None
    try:
        repaired = found.heal()
    except (SerinusError, OSError) as error:
        words = f"{found.finding.words} It could not be healed: {error}"
        return msgspec.structs.replace(found.finding, words=words)
    return msgspec.structs.replace(found.finding, repaired=repaired)
