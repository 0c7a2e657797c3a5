"""The main job as a story of real steps: every outcome is what the system decided, and is checked."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from serinus.cli.demo.home import DemoFailed, Home, stop, wait_for
from serinus.cli.demo.screen import Chapter, Screen
from serinus.cli.demo.traffic import Pair, Traffic
from serinus.core.enums import VersionState
from serinus.core.ids import Version

HURRICANE, WILDFIRE = "synth-hurricane", "synth-wildfire"
SIZE = 256
LIVE_SEED, GOLDEN_SEED, TRAIN_SEED = 501, 301, 7
GOLDEN_PAIRS = 100
PATIENCE_SECONDS = 900.0


def live_pairs(disaster: str, count: int = 24) -> list[Pair]:
    """What users look at: whole tiles, and every third one cut at the edge of a scene (192 px high)."""
    from serinus.data.synth import png_pair

    return [
        png_pair(LIVE_SEED, disaster, tile, SIZE, height=192 if tile % 3 == 2 else SIZE)
        for tile in range(count)
    ]


class Story:
    """The chapters, in order. Each raises DemoFailed when the system does not do what it must."""

    def __init__(self, home: Home, screen: Screen, traffic: Traffic) -> None:
        self.home = home
        self.screen = screen
        self.traffic = traffic

    def tell(self) -> None:
        """All of it."""
        with self.screen.chapter("Synthetic data: a hurricane, with 100 golden pairs kept apart") as chapter:
            with ThreadPoolExecutor() as both:
                golden = both.submit(self._golden, "hurricane", HURRICANE)
                hurricane = self._import(self._archive("hurricane", HURRICANE, 150, TRAIN_SEED))
                golden.result()
            chapter.outcome = f"data set {hurricane}"
        with self.screen.chapter("Train version 2 on it, while version 1 serves") as chapter:
            second = self._train(hurricane, epochs=6, note="first model for the hurricane", chapter=chapter)
        self._rollout(second, VersionState.CURRENT, "Canary: version 2 gets half of the traffic")

        with self.screen.chapter("The world changes: users now look at a wildfire") as chapter:
            self.traffic.pairs = live_pairs(WILDFIRE)
            with ThreadPoolExecutor() as both:
                golden = both.submit(self._golden, "wildfire", WILDFIRE)
                mixed = self._import(self._mixed("both"))
                golden.result()
            chapter.outcome = f"data set {mixed}, second golden set"
        with self.screen.chapter("Fine-tune version 3 on both") as chapter:
            third = self._train(mixed, epochs=4, note="learns the wildfire too", chapter=chapter)
        self._rollout(third, VersionState.CURRENT, "Canary: version 3")

        with self.screen.chapter("Version 4 is trained on shuffled labels") as chapter:
            shuffled = self._import(self._archive("shuffled", HURRICANE, 80, TRAIN_SEED, "shuffled"))
            fourth = self._train(shuffled, epochs=3, note="labels went wrong", chapter=chapter)
        self._rollout(fourth, VersionState.REJECTED, "Quality gate: version 4 before it sees traffic")
        if self.traffic.tally.answered[fourth]:
            raise DemoFailed("A version that failed the quality gate has answered users.")

        with self.screen.chapter(
            "Version 5 works on square pictures only, as all golden pairs are"
        ) as chapter:
            fifth = self._publish_broken(third)
            chapter.outcome = f"published as version {fifth}"
        self._rollout(fifth, VersionState.REJECTED, "Canary: version 5 fails on the edge tiles of the users")
        if self.traffic.tally.failed:
            raise DemoFailed(f"Users saw failed requests: {self.traffic.tally.failed[:3]}")

    def _archive(self, name: str, disaster: str, pairs: int, seed: int, labels: str = "true") -> Path:
        path = self.home.root / f"{name}.zip"
        words = ["data", "synth", "--disaster", disaster, "--pairs", str(pairs), "--size", str(SIZE)]
        self.home.run(*words, "--seed", str(seed), "--labels", labels, "--out", str(path))
        return path

    def _mixed(self, name: str) -> Path:
        """An archive of wildfire tiles with a part of the hurricane's, so that nothing is forgotten."""
        from serinus.data.synth import Disaster, SynthSet, write_sets

        path = self.home.root / f"{name}.zip"
        wildfire = SynthSet(disaster=Disaster.WILDFIRE, pairs=100, size=SIZE, seed=TRAIN_SEED)
        hurricane = SynthSet(disaster=Disaster.HURRICANE, pairs=50, size=SIZE, seed=TRAIN_SEED)
        write_sets(path, [wildfire, hurricane])
        return path

    def _import(self, archive: Path) -> str:
        return str(self.home.run("data", "import", str(archive))["dataset_id"])

    def _golden(self, name: str, disaster: str) -> None:
        dataset = self._import(self._archive(f"golden-{name}", disaster, GOLDEN_PAIRS, GOLDEN_SEED))
        self.home.run("golden", "add", name, "--data", dataset)

    def _train(self, dataset: str, *, epochs: int, note: str, chapter: Chapter) -> Version:
        words = ("train", "--data", dataset, "--epochs", str(epochs), "--batch", "8", "--note", note)
        result = self._follow(self.home.start(*words))
        version = Version(result["version"])
        chapter.outcome = f"version {version}, mAP50 {result['metrics']['map50']:.2f} on its own test split"
        return version

    def _follow(self, process: "subprocess.Popen[str]") -> dict[str, Any]:
        try:
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
        except BaseException:
            stop(process)
            raise
        if process.returncode != 0:
            raise DemoFailed(f"The training failed:\n{err[-2000:]}")
        return dict(json.loads(out))

    def _publish_broken(self, of: Version) -> Version:
        from serinus.training.broken import fixed_square_grid

        detail = self.home.run("versions", "show", str(of))
        draft = self.home.root / "broken"
        fixed_square_grid(self.home.root / "models" / "artifacts" / detail["digest"], draft, side=SIZE)
        return Version(
            self.home.run("publish", str(draft), "--note", "exported with a fixed grid")["version"]
        )

    def _rollout(self, version: Version, wanted: VersionState, title: str) -> None:
        """Wait until the controller has decided about `version`, and check that it decided so."""
        final = (VersionState.CURRENT, VersionState.REJECTED, VersionState.RETIRED)
        with self.screen.chapter(title) as chapter:
            if not wait_for(lambda: self.home.version_state(version) in final, PATIENCE_SECONDS, pause=1.0):
                raise DemoFailed(f"No decision about version {version} in {PATIENCE_SECONDS:g} s.")
            row = self.home.run("rollout", "history", "--limit", "1")[-1]
            chapter.outcome = row["why"]
            state = self.home.version_state(version)
            if state != wanted:
                raise DemoFailed(f"Version {version} should be {wanted}, but is {state}: {row['why']}")
