"""A policy that requires signatures: what it refuses, with which words, and that no way leads around it."""

from pathlib import Path

import msgspec
import pytest

from serinus.artifact.keys import new_pair, read_private, read_trusted
from serinus.artifact.manifest import Manifest
from serinus.artifact.signing import Keyring, Signer
from serinus.control import commands
from serinus.control.countersign import sign_version
from serinus.control.history import history
from serinus.control.registry import version_detail, versions
from serinus.control.retrace import retrace
from serinus.control.trust import Trust
from serinus.core.enums import ReasonCode, RolloutPhase, SignatureStanding
from serinus.core.errors import Conflict, InvalidInput, NotFound
from serinus.core.ids import Version
from serinus.rollout.events import Held, Published, Rejected, Undone, Verified
from serinus.rollout.policy import Policy
from serinus.store import Sign
from tests import models
from tests.control.world import World

USERS = 60


class Signed(World):
    """A world with keys: alice's is trusted, mallory's is not."""

    def __init__(self, folder: Path, *, insists: bool = False, **policy: object) -> None:
        self.keys = folder / "trusted"
        self.keys.mkdir(parents=True)
        private, _, _ = new_pair(self.keys / "alice", bytes(32))
        self.alice = read_private(private)
        private, _, _ = new_pair(folder / "mallory", bytes(range(32)))
        self.mallory = read_private(private)
        self.trust = Trust(required=insists, keys=self.read)
        super().__init__(folder, **policy)
        self.controllers = [self.controller(trust=self.trust)]

    def read(self) -> Keyring:
        return read_trusted([self.keys])

    def offer(self, sign: Sign | None = None, seed: int = 1) -> Version:
        draft = models.healthy(self.folder / f"draft{self.state.next_version}", seed=seed)
        if sign is None:
            return self.publish(draft, note="more data")
        return self.store.publish(draft, note="more data", actor="trainer", sign=sign)

    def refused(self) -> str:
        """Why the version was refused, as the history says it; it got no traffic."""
        self.verify()
        last = self.state.last
        assert last is not None, self.story()
        assert (last.phase, last.code) == (RolloutPhase.REJECTED, ReasonCode.SIGNATURE), self.story()
        assert self.state.current == 1
        body = self.events[-1].body
        assert isinstance(body, Rejected)
        assert [check["name"] for check in body.report["checks"]] == ["files", "signature"], (
            "before it is run"
        )
        row = history(self.store)[-1]
        assert row.what == f"version {last.version}: rejected before traffic (signature)"
        return row.why

    def passed(self) -> str:
        """What the report of the checks before traffic says about the signature."""
        self.verify()
        assert self.rollout.phase is RolloutPhase.CANARY, self.story()
        body = self.events[-1].body
        assert isinstance(body, Verified)
        (words,) = [check["words"] for check in body.report["checks"] if check["name"] == "signature"]
        return str(words)


@pytest.fixture
def strict(tmp_path: Path) -> Signed:
    return Signed(tmp_path, require_signature=True)


@pytest.fixture
def lenient(tmp_path: Path) -> Signed:
    return Signed(tmp_path)


def borrowed(signer: Signer) -> Sign:
    """Signs something else and puts that signature under what is published."""

    def sign(manifest: Manifest) -> Manifest:
        return msgspec.structs.replace(
            manifest, signature=signer(msgspec.structs.replace(manifest, note="harmless")).signature
        )

    return sign


def test_an_unsigned_version_is_refused_with_the_reason_in_the_history(strict: Signed) -> None:
    strict.offer()
    why = strict.refused()
    assert "Check of signature: It is not signed." in why
    assert f"Trusted: alice ({strict.alice.public.id[:16]})." in why
    assert "serinus versions sign VERSION --sign KEY" in why


def test_a_version_that_somebody_else_signed_is_refused(strict: Signed) -> None:
    strict.offer(strict.mallory)
    why = strict.refused()
    assert f"signed with the key {strict.mallory.public.id[:16]}, which is not trusted" in why
    assert "Trusted: alice" in why and "add that to TRUSTED_KEYS" in why


def test_a_signature_of_something_else_is_refused(strict: Signed) -> None:
    strict.offer(borrowed(strict.alice))
    why = strict.refused()
    assert "Its signature is wrong: it names alice" in why


