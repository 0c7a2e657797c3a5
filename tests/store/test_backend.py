"""What the protocol needs from a place, held by a folder and by a bucket alike."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from serinus.core.errors import Corrupt, NotFound
from serinus.store.backend import Backend
from serinus.store.transfers import PART
from tests.store.drafts import names
from tests.store.places import open_store

REPOSITORY = Path(__file__).parents[2]
INDEX = "index.json"
ODD = (
    "sp ace #1?.txt",
    "ключ.json",
    "100%.txt",
    "~a*b",
    "..x",
    "b+c&d=e",
    "'q\".txt",
    "[x]{y}|z^`.t",
    "a%2Fb",
)
Open = Callable[[str], Backend]


def anything(_folder: Path) -> None:
    """Every content is right."""


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest) -> str:
    """The address; empty for a folder."""
    return str(request.getfixturevalue("url")) if request.param == "bucket" else ""


@pytest.fixture
def opened(place: str, tmp_path: Path) -> Open:
    """Another process' view of the place: in a bucket, with copies of its own."""
    return lambda name: open_store(tmp_path / (name if place else "models"), place).backend


@pytest.fixture
def backend(opened: Open) -> Backend:
    return opened("one")


def fill(backend: Backend, key: str, files: dict[str, bytes]) -> bool:
    """Publishes a tree."""
    with backend.new_tree(key) as folder:
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return backend.publish_tree(folder, key, index=INDEX)


def test_the_first_document_stays(backend: Backend) -> None:
    assert backend.put_if_absent("journal/1.json", b"first")
    assert backend.put_if_absent("journal/1.json", b"first"), "that is what lies there"
    assert not backend.put_if_absent("journal/1.json", b"second")
    assert backend.read("journal/1.json") == b"first"
    assert backend.exists("journal/1.json")


def test_eight_processes_race_and_one_wins(place: str, opened: Open, tmp_path: Path) -> None:
    keys = [f"journal/{n:010d}.json" for n in range(10)]
    opened("one")
    rivals = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.store.rival", str(tmp_path / "models"), place, f"rival-{n}", *keys],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(8)
    ]
    try:
        for rival in rivals:
            assert rival.stdout is not None
            assert rival.stdout.readline() == "ready\n", rival.communicate(timeout=30)[1]
        for rival in rivals:
            assert rival.stdin is not None
            rival.stdin.write("go\n")
            rival.stdin.flush()
        said = [rival.communicate(timeout=90) for rival in rivals]
    finally:
        for rival in rivals:
            rival.kill()
            rival.wait()
    lines = [(n, *line.split()) for n, (out, _) in enumerate(said) for line in out.splitlines()]
    assert len(lines) == 8 * len(keys), said
    after = open_store(tmp_path / "models" if not place else tmp_path / "after", place).backend
    for key in keys:
        winners = [f"rival-{n}" for n, at, outcome, _ in lines if at == key and outcome == "won"]
        assert len(winners) == 1, key
        assert {lies for _, at, _, lies in lines if at == key} == set(winners)
        assert after.read(key) == winners[0].encode()


def test_documents_are_replaced_and_removed(backend: Backend) -> None:
    for durable in (True, False):
        backend.replace("routes.json", b"old", durable=durable)
        backend.replace("routes.json", b"new", durable=durable)
        assert backend.read("routes.json") == b"new"
    backend.remove("routes.json")
    backend.remove("routes.json")
    assert backend.read("routes.json") is None
    assert not backend.exists("routes.json")


def test_what_is_not_there(backend: Backend) -> None:
    assert backend.read("nowhere/1.json") is None
    assert backend.read("nowhere") is None
    assert not backend.exists("nowhere/1.json")
    assert backend.names("nowhere") == []
    assert backend.names("nowhere", after="1") == []
    assert backend.files("nowhere") == {}
    assert backend.touched("nowhere") == float("inf")
    assert not backend.has_tree("artifacts/none", index=INDEX)
    backend.discard("artifacts/none")
    with pytest.raises(NotFound):
        backend.tree("artifacts/none", index=INDEX, check=anything)
    with pytest.raises(NotFound):
        list(backend.chunks("artifacts/none"))


