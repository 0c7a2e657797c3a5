"""Each kind of model from elsewhere, through the real child: what becomes a draft, what is refused."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch

from serinus.artifact.manifest import Contract
from serinus.artifact.validate import Draft, read_draft
from serinus.core.enums import ImportRefusal
from serinus.core.errors import Cancelled
from serinus.engine.conversion import CannotHere, Refused, convert
from serinus.engine.limits import Limits
from serinus.engine.output import mismatch
from serinus.engine.session import Model
from tests import foreign, models

LIMITS = Limits(seconds=60, memory_mb=2048, trial_seconds=30, trial_memory_mb=1024)


def made(source: Path, scratch: Path, *, limits: Limits = LIMITS, size: int = 64) -> Draft:
    scratch.mkdir()
    return read_draft(convert(source, scratch, limits, size=size).draft)


def refused(source: Path, scratch: Path, limits: Limits = LIMITS) -> Refused:
    with pytest.raises(Refused) as error:
        made(source, scratch, limits=limits)
    assert error.value.remedy, error.value
    assert str(source) not in str(error.value), "no paths of this machine in the history"
    return error.value


def test_our_state_dict_with_its_json(tmp_path: Path) -> None:
    source = foreign.compact(tmp_path / "in")
    draft = made(source, tmp_path / "scratch")
    assert draft.contract.classes == foreign.ARCHITECTURE.classes
    assert draft.contract.size == 64
    assert draft.metrics == {"train_epochs": 10.0, "map50": 0.84, "precision": 0.79, "recall": 0.83}
    assert draft.lineage.config["version"] == 7
    assert draft.lineage.config["kind"] == "compact-1"
    assert set(draft.payload) == {
        "model.onnx",
        "best.pt",
        "best.json",
        "training/golden.npz",
        "source/version.json",
        "MODEL_CARD.md",
    }
    assert (draft.folder / "best.pt").read_bytes() == (source / "best.pt").read_bytes()
    with np.load(draft.folder / "training" / "golden.npz") as golden:
        found = Model.load(draft.folder / "model.onnx", draft.contract).infer(golden["images"])
        for ours, theirs in zip(golden["detections"], found, strict=True):
            assert mismatch(ours, theirs, floor=0.01, confidence=1e-3, pixels=0.1) == ""


def test_a_graph_whose_contract_is_derived(tmp_path: Path) -> None:
    source = foreign.graph(tmp_path / "in")
    (source / "notes").mkdir()
    (source / "notes" / "why.txt").write_text("more data")
    draft = made(source, tmp_path / "scratch")
    wanted = Contract(size=64, stride=32, max_detections=1000, score_threshold=0.3)
    assert draft.contract == wanted
    assert draft.payload == ("MODEL_CARD.md", "model.onnx", "source/notes/why.txt", "source/version.json")


def test_a_graph_with_its_contract_beside_it_and_claims_about_classes(tmp_path: Path) -> None:
    source = foreign.graph(tmp_path / "in")
    own = Contract(size=96, stride=16, max_detections=models.FOUND, score_threshold=0.5)
    (source / "contract.json").write_bytes(msgspec.json.encode(own))
    assert made(source, tmp_path / "one").contract == own
    (source / "contract.json").unlink()
    foreign.describe(source, names={"0": "a", "1": "b", "2": "c", "3": "d"})
    assert made(source, tmp_path / "two").contract.classes == ("a", "b", "c", "d")


def test_a_whole_draft_is_taken_as_it_is(tmp_path: Path) -> None:
    source = foreign.describe(models.healthy(tmp_path / "in", seed=4))
    draft = made(source, tmp_path / "scratch")
    assert "training/golden.npz" in draft.payload
    assert draft.lineage.trainer == "tests.models" and draft.lineage.config["seed"] == 4
    assert draft.metrics["map50_95"] == 0.4


def no_card(folder: Path) -> Path:
    (foreign.compact(folder) / "version.json").unlink()
    return folder


def no_architecture(folder: Path) -> Path:
    (foreign.compact(folder) / "best.json").unlink()
    return folder


def no_model(folder: Path) -> Path:
    folder.mkdir()
    return foreign.describe(folder)


def no_folder(folder: Path) -> Path:
    folder.write_bytes(b"a file")
    return folder


def link_inside(folder: Path) -> Path:
    foreign.compact(folder)
    (folder / "best.pt").unlink()
    (folder / "best.pt").symlink_to("/etc/passwd")
    return folder


def pipe_inside(folder: Path) -> Path:
    os.mkfifo(foreign.compact(folder) / "pipe")
    return folder


def far_too_large(folder: Path) -> Path:
    with (foreign.compact(folder) / "best.pt").open("ab") as file:
        file.truncate(3 << 30)  # takes no space on the disk
    return folder


def text(folder: Path) -> Path:
    (foreign.compact(folder) / "best.pt").write_text("see attachment")
    return folder


def truncated(folder: Path) -> Path:
    weights = foreign.compact(folder) / "best.pt"
    weights.write_bytes(weights.read_bytes()[:-500])
    return folder


def empty(folder: Path) -> Path:
    (foreign.compact(folder) / "best.pt").write_bytes(b"")
    return folder


def bad_card(folder: Path) -> Path:
    (foreign.compact(folder) / "version.json").write_text('{"version": ')
    return folder


def other_network(folder: Path) -> Path:
    described = foreign.compact(folder) / "best.json"
    described.write_text(described.read_text().replace("compact-1", "resnet"))
    return folder


def other_weights(folder: Path) -> Path:
    foreign.compact(folder)
    torch.save({"weight": torch.zeros(3)}, folder / "best.pt")
    return folder


def huge_network(folder: Path) -> Path:
    described = json.loads((foreign.compact(folder) / "best.json").read_text())
    (folder / "best.json").write_text(json.dumps(described | {"widths": [10**6] * 4}))
    return folder


def diverged(folder: Path) -> Path:
    state = torch.load(foreign.compact(folder) / "best.pt", weights_only=True)
    state["heat.bias"] += float("nan")
    torch.save(state, folder / "best.pt")
    return folder


def whole_model(folder: Path) -> Path:
    return foreign.checkpoint(folder, torch.nn.Bilinear(2, 2, 2))


def bare_pickle(folder: Path) -> Path:
    return foreign.raw_pickle(folder, {"weights": [1, 2]})


def graph_of(folder: Path, model: onnx.ModelProto) -> Path:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return foreign.describe(folder)


def no_graph(folder: Path) -> Path:
    (foreign.graph(folder) / "best.onnx").write_bytes(b"not a graph")
    return folder


def two_graphs(folder: Path) -> Path:
    foreign.graph(folder)
    (folder / "best.onnx").rename(folder / "a.onnx")
    shutil.copyfile(folder / "a.onnx", folder / "b.onnx")
    return folder


def wrong_input(folder: Path) -> Path:
    model = models.healthy_graph()
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 3
    del model.graph.node[:]
    model.graph.node.append(onnx.helper.make_node("RandomNormal", [], ["detections"], shape=[1, 1, 6]))
    return graph_of(folder, model)


def fixed_size(folder: Path) -> Path:
    model = models.healthy_graph()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 640
    return graph_of(folder, model)


def wrong_contract(folder: Path) -> Path:
    (foreign.graph(folder) / "contract.json").write_text('{"channels": ["r", "g", "b"]}')
    return folder


def nan(folder: Path) -> Path:
    return foreign.describe(models.nan(folder))


def crashing(folder: Path) -> Path:
    return foreign.describe(models.crashing(folder))


def hungry(folder: Path) -> Path:
    return foreign.describe(models.hungry(folder))


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        (no_card, ImportRefusal.INCOMPLETE, "version.json is missing"),
        (no_architecture, ImportRefusal.INCOMPLETE, "best.json is missing"),
        (no_model, ImportRefusal.INCOMPLETE, "neither best.pt nor"),
        (no_folder, ImportRefusal.UNSAFE_FILES, "not a folder"),
        (link_inside, ImportRefusal.UNSAFE_FILES, "link or a special file"),
        (pipe_inside, ImportRefusal.UNSAFE_FILES, "link or a special file"),
        (far_too_large, ImportRefusal.UNSAFE_FILES, "MB"),
        (text, ImportRefusal.UNREADABLE, "no zip file"),
        (truncated, ImportRefusal.UNREADABLE, "no zip file, or was cut off"),
        (empty, ImportRefusal.UNREADABLE, "no zip file"),
        (bad_card, ImportRefusal.UNREADABLE, "no JSON object"),
        (bare_pickle, ImportRefusal.UNREADABLE, "no zip file"),
        (other_weights, ImportRefusal.UNREADABLE, "no state dict of this network"),
        (other_network, ImportRefusal.CONTRACT, "'resnet'"),
        (huge_network, ImportRefusal.CONTRACT, "widths"),
        (diverged, ImportRefusal.BROKEN, "NaN"),
        (whole_model, ImportRefusal.FOREIGN_CLASSES, "torch.nn.modules.linear.Bilinear"),
        (no_graph, ImportRefusal.UNREADABLE, "does not load"),
        (two_graphs, ImportRefusal.UNREADABLE, "a.onnx, b.onnx"),
        (wrong_input, ImportRefusal.CONTRACT, "not one uint8"),
        (fixed_size, ImportRefusal.CONTRACT, "not of any height and width"),
        (wrong_contract, ImportRefusal.CONTRACT, "channels are r, g, b"),
        (nan, ImportRefusal.BROKEN, "NaN"),
        (crashing, ImportRefusal.BROKEN, "took its process down"),
        (hungry, ImportRefusal.BROKEN, "memory"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_refused_with_the_remedy(
    tmp_path: Path, source: Callable[[Path], Path], code: ImportRefusal, words: str
) -> None:
    error = refused(source(tmp_path / "in"), tmp_path / "scratch")
    assert error.code is code, error
    assert words in error.message, error


@pytest.mark.parametrize("write", [foreign.checkpoint, foreign.raw_pickle])
def test_an_attack_is_refused_and_does_not_run(tmp_path: Path, write: Callable[[Path, object], Path]) -> None:
    proof = tmp_path / "executed"
    attack = foreign.Attack(proof)
    error = refused(write(tmp_path / "in", {"model": attack}), tmp_path / "scratch")
    assert not proof.exists()
    if write is foreign.checkpoint:
        assert error.code is ImportRefusal.FOREIGN_CLASSES
        assert "posix.system" in error.message
    torch.load(tmp_path / "in" / "best.pt", weights_only=False) if write is foreign.checkpoint else None
    assert proof.exists() == (write is foreign.checkpoint), "the attack is a real one"


def test_words_from_files_cannot_steer_a_terminal(tmp_path: Path) -> None:
    source = foreign.describe(foreign.graph(tmp_path / "in"), note="a\x1b[31m red\u202e note " + "x" * 5000)
    (tmp_path / "scratch").mkdir()
    note = convert(source, tmp_path / "scratch", LIMITS, size=64).note
    assert note.startswith("a[31m red note xxx") and note.isprintable() and len(note) <= 1000


def test_a_folder_nested_without_end_is_refused(tmp_path: Path) -> None:
    source = foreign.graph(tmp_path / "in")
    here = os.getcwd()  # noqa: PTH109
    try:
        os.chdir(source)
        for _ in range(1500):
            os.mkdir("d")  # noqa: PTH102 -- deeper than a path may be long
            os.chdir("d")
    finally:
        os.chdir(here)
    try:
        error = refused(source, tmp_path / "scratch")
    finally:
        subprocess.run(["rm", "-rf", str(source)], check=True)  # Python cannot: it recurses
    assert error.code is ImportRefusal.UNSAFE_FILES
    assert "nested" in error.message


def test_a_bomb_meets_the_limit_of_memory(tmp_path: Path) -> None:
    limits = msgspec.structs.replace(LIMITS, memory_mb=512)
    error = refused(foreign.bomb(tmp_path / "in", gigabytes=1), tmp_path / "scratch", limits)
    assert error.code is ImportRefusal.LIMITS, error
    assert "IMPORT_MEMORY_MB" in error.remedy


def test_what_takes_too_long_is_stopped(tmp_path: Path) -> None:
    source = foreign.describe(models.loops_forever(tmp_path / "in"))
    limits = msgspec.structs.replace(LIMITS, trial_seconds=1.0)
    error = refused(source, tmp_path / "scratch", limits)
    assert error.code is ImportRefusal.BROKEN
    limits = msgspec.structs.replace(LIMITS, seconds=0.001)
    error = refused(foreign.compact(tmp_path / "other"), tmp_path / "second", limits)
    assert error.code is ImportRefusal.LIMITS
    assert "IMPORT_SECONDS" in error.remedy


def test_an_import_can_be_cancelled(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        convert(
            foreign.compact(tmp_path / "in"),
            tmp_path / "scratch",
            LIMITS,
            size=64,
            cancelled=cancelled.is_set,
        )


def test_without_torch_weights_wait_and_graphs_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A serving installation: everything that it needs, by links, and no torch."""
    installed = Path(torch.__file__).parents[1]
    small = tmp_path / "site-packages"
    small.mkdir()
    for path in installed.iterdir():
        if not path.name.startswith(("torch", "functorch")) and path.suffix != ".pth":
            (small / path.name).symlink_to(path)
    # `-S` is not ours to give: the interpreter of the child is one that has no packages of its own.
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys._base_executable}" "$@"\n')  # type: ignore[attr-defined]
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    monkeypatch.setattr(sys, "path", [str(small) if p == str(installed) else p for p in sys.path])
    assert made(foreign.graph(tmp_path / "graph"), tmp_path / "one").payload
    with pytest.raises(CannotHere, match="PyTorch is not installed") as error:
        made(foreign.compact(tmp_path / "weights"), tmp_path / "two")
    assert "serinus[train]" in error.value.remedy


def test_nothing_of_our_environment_reaches_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        f"import os, json; open({str(tmp_path / 'seen')!r}, 'a').write(json.dumps(dict(os.environ)) + '\\n')"
    )
    monkeypatch.setattr(sys, "path", [str(hook), *sys.path])
    made(foreign.graph(tmp_path / "in"), tmp_path / "scratch")
    seen = [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert len(seen) == 2, "the import and the trial run"
    for environment in seen:
        assert set(environment) <= {
            "PYTHONPATH", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX", "HOME", "TMPDIR",
            "LC_CTYPE", "PWD",
        }  # fmt: skip
