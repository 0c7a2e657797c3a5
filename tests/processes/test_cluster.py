"""Many replicas, two controllers and one dashboard behind a load balancer: they decide as one, and no user
notices what happens to them.

Short in `make test` with a shared directory, and a partition from a bucket; in `make test-long` for
SERINUS_CLUSTER_SECONDS (180) of kills at random, in a directory and in a bucket. SERINUS_CLUSTER_SEED repeats
the kills of another run. With a bucket, replicas have network namespaces where those are permitted.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from serinus.core.enums import RolloutPhase, VersionState
from serinus.core.ids import Version
from serinus.rollout.events import Verified
from serinus.rollout.state import Rollout
from tests import models
from tests.processes import namespaces
from tests.processes.cluster import NGINX, NO_NGINX, Bucket, Cluster, Machine, one_history
from tests.processes.installation import eventually
from tests.processes.load import Load, pressed
from tests.store.drafts import new_id
from tests.store.s3server import BUCKET, S3Server

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(900),
    pytest.mark.skipif(NGINX is None, reason=NO_NGINX),
]

SECONDS = float(os.environ.get("SERINUS_CLUSTER_SECONDS", "180"))
SEED = int(os.environ.get("SERINUS_CLUSTER_SEED", "0"))
OF_CAPACITY = 0.4
"""Of what the fewest replicas can carry that are left at any time."""
FEWEST = 2
HEIGHT = 32
"""Of the users' pictures; the failing canary raises for these and not for its golden pairs."""


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return Bucket(f"s3://{BUCKET}/{new_id()}", s3.port)


@contextmanager
def running(root: Path, replicas: int, bucket: Bucket | None = None, **settings: str) -> Iterator[Cluster]:
    """Five places for replicas, of which so many run."""
    apart = bucket is not None and namespaces.permitted()
    found = Cluster(root, 5, bucket, apart=apart, **settings)
    try:
        found.up(replicas)
        yield found
    finally:
        found.down()


def capacity(place: Cluster, seconds: float) -> float:
    """Answers a second through the load balancer."""
    return asyncio.run(Load(place.url, size=HEIGHT).capacity(8, seconds))


def failing(folder: Path) -> Path:
    """Passes every check, and raises for what users send."""
    return models.raising(folder, 3, only_when_height_is_not=64)


def ended(place: Cluster, version: Version) -> Rollout | None:
    state = place.state
    last = state.last
    return last if state.rollout is None and last is not None and last.version == version else None


def until_ended(place: Cluster, version: Version) -> Rollout:
    eventually(lambda: ended(place, version), f"the rollout of {version} ends", 180, place.tell)
    found = ended(place, version)
    assert found is not None
    return found


def until_canary(place: Cluster, version: Version) -> None:
    def there() -> bool:
        rollout = place.state.rollout
        return rollout is not None and (rollout.version, rollout.phase) == (version, RolloutPhase.CANARY)

    eventually(there, f"{version} is the canary", tell=place.tell)


def answers_are_right(load: Load, place: Cluster) -> None:
    """Everybody had an answer, by a version that was there, and each version always found the same."""
    assert load.failed == [], (load.failed[:3], place.tell())
    found: dict[int, set[str]] = defaultdict(set)
    for answer in load.answers:
        found[answer.version].add(answer.found)
    assert set(found) <= set(place.state.versions)
    assert all(len(each) == 1 for each in found.values()), {v: len(each) for v, each in found.items()}
    manifests = [place.store.manifest(place.state.versions[version].digest) for version in found]
    insets = {int(str(each.lineage.config["seed"])) % models.INSETS for each in manifests}
    assert len(set.union(*found.values())) == len(insets), "versions are told apart by what they find"


def canary_waited_for_all(place: Cluster, fewest: int = FEWEST) -> None:
    """What the journal says of each rollout that got traffic. One that is cut off is waited for no more."""
    for event in place.store.events():
        if isinstance(event.body, Verified):
            assert event.body.report["replicas"] >= fewest, event


def test_five_replicas_and_two_controllers_are_one_serinus(tmp_path: Path) -> None:
    with running(tmp_path, FEWEST) as place:
        rate = OF_CAPACITY * capacity(place, 2.0)
        with pressed(place.url, rate, size=HEIGHT) as load:
            good = place.store.publish(models.healthy(tmp_path / "good", seed=12), note="", actor="test")
            until_canary(place, good)
            place.scale(5)
            place.kill(place.controllers[0], "controller")
            place.kill(place.replicas[1], "infer")
            assert until_ended(place, good).phase is RolloutPhase.PROMOTED, place.tell()
            place.settled(5)

            bad = place.store.publish(failing(tmp_path / "bad"), note="", actor="test")
            until_canary(place, bad)
            apart = place.replicas[2]
            apart.cut()
            place.kill(place.controllers[1], "controller")
            assert until_ended(place, bad).phase is RolloutPhase.ROLLED_BACK, place.tell()
            goes_on_and_says_so(place, apart)
            apart.heal()
            eventually(place.obeyed, "every replica obeys", tell=place.tell)
            eventually(lambda: apart.status["store_reachable"], "it writes again, too", tell=apart.log)
            place.scale(FEWEST)
            assert place.state.current == good
        sys.stdout.write(f"\n{rate:.0f} requests a second, {len(load.answers)} answers\n")
        answers_are_right(load, place)
        one_history(list(place.store.events()))
        canary_waited_for_all(place)
        assert "Traceback" not in place.tell()