def test_names_are_those_directly_inside(backend: Backend) -> None:
    for key in (
        "journal/2.json",
        "journal/1.json",
        "journal/3.json",
        "journal/snapshots/1.json",
        "journal2/9",
    ):
        backend.replace(key, b"x", durable=False)
    assert sorted(backend.names("journal")) == ["1.json", "2.json", "3.json", "snapshots"]
    assert (
        {"2.json", "3.json"}
        <= set(backend.names("journal", after="1.json"))
        <= {"2.json", "3.json", "snapshots"}
    )
    assert set(backend.names("journal", after="3.json")) <= {"snapshots"}


@pytest.mark.parametrize("name", ODD)
def test_odd_names_stay_what_they_are(backend: Backend, opened: Open, name: str) -> None:
    backend.replace(f"journal/{name}", b"odd", durable=False)
    assert backend.read(f"journal/{name}") == b"odd"
    assert backend.names("journal") == [name]
    assert fill(backend, "artifacts/a", {INDEX: b"{}", f"training/{name}": b"odd"})
    there = opened("two").tree("artifacts/a", index=INDEX, check=anything)
    assert (there / "training" / name).read_bytes() == b"odd"
    assert set(backend.files("artifacts/a")) == {INDEX, f"training/{name}"}


def test_a_tree_is_there_whole_and_for_ever(backend: Backend, opened: Open) -> None:
    files = {INDEX: b"{}", "model.onnx": b"graph" * 1000, "training/empty.csv": b""}
    assert fill(backend, "artifacts/a", files)
    assert not fill(backend, "artifacts/a", {INDEX: b"{}", "model.onnx": b"another"})
    for reader in (backend, opened("two")):
        assert reader.has_tree("artifacts/a", index=INDEX)
        folder = reader.tree("artifacts/a", index=INDEX, check=anything)
        found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        assert found == files
        assert folder.stat().st_mode & 0o777 == 0o555
        assert (folder / "model.onnx").stat().st_mode & 0o777 == 0o444
        assert reader.local("artifacts/a") == folder
        assert reader.files("artifacts/a") == {name: len(data) for name, data in sorted(files.items())}
        assert b"".join(reader.chunks("artifacts/a/model.onnx")) == files["model.onnx"]


def test_a_tree_that_was_not_finished_is_not_there(backend: Backend, opened: Open) -> None:
    with backend.new_tree("artifacts/a") as folder:
        (folder / INDEX).write_bytes(b"{}")
        assert not opened("two").has_tree("artifacts/a", index=INDEX)
    assert not backend.has_tree("artifacts/a", index=INDEX)
    assert not folder.exists()
    with pytest.raises(NotFound):
        opened("two").tree("artifacts/a", index=INDEX, check=anything)


def test_a_discarded_tree_is_gone_everywhere(backend: Backend, opened: Open) -> None:
    fill(backend, "artifacts/a", {INDEX: b"{}", "model.onnx": b"graph"})
    fill(backend, "artifacts/ab", {INDEX: b"{}"})
    backend.discard("artifacts/a")
    backend.discard("artifacts/a")
    assert not backend.has_tree("artifacts/a", index=INDEX)
    assert backend.local("artifacts/a") is None
    assert opened("two").files("artifacts") == {f"ab/{INDEX}": 2}, "no byte is left"
    with pytest.raises(NotFound):
        opened("two").tree("artifacts/a", index=INDEX, check=anything)


def test_touched_never_goes_back(backend: Backend) -> None:
    backend.replace("observations/1/a/1.json", b"x", durable=False)
    first = backend.touched("observations/1")
    backend.replace("observations/1/b/1.json", b"x", durable=False)
    assert backend.touched("observations/1") >= first
    assert backend.touched("observations/1/b/1.json") >= first
    assert backend.touched("observations/1") < float("inf")