def test_an_attacker_who_changes_a_signed_version_gets_nowhere(strict: Signed) -> None:
    """Other files under a right digest and an honest signature; then signed again with another key."""
    signed = strict.offer(strict.alice)
    honest = strict.store.manifest(strict.state.versions[signed].digest)
    strict.verify()
    strict.until_over(users=USERS, seconds=60)
    assert strict.state.current == signed, strict.story()
    commands.undo(strict.store, actor="test")

    def kept(manifest: Manifest) -> Manifest:
        return msgspec.structs.replace(manifest, signature=honest.signature)

    strict.offer(kept, seed=3)
    assert "Its signature is wrong: it names alice" in strict.refused()
    strict.offer(lambda manifest: strict.mallory(kept(manifest)), seed=3)
    assert "which is not trusted" in strict.refused()


def test_a_version_that_a_trusted_key_signed_passes_and_is_promoted(strict: Signed) -> None:
    version = strict.offer(strict.alice)
    assert strict.passed() == f"It is signed by alice ({strict.alice.public.id[:16]})."
    strict.until_over(users=USERS, seconds=60)
    assert strict.state.current == version


def test_where_none_is_required_the_report_says_what_there_is(lenient: Signed) -> None:
    lenient.offer(lenient.alice)
    assert "signed by alice" in lenient.passed()
    commands.rollback(lenient.store, actor="test")
    lenient.offer(lenient.mallory)
    assert "is not trusted. No signature is required." in lenient.passed()
    commands.rollback(lenient.store, actor="test")
    lenient.offer()
    assert lenient.passed() == "It is not signed. No signature is required."


def test_a_wrong_signature_is_refused_even_where_none_is_required(lenient: Signed) -> None:
    lenient.offer(borrowed(lenient.alice))
    assert "Its signature is wrong" in lenient.refused()


def test_a_key_that_cannot_be_read_blocks_nobody_where_none_is_required(lenient: Signed) -> None:
    (lenient.keys / "broken.pem").write_text("no key")
    lenient.offer(lenient.alice)
    words = lenient.passed()
    assert "was not looked at" in words and "broken.pem" in words


@pytest.mark.parametrize("fault", ["no key", "broken key"])
def test_without_usable_keys_the_refusal_blames_the_settings(strict: Signed, fault: str) -> None:
    public = strict.keys / "alice.pem"
    data = public.read_bytes()
    if fault == "no key":
        public.unlink()
    else:
        public.write_text("no key")
    version = strict.offer(strict.alice)
    words = strict.refused()
    assert ("no key is trusted here" if fault == "no key" else "holds no public key") in words
    assert "The settings are to blame, not the version" in words
    public.write_bytes(data)
    commands.start(strict.store, version, policy=strict.policy, actor="alice", reason="mended")
    assert "signed by alice" in strict.passed()


def test_a_start_by_hand_under_a_lax_policy_does_not_get_around_the_controller(tmp_path: Path) -> None:
    world = Signed(tmp_path, insists=True)
    version = world.offer()
    commands.start(world.store, version, policy=Policy(), actor="mallory via cli", reason="mine")
    assert not world.rollout.policy.require_signature
    assert "It is not signed" in world.refused()


def test_a_key_that_lost_its_trust_meanwhile_ends_the_rollout(strict: Signed) -> None:
    strict.offer(strict.alice)
    strict.verify()
    (strict.keys / "alice.pem").rename(strict.folder / "alice.pem")
    new_pair(strict.keys / "bob", bytes([7]) * 32)
    with pytest.raises(Conflict, match="may not serve"):
        commands.promote(
            strict.store, actor="alice", reason="now", confirm=True, trust=Trust(keys=strict.read)
        )
    last = strict.until_over(users=USERS, seconds=60)
    assert (last.phase, last.code) == (RolloutPhase.ROLLED_BACK, ReasonCode.SIGNATURE)
    assert strict.state.current == 1


