"""The walk of docs/tutorials/xbd.md on an archive laid out like the real one: from download to canary."""

import io
import zipfile
from pathlib import Path

import msgspec
import pytest

from serinus.bootstrap.datasets import prepare
from serinus.bootstrap.evaluating import evaluate_version
from serinus.bootstrap.settings import load
from serinus.bootstrap.training import Wish, train_and_publish
from serinus.core.enums import RolloutPhase
from serinus.core.ids import Version
from serinus.data.dataset import Split
from serinus.data.synth.scenery import Disaster
from serinus.data.synth.write import SynthSet, zip_bytes
from tests.control.world import World

A, B = Disaster("synth-hurricane"), Disaster("synth-wildfire")
FOLDERS = {
    "train": SynthSet(disaster=A, pairs=10, size=128, seed=3),
    "tier3": SynthSet(disaster=B, pairs=6, size=128, seed=3, first=100),
    "test": SynthSet(disaster=A, pairs=3, size=128, seed=3, first=200),
    "hold": SynthSet(disaster=B, pairs=3, size=128, seed=3, first=300),
}


def like_the_real_one(path: Path) -> None:
    """A nested root, the four folders, rasters in targets/, and what a Mac leaves in every zip."""

    with zipfile.ZipFile(path, "w") as out:
        out.writestr("xview2/geotiffs_readme.txt", "not a pair")
        out.writestr("xview2/.DS_Store", b"\x00\x00\x00\x01Bud1")
        for folder, wanted in FOLDERS.items():
            source = zipfile.ZipFile(io.BytesIO(zip_bytes([wanted])))
            for member in source.namelist():
                inner = member.partition("/")[2]
                out.writestr(f"xview2/{folder}/{inner}", source.read(member))
                kind, name = inner.split("/")
                out.writestr(f"__MACOSX/xview2/{folder}/{kind}/._{name}", b"\x00\x05\x16\x07")
                if name.endswith("_post_disaster.png"):
                    target = name.replace(".png", "_target.png")
                    out.writestr(f"xview2/{folder}/targets/{target}", source.read(member))


@pytest.mark.timeout(600)
def test_from_the_download_to_a_canary(tmp_path: Path) -> None:
    world = World(tmp_path)
    settings = load(
        model_dir=tmp_path / "models",
        data_dir=tmp_path / "data",
        epochs=1,
        batch=4,
        img_size=128,
        train_threads=1,
    )
    like_the_real_one(tmp_path / "xbd.zip")
    dataset = prepare(settings, str(tmp_path / "xbd.zip"), job=None, progress=lambda *_: None)
    report = dataset.report
    assert report.pairs_found == report.pairs_usable == 22
    assert report.ignored["system"] == 4 * 22 + 1
    assert report.ignored["targets"] == 22
    assert set(report.per_disaster) == {str(A), str(B)}
    kept_apart = {pair.key for pair in dataset.pairs(Split.TEST)}
    of_test = {f"{A}_{number:08}" for number in range(200, 203)} | {f"{B}_{n:08}" for n in range(300, 303)}
    assert of_test <= kept_apart, "what the challenge tests on is never trained on"

    published = train_and_publish(
        settings,
        Wish(base="none", tile=64, note="xBD"),
        data=dataset.id,
        upload=None,
        job=None,
        progress=lambda *_: None,
    )
    assert published.version == 2
    manifest = world.store.manifest(world.store.state().versions[Version(2)].digest)
    assert manifest.contract.size == 128, "served whole, although it was trained in tiles"
    assert not set(manifest.lineage.tiles) & {pair.sha256_post for pair in dataset.pairs(Split.TEST)}

    done, folder = evaluate_version(
        settings, Version(2), data=dataset.id, split="test", out=None, progress=lambda *_: None
    )
    assert done.assessment.metrics.pictures == len(kept_apart)
    assert (folder / "index.html").is_file()
    assert msgspec.json.decode((folder / "evaluation.json").read_bytes())["version"] == 2

    world.replica.beat(world.state)
    world.verify()
    assert world.rollout.phase is RolloutPhase.CANARY, world.story()
    assert world.rollout.version == 2