def goes_on_and_says_so(place: Cluster, apart: Machine) -> None:
    """A replica without the store serves what it has."""
    eventually(lambda: apart.status.get("store_reachable") is False, "it says so", tell=apart.log)
    ready = httpx.get(f"{apart.url}/readyz", timeout=10)
    assert ready.status_code == 200
    assert not ready.json()["store_reachable"]
    assert "serinus_store_up 0.0" in httpx.get(f"{apart.url}/metrics", timeout=10).text
    status = apart.status
    assert status["journal_seq"] < place.state.seq
    assert status["current_version"]["version"] == place.state.current


def test_a_replica_that_is_cut_off_from_the_bucket_goes_on_and_obeys_later(
    tmp_path: Path, bucket: Bucket
) -> None:
    """By a cable that is cut, where network namespaces are permitted: nobody refuses, nothing comes back."""
    with running(tmp_path, FEWEST, bucket, STORE_PATIENCE_SECONDS="5") as place:
        with pressed(place.url, 10.0, size=HEIGHT) as load:
            bad = place.store.publish(failing(tmp_path / "bad"), note="", actor="test")
            until_canary(place, bad)
            apart = place.replicas[1]
            apart.cut()
            assert until_ended(place, bad).phase is RolloutPhase.ROLLED_BACK, place.tell()
            goes_on_and_says_so(place, apart)
            apart.heal()
            eventually(place.obeyed, "every replica obeys", tell=place.tell)
            eventually(lambda: apart.status.get("store_reachable"), "it says so", tell=apart.log)
        answers_are_right(load, place)
        one_history(list(place.store.events()))
        assert "Traceback" not in place.tell()


class Weather:
    """What happens to a cluster at random; one thing after the other."""

    def __init__(self, place: Cluster, root: Path, seed: int) -> None:
        self.place, self.root = place, root
        self.random = random.Random(seed)
        self.cut: Machine | None = None
        self.published: dict[Version, bool] = {}
        """Whether each deserves to be promoted."""
        self.done: list[str] = []

    def happens(self) -> None:
        deeds: list[Callable[[], str]] = [self.kill_replica, self.kill_controller, self.scale, self.part]
        if self.place.state.rollout is None:
            deeds = [self.publish]
        self.done.append(self.random.choice(deeds)())

    def kill_replica(self) -> str:
        alive = [each for each in self.place.running if each is not self.cut]
        if len(self.place.running) <= FEWEST:
            return "killed none: as many are left as the load was measured for"
        one = self.random.choice(alive)
        self.place.kill(one, "infer")
        eventually(lambda: one.get("/readyz").get("ready"), "it is back", tell=one.log)
        return f"killed {one.root.name}"

    def kill_controller(self) -> str:
        one = self.random.choice(self.place.controllers)
        self.place.kill(one, "controller")
        return f"killed {one.root.name}"

    def scale(self) -> str:
        self.heal()
        count = self.random.choice([FEWEST, 3, 5])
        self.place.scale(count)
        return f"scaled to {count}"

    def part(self) -> str:
        if self.cut is not None:
            self.heal()
            return "healed"
        self.cut = self.random.choice(self.place.running)
        self.cut.cut()
        return f"cut {self.cut.root.name} off"

    def publish(self) -> str:
        number = self.place.state.next_version
        good = self.random.random() < 0.6
        folder = self.root / f"draft-{number}"
        draft = models.healthy(folder, seed=100 + number) if good else failing(folder)
        version = self.place.store.publish(draft, note="", actor="test")
        self.published[version] = good
        return f"published {version}, {'good' if good else 'failing'}"

    def heal(self) -> None:
        if self.cut is not None:
            self.cut.heal()
            self.cut = None


def at_random(tmp_path: Path, bucket: Bucket | None) -> None:
    seed = SEED or int(time.time())
    with running(tmp_path, FEWEST, bucket, STORE_PATIENCE_SECONDS="5") as place:
        rate = OF_CAPACITY * capacity(place, 3.0)
        place.scale(5)
        weather = Weather(place, tmp_path, seed)
        sys.stdout.write(f"\nSERINUS_CLUSTER_SEED={seed}; {rate:.0f} requests a second\n")
        with pressed(place.url, rate, size=HEIGHT) as load:
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                weather.happens()
                time.sleep(weather.random.uniform(0.0, 3.0))
            weather.heal()
            place.scale(5)
            eventually(lambda: place.state.rollout is None, "all rollouts are over", 180, place.tell)
            eventually(place.obeyed, "every replica obeys", tell=place.tell)
        sys.stdout.write(json.dumps(weather.done) + f"\n{len(load.answers)} answers\n")
        answers_are_right(load, place)
        one_history(list(place.store.events()))
        for version, good in weather.published.items():
            rejected = place.state.versions[version].state is VersionState.REJECTED
            assert rejected != good, (version, place.state.versions, place.tell())
        canary_waited_for_all(place, FEWEST - 1)
        assert "Traceback" not in place.tell()


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 900)
def test_at_random_in_a_directory(tmp_path: Path) -> None:
    at_random(tmp_path, None)


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 900)
def test_at_random_in_a_bucket(tmp_path: Path, bucket: Bucket) -> None:
    at_random(tmp_path, bucket)