# -- where trees lie elsewhere -------------------------------------------------------------------------------


def test_half_a_tree_is_invisible_and_goes_on(url: str, tmp_path: Path) -> None:
    one, two = (open_store(tmp_path / name, url).backend for name in ("one", "two"))
    one.replace("artifacts/a/model.onnx", b"graph", durable=False)  # what a cut transfer left
    one.replace("artifacts/a/best.pt", b"w", durable=False)  # of another size: not what is meant
    assert not two.has_tree("artifacts/a", index=INDEX)
    with pytest.raises(NotFound):
        two.tree("artifacts/a", index=INDEX, check=anything)
    sent: list[str] = []
    with two.new_tree("artifacts/a") as folder:
        for name, data in {INDEX: b"{}", "model.onnx": b"graph", "best.pt": b"weights"}.items():
            (folder / name).write_bytes(data)
        assert two.publish_tree(folder, "artifacts/a", index=INDEX, moved=lambda name, *_: sent.append(name))
    assert sent == ["best.pt"], "the model was there already"
    there = one.tree("artifacts/a", index=INDEX, check=anything)
    assert names(there) == ["best.pt", INDEX, "model.onnx"]
    assert (there / "best.pt").read_bytes() == b"weights"


def test_other_bytes_of_the_same_size_do_not_count_as_sent(url: str, tmp_path: Path) -> None:
    one, two = (open_store(tmp_path / name, url).backend for name in ("one", "two"))
    large = bytes(PART) + b"the end"
    files = {INDEX: b"{}", "model.onnx": b"graph", "best.pt": large, "best.json": b"{}"}
    one.replace("artifacts/a/model.onnx", b"grapH", durable=False)
    one.replace("artifacts/a/best.pt", large[:-1] + b"D", durable=False)
    one.replace("artifacts/a/best.json", b"{}", durable=False)
    sent: set[str] = set()
    with two.new_tree("artifacts/a") as folder:
        for name, data in files.items():
            (folder / name).write_bytes(data)
        assert two.publish_tree(folder, "artifacts/a", index=INDEX, moved=lambda name, *_: sent.add(name))
    assert sent == {"best.pt", "model.onnx"}
    there = one.tree("artifacts/a", index=INDEX, check=anything)
    assert {path.name: path.read_bytes() for path in there.iterdir()} == files


def test_what_was_fetched_counts_only_when_it_is_right(url: str, tmp_path: Path) -> None:
    one, two = (open_store(tmp_path / name, url).backend for name in ("one", "two"))
    fill(one, "artifacts/a", {INDEX: b"{}", "model.onnx": b"graph"})
    seen: list[Path] = []

    def wrong(folder: Path) -> None:
        seen.append(folder)
        raise Corrupt(f"{folder}/model.onnx is not what was published.")

    with pytest.raises(Corrupt, match=f"^{url}/artifacts/a/model.onnx is not"):
        two.tree("artifacts/a", index=INDEX, check=wrong)
    assert len(seen) == 1 and not seen[0].exists()
    assert two.local("artifacts/a") is None
    assert two.tree("artifacts/a", index=INDEX, check=anything) == tmp_path / "two" / "artifacts" / "a"


def test_a_damaged_half_is_fetched_anew(url: str, tmp_path: Path) -> None:
    """A power cut may leave holes in what a cut transfer had written."""
    one, two = (open_store(tmp_path / name, url).backend for name in ("one", "two"))
    fill(one, "artifacts/a", {INDEX: b"{}", "model.onnx": b"graph"})
    half = tmp_path / "two" / "artifacts" / ".tmp-a"
    half.mkdir()
    (half / "model.onnx").write_bytes(b"\0\0\0")

    def check(folder: Path) -> None:
        if (folder / "model.onnx").read_bytes() != b"graph":
            raise Corrupt("It is another one.")

    there = two.tree("artifacts/a", index=INDEX, check=check)
    assert (there / "model.onnx").read_bytes() == b"graph"
    assert names(tmp_path / "two" / "artifacts") == ["a"]
