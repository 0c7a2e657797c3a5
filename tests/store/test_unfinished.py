"""A place into which a copy is not finished: no store yet, and nobody makes another one of it."""

import shutil
from pathlib import Path

import pytest

from serinus.core.errors import Misconfigured
from serinus.core.ids import Version
from serinus.rollout.events import ShareChanged
from serinus.rollout.policy import Policy
from serinus.store import Store
from serinus.store.checking import Kind, Severity
from serinus.store.unfinished import MARK
from tests.store.drafts import names, write_draft
from tests.store.test_golden import write_set
from tests.store.whole import fill, notable, open_store, publish


class Stopped(Exception):
    """The copy is over, at once, as if it had been killed: its mark stays."""


def stop_before_events(what: str, _size: int) -> None:
    if what.startswith("gallery/"):
        raise Stopped


def stored(store: Store) -> dict[str, int]:
    folders = ("artifacts", "golden", "policies", "journal", "removed")
    return {
        f"{folder}/{name}": size for folder in folders for name, size in store.backend.files(folder).items()
    }


@pytest.fixture
def tmp_path(memory: Path) -> Path:
    return memory


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    return fill(open_store(folder / "models"), folder / "drafts").root


@pytest.fixture
def whole(pristine: Path, tmp_path: Path) -> Store:
    shutil.copytree(pristine, tmp_path / "models", symlinks=True)
    return open_store(tmp_path / "models")


@pytest.fixture
def half(whole: Store, tmp_path: Path, place: str) -> Store:
    """All artifacts and no event have arrived."""
    opened = open_store(tmp_path / "half", place)
    with pytest.raises(Stopped):
        whole.copy_to(opened, step=stop_before_events)
    return opened


def test_it_is_not_opened_and_says_why(half: Store, tmp_path: Path, place: str) -> None:
    with pytest.raises(
        Misconfigured, match=r"A copy from .*models.* is not finished: .*copying\.json"
    ) as told:
        open_store(tmp_path / "half", place)
    assert "store copy SRC DST` again" in told.value.remedy
    assert half.was_begun(), "though nothing has happened in it"
    half.backend.replace(MARK, b"damaged", durable=True)
    with pytest.raises(Misconfigured, match="is not finished"):
        open_store(tmp_path / "half", place)


def test_whoever_had_it_open_changes_nothing(half: Store, whole: Store, tmp_path: Path, place: str) -> None:
    before = stored(half)
    draft = write_draft(tmp_path / "draft", b"another model")
    golden = write_set(tmp_path / "another", dataset="another")
    for change in (
        lambda: half.append(ShareChanged(rollout=4, share=0.1), actor="test", reason="test"),
        lambda: half.publish(draft, note="base", actor="up", initial=True),
        lambda: half.publish(draft, note="", actor="train"),
        lambda: half.remove_versions((Version(1),), actor="test", reason="old"),
        half.collect,
        lambda: half.put_policy(Policy(name="short"), actor="test", reason="test"),
        lambda: half.add_golden("another", golden, actor="test"),
    ):
        with pytest.raises(Misconfigured, match="is not finished"):
            change()
    assert stored(half) == before
    assert half.state().seq == 0

    open_again = open_store(tmp_path / "half", place, may_be_unfinished=True)
    whole.copy_to(open_again)
    assert open_store(tmp_path / "half", place).state() == whole.state()
    assert publish(open_again, tmp_path / "drafts", "life goes on") == Version(6)


def test_the_check_calls_it_an_error(half: Store) -> None:
    found = [one for one in half.check(here=False) if one.kind is Kind.UNFINISHED]
    assert [(one.severity, one.name) for one in found] == [(Severity.ERROR, half.backend.name(MARK))]


def test_what_arrived_can_be_copied_on_and_is_not_called_whole(
    half: Store, whole: Store, tmp_path: Path
) -> None:
    rescued = open_store(tmp_path / "rescued")
    (words,) = half.copy_to(rescued).left_out
    assert f"up to event {whole.state().seq}" in words
    assert names(rescued.root).count(MARK) == 0
    assert [one for one in notable(list(rescued.check())) if one.kind is Kind.UNFINISHED] == []
