"""A network volume repeats a request whose answer was lost, and the repetition meets its own success.

`link` then says EEXIST (or only that something went wrong), `rename` that the source is gone.
"""

import errno
import os
from pathlib import Path

import pytest

from serinus.control import commands
from serinus.core.ids import Version
from serinus.store import Store
from serinus.store.local import Disk
from tests.store.drafts import Ticks, frozen_slice, names, new_id, start_canary, write_draft, write_set
from tests.store.test_journal import ForgetfulDisk


class NetworkDisk(ForgetfulDisk):
    """Every answer is lost."""

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)


@pytest.fixture(params=[errno.EEXIST, errno.EIO, errno.ESTALE], ids=errno.errorcode.get)
def store(request: pytest.FixtureRequest, root: Path, clock: Ticks) -> Store:
    Store.open(root, clock=clock, new_id=new_id)
    return Store(root, clock=clock, new_id=new_id, disk=NetworkDisk(root, request.param))


def test_everything_happens_once(store: Store, clock: Ticks, draft: Path, tmp_path: Path) -> None:
    assert store.publish(draft, note="base", actor="test", initial=True) == 1
    assert store.publish(write_draft(tmp_path / "two", b"second"), note="second", actor="test") == 2
    rollout = start_canary(store, Version(2))
    one = frozen_slice(rollout, 0, "")
    assert store.freeze(one)
    assert not store.freeze(frozen_slice(rollout, 0, "", successes=9))
    store.add_golden("storms", write_set(tmp_path / "set"), actor="alice")
    store.put_observation(rollout, "infer-a", 0, one.slice)
    promoted = commands.promote(store, actor="alice", reason="enough", confirm=True)
    undone = commands.undo(store, actor="alice", reason="after all")
    store.refresh_views()

    fresh = Store(store.root, clock=clock, new_id=new_id)
    assert (promoted.seq, undone.seq) == (6, 7), "the golden set has an event too, one"
    assert [event.id for event in fresh.events()][5:] == [promoted.id, undone.id]
    state = fresh.state()
    assert (state.seq, state.current, len(state.versions)) == (7, 1, 2)
    for record in state.versions.values():
        fresh.verify(record.digest)
    assert fresh.last_frozen(rollout) == one
    assert len(fresh.golden_sets(verify=True)) == 1
    assert len(fresh.new_observations(rollout, {})) == 1
    assert (store.root / "current" / "best.pt").read_bytes() == b"weights of graph"
    left = [
        name for folder in (".tmp", "artifacts", "views", "versions") for name in names(store.root / folder)
    ]
    assert not [name for name in left if name.startswith(".tmp")]


def test_a_rename_that_did_not_happen_is_told(root: Path, clock: Ticks, draft: Path) -> None:
    class Gone(Disk):
        def rename(self, source: Path, target: Path) -> None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)

    Store.open(root, clock=clock, new_id=new_id)
    store = Store(root, clock=clock, new_id=new_id, disk=Gone(root, new_id))
    with pytest.raises(FileNotFoundError):
        store.publish(draft, note="base", actor="test", initial=True)
    assert Store(root, clock=clock, new_id=new_id).state().seq == 0