@pytest.mark.parametrize("fault", ["no key", "broken key"])
def test_a_promotion_whose_signature_cannot_be_checked_waits_for_a_person(
    lenient: Signed, fault: str
) -> None:
    """The policy asks for a signature when the canary has its traffic already."""
    version = lenient.offer(lenient.alice)
    lenient.verify()
    public = lenient.keys / "alice.pem"
    data = public.read_bytes()
    if fault == "no key":
        public.unlink()
    else:
        public.write_text("no key")
    strict = msgspec.structs.replace(lenient.policy, require_signature=True)
    commands.change_policy(lenient.store, policy=strict, actor="alice", reason="from now on")

    def holds() -> list[str]:
        return [event.reason for event in lenient.store.events() if isinstance(event.body, Held)]

    for times in (1, 2):
        for _ in range(60):
            if len(holds()) == times:
                break
            lenient.step(USERS)
        lenient.step(USERS, seconds=5)
        assert len(holds()) == times, lenient.story()
        assert (lenient.rollout.phase, lenient.rollout.code) == (RolloutPhase.HELD, ReasonCode.SIGNATURE)
        assert lenient.state.current == 1
        words = holds()[-1]
        assert ("no key is trusted here" if fault == "no key" else "holds no public key") in words
        assert "The settings are to blame, not the version: mend them, then resume" in words
        if times == 1:
            commands.resume(lenient.store, actor="alice", reason="nothing is mended yet")
    public.write_bytes(data)
    commands.resume(lenient.store, actor="alice", reason="mended")
    last = lenient.until_over(users=USERS, seconds=60)
    assert (last.phase, last.code) == (RolloutPhase.PROMOTED, ReasonCode.EVIDENCE_GOOD)
    assert lenient.state.current == version
    again = retrace(lenient.store, 1)
    assert again.same, (again.steps, again.recorded, lenient.story())


def test_promotion_by_hand_needs_keys_where_the_rollout_requires_them(strict: Signed) -> None:
    strict.offer(strict.alice)
    strict.verify()
    strict.step(USERS)
    with pytest.raises(Conflict, match="TRUSTED_KEYS"):
        commands.promote(strict.store, actor="alice", reason="now", confirm=True)
    commands.promote(strict.store, actor="alice", reason="now", confirm=True, trust=strict.trust)
    assert strict.state.current == 2


def test_undo_does_not_bring_an_unsigned_version_back_where_one_is_required(strict: Signed) -> None:
    strict.offer(strict.alice)
    strict.verify()
    strict.until_over(users=USERS, seconds=60)
    assert strict.state.current == 2
    insisting = Trust(required=True, keys=strict.read)
    with pytest.raises(Conflict, match="It is not signed") as caught:
        commands.undo(strict.store, actor="alice", trust=insisting)
    assert "REQUIRE_SIGNATURE=false" in caught.value.remedy
    assert strict.state.current == 2
    event = commands.undo(strict.store, actor="alice", trust=strict.trust)
    assert isinstance(event.body, Undone)


def test_a_version_is_signed_afterwards_by_publishing_it_once_more(strict: Signed) -> None:
    version = strict.offer()
    strict.refused()
    signed = sign_version(strict.store, version, signer=strict.alice, actor="alice")
    assert signed == version + 1
    first, second = (strict.store.manifest(strict.state.versions[n].digest) for n in (version, signed))
    assert (first.files, first.contract, first.lineage, first.metrics, first.note) == (
        second.files,
        second.contract,
        second.lineage,
        second.metrics,
        second.note,
    )
    assert "signed by alice" in strict.passed()
    with pytest.raises(Conflict, match="already"):
        sign_version(strict.store, signed, signer=strict.alice, actor="alice")
    with pytest.raises(NotFound):
        sign_version(strict.store, Version(99), signer=strict.alice, actor="alice")
    assert len([event for event in strict.store.events() if isinstance(event.body, Published)]) == 3


def test_the_registry_says_who_signed_what(lenient: Signed) -> None:
    for sign in (lenient.alice, lenient.mallory, borrowed(lenient.alice)):
        lenient.offer(sign)
    found = [row.signature for row in versions(lenient.store, lenient.read())]
    assert [one.standing for one in found] == [
        SignatureStanding.WRONG,
        SignatureStanding.UNKNOWN_KEY,
        SignatureStanding.TRUSTED,
        SignatureStanding.UNSIGNED,
    ]
    assert [one.name for one in found] == ["alice", "", "alice", ""]
    assert version_detail(lenient.store, Version(2), lenient.read()).signature == found[2]
    unknown = version_detail(lenient.store, Version(2), {}).signature
    assert unknown.standing is SignatureStanding.UNKNOWN_KEY


def test_a_policy_may_require_it_by_name_only_of_what_starts_under_it(lenient: Signed) -> None:
    version = lenient.offer()
    policy = msgspec.structs.replace(lenient.policy, require_signature=True)
    commands.start(lenient.store, version, policy=policy, actor="alice", reason="strictly")
    assert "It is not signed" in lenient.refused()
    with pytest.raises(InvalidInput):
        commands.start(lenient.store, version, policy=Policy(share=0), actor="alice", reason="")
