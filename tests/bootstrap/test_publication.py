"""A trained model is published when the store is back, or kept; never lost."""

import threading
from pathlib import Path

import pytest

from serinus.bootstrap.publication import publish
from serinus.bootstrap.settings import Settings, load
from serinus.core.errors import Cancelled, InvalidInput, Misconfigured, Unavailable
from tests.store.drafts import names, write_draft
from tests.store.places import open_store
from tests.store.proxy import Fault, Proxy, Request


@pytest.fixture
def settings(tmp_path: Path, url: str, proxy: Proxy) -> Settings:
    assert proxy.port
    return load(
        model_dir=tmp_path / "models", data_dir=tmp_path / "data", store_url=url, store_patience_seconds=0.5
    )


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    return write_draft(tmp_path / "draft")


def never() -> bool:
    return False


def test_a_store_that_comes_back_is_waited_for(settings: Settings, draft: Path, proxy: Proxy) -> None:
    told: list[str] = []
    proxy.refuse()
    back = threading.Timer(1.0, proxy.listen)
    back.start()
    done = publish(
        settings, draft, note="a", actor="training", cancelled=never, tell=told.append, patience=60
    )
    back.join()
    assert done.version == 1
    assert told[0].startswith("the model is ready; waiting for the store")
    assert done.store.state().versions[done.version].note == "a"


def test_a_lost_answer_while_it_waits_makes_no_second_version(
    settings: Settings, draft: Path, proxy: Proxy
) -> None:
    lost: list[int] = []
    back = threading.Timer(1.0, proxy.listen)

    def rule(request: Request) -> Fault:
        if request.method == "PUT" and "/journal/" in request.path and not lost:
            lost.append(request.number)
            threading.Thread(target=lambda: (proxy.refuse(), back.start())).start()
            return Fault(lose_answer=True)
        return Fault()

    proxy.rule = rule
    done = publish(settings, draft, note="a", actor="training", cancelled=never, tell=str, patience=60)
    back.join()
    assert done.version == 1 and lost
    assert [event.seq for event in done.store.events()] == [1]


def test_who_waits_can_be_cancelled(settings: Settings, draft: Path, proxy: Proxy) -> None:
    told: list[str] = []
    proxy.refuse()
    with pytest.raises(Cancelled, match="nothing was published"):
        publish(
            settings,
            draft,
            note="",
            actor="training",
            cancelled=lambda: bool(told),
            tell=told.append,
            patience=60,
        )


def test_what_could_not_be_published_is_kept_and_published_by_hand(
    settings: Settings, draft: Path, proxy: Proxy
) -> None:
    proxy.refuse()
    with pytest.raises(Unavailable) as caught:
        publish(
            settings, draft, note="more floods", actor="training", cancelled=never, tell=str, patience=0.5
        )
    (name,) = names(settings.data_dir / "drafts")
    kept = settings.data_dir / "drafts" / name
    assert str(kept) in caught.value.message
    assert f"`serinus publish {kept} --note 'more floods'`" in caught.value.remedy
    assert not draft.exists()
    proxy.listen()
    store = open_store(settings.model_dir, settings.bucket)
    assert store.publish(kept, note="more floods", actor="by hand") == 1
    assert (store.artifact(next(iter(store.state().versions.values())).digest) / "best.pt").exists()


def test_a_volume_that_cannot_be_written_costs_no_model_either(tmp_path: Path, draft: Path) -> None:
    (tmp_path / "models").write_text("a file where the store should be")
    settings = load(model_dir=tmp_path / "models", data_dir=tmp_path / "data")
    with pytest.raises(Misconfigured, match="It is kept in"):
        publish(settings, draft, note="", actor="training", cancelled=never, tell=str)
    assert len(names(settings.data_dir / "drafts")) == 1


def test_a_bad_draft_is_not_worth_keeping(settings: Settings, draft: Path) -> None:
    (draft / "contract.json").unlink()
    with pytest.raises(InvalidInput):
        publish(settings, draft, note="", actor="training", cancelled=never, tell=str)
    assert not (settings.data_dir / "drafts").exists()
