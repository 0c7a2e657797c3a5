"""Run by a Python that has Ultralytics: makes checkpoints, imports them, compares, tells in JSON."""

import json
import sys
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DEFAULT_CFG

from serinus.artifact.manifest import Contract, Lineage
from serinus.engine.conversion import Refused, convert
from serinus.engine.limits import Limits
from serinus.engine.output import mismatch
from serinus.engine.session import Model

SIZE = 160


def checkpoint(folder: Path, model: Any) -> Path:
    folder.mkdir()
    torch.save(
        {"epoch": 1, "model": model, "ema": None, "train_args": dict(vars(DEFAULT_CFG)), "version": "8.4"},
        folder / "best.pt",
    )
    (folder / "version.json").write_text(json.dumps({"version": 2, "img_size": SIZE}))
    return folder


def network(family: str, channels: int) -> DetectionModel:
    """Untrained, but sure of what it sees."""
    torch.manual_seed(3)
    net = DetectionModel(f"{family}.yaml", ch=channels, nc=4, verbose=False)
    net.names, net.args = dict(enumerate("abcd")), DEFAULT_CFG
    # Statistics of real activations: without them everything fades to a few equal numbers.
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.5
    net.train()
    with torch.inference_mode():
        for _ in range(8):
            net(torch.rand(2, channels, 96, SIZE))
    for heads in (net.model[-1].cv3, getattr(net.model[-1], "one2one_cv3", None) or ()):
        for head in heads:
            head[-1].bias.data.uniform_(-1.5, 0.5)
            head[-1].weight.data.normal_(0, 0.2)
    return net.eval()


def expected(net: DetectionModel, picture: np.ndarray) -> np.ndarray:
    """What Ultralytics' own network finds; doubles suppressed by the plain definition."""
    from tests.training.test_ultralytics_checkpoint import greedy

    head = net.model[-1]
    one_to_one = getattr(head, "one2one_cv2", None) is not None
    head._end2end, head.max_det = one_to_one, 300
    channels = next(m for m in net.modules() if isinstance(m, torch.nn.Conv2d)).in_channels
    pixels = torch.from_numpy(picture[None, ..., 6 - channels :]).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        raw = net(pixels)[0][0]
    if one_to_one:
        rows = raw.numpy()[np.argsort(-raw.numpy()[:, 4], kind="stable")]
        # It gives one box under several classes; a building is in one state of damage.
        rows = rows[np.sort(np.unique(rows[:, :4], axis=0, return_index=True)[1])]
    else:
        middle, sides, scores = raw[:2].T, raw[2:4].T, raw[4:].T
        confidence, kind = scores.max(1)
        rows = torch.cat(
            (middle - sides / 2, middle + sides / 2, confidence[:, None], kind[:, None]), 1
        ).numpy()
    rows[:, 0:4:2] = rows[:, 0:4:2].clip(0, picture.shape[1])
    rows[:, 1:4:2] = rows[:, 1:4:2].clip(0, picture.shape[0])
    rows = rows[np.argsort(-rows[:, 4], kind="stable")][:600]
    return rows if one_to_one else rows[greedy(rows)][:300]


def convert_one(root: Path, family: str, channels: int) -> dict[str, Any]:
    net = network(family, channels)
    source = checkpoint(root / "in", deepcopy(net).half())
    (root / "scratch").mkdir()
    draft = convert(source, root / "scratch", Limits(), size=640).draft
    contract = msgspec.json.decode((draft / "contract.json").read_bytes(), type=Contract)
    lineage = msgspec.json.decode((draft / "lineage.json").read_bytes(), type=Lineage)
    random = np.random.default_rng(5)
    picture = random.integers(0, 256, (96, SIZE, 6), dtype=np.uint8)
    model = Model.load(draft / "model.onnx", contract)
    found = model.infer(picture[None])[0]
    wanted = expected(net.half().float(), picture).astype(np.float32)
    floor = float(np.sort(wanted[:, 4])[::-1][min(50, len(wanted) - 1)])
    batch = random.integers(0, 256, (2, 64, 32, 6), dtype=np.uint8)
    return {
        "classes": contract.classes,
        "input": lineage.config["input"],
        "detections": int((wanted[:, 4] >= floor).sum()),
        "difference": mismatch(wanted, found, floor=floor, confidence=5e-3, pixels=0.5),
        "runs": [list(model.infer(picture[None]).shape), list(model.infer(batch).shape)],
    }


class Call:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        text = f"__import__('pathlib').Path({str(self.proof)!r}).touch() or torch.nn.ReLU()"
        config = {"nc": 4, "activation": text, "backbone": [[-1, 1, "Conv", [8, 3, 2]]], "head": []}
        return DetectionModel, (config,)


def attack(root: Path) -> dict[str, Any]:
    proof = root / "executed"
    source = checkpoint(root / "in", Call(proof))
    (root / "scratch").mkdir()
    try:
        convert(source, root / "scratch", Limits(), size=64)
        words = "imported"
    except Refused as error:
        words = str(error)
    by_us = proof.exists()
    from ultralytics.nn.modules import Conv

    # What it comes to does not matter, only what it ran.
    with torch.serialization.safe_globals([DetectionModel, Conv]), suppress(Exception):
        torch.load(source / "best.pt", weights_only=True)
    return {"executed_by_us": by_us, "executed_plainly": proof.exists(), "words": words}


def contract(root: Path, family: str) -> list[dict[str, str]]:
    """The checks that every trainer must pass, on the trainer `ultralytics`."""
    import torchvision

    from serinus.training import conformance
    from serinus.training.discovery import find

    torchvision.extension._has_ops = lambda: True  # they are declared, not compiled
    spec = msgspec.structs.replace(conformance.SPEC, epochs=1, family=family)
    (root / "work").mkdir()
    found = conformance.check(find("ultralytics"), root / "work", spec=spec)
    return [{"check": one.check, "problem": one.problem} for one in found]


def killed(root: Path, family: str) -> str:
    """One training of three epochs; an earlier one in the same folder is gone on from."""
    import torchvision

    from serinus.data.importing import import_archive
    from serinus.data.synth.write import write_zip
    from serinus.training import conformance
    from serinus.training.discovery import find
    from serinus.training.run import train

    torchvision.extension._has_ops = lambda: True
    root.mkdir(exist_ok=True)
    write_zip(root / "pairs.zip", "synth-hurricane", 20, 128, 3)
    dataset = import_archive(root / "pairs.zip", root / "datasets", clock=lambda: 0.0)
    spec = msgspec.structs.replace(conformance.SPEC, epochs=3, family=family)

    def tell(at: Any) -> None:
        print(at.phase, at.epoch, at.batch, at.note, flush=True)  # noqa: T201

    out, kept = root / "draft", root / "kept"
    return str(train(spec, dataset, out, trainer=find("ultralytics"), checkpoints=kept, progress=tell))


def exported(root: Path, family: str) -> dict[str, Any]:
    """Ultralytics alone trains from an export, as anybody would who never heard of Serinus."""
    import torchvision
    from ultralytics import YOLO
    from ultralytics.utils import SETTINGS

    from serinus.data.export import export
    from serinus.data.importing import import_archive
    from serinus.data.synth.write import write_zip

    torchvision.extension._has_ops = lambda: True
    write_zip(root / "pairs.zip", "synth-hurricane", 40, 128, 3)
    dataset = import_archive(root / "pairs.zip", root / "datasets", clock=lambda: 0.0)
    export(dataset, root / "yolo", "yolo")
    dict.update(SETTINGS, {"mlflow": False, "tensorboard": False}, sync=False)  # they write where we are
    model = YOLO(f"{family}.yaml")
    told = model.train(
        data=str(root / "yolo" / "data.yaml"),
        epochs=2,
        imgsz=128,
        batch=4,
        nbs=4,
        workers=0,
        project=str(root),
        plots=False,
        amp=False,
    )
    trainer = model.trainer
    pictures = trainer.train_loader.dataset
    truth = sum(len(pair.boxes) for pair in dataset.pairs("train"))
    return {
        "channels": next(m for m in trainer.model.modules() if isinstance(m, torch.nn.Conv2d)).in_channels,
        "pictures": [len(pictures), len(dataset.pairs("train"))],
        "buildings": [sum(len(one["cls"]) for one in pictures.labels), truth],
        "names": list(told.names.values()) == list(dataset.manifest.classes),
        "losses": [float(value) for value in trainer.tloss.values()],
    }


def bases(root: Path) -> list[str]:
    """What is refused as a base, in words."""
    from serinus.core.errors import InvalidInput
    from serinus.training.ultralytics_trainer import _base

    words = []
    torch.save({"weight": torch.zeros(2)}, root / "plain.pt")
    torch.save({"model": Call(root / "executed")}, root / "attack.pt")
    for name in ("plain.pt", "attack.pt", "missing.pt"):
        try:
            _base(root / name)
            words.append("taken")
        except InvalidInput as error:
            words.append(str(error))
    return [*words, str((root / "executed").exists())]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    mode, folder, family, channels = sys.argv[1:]
    place = Path(folder)
    done: Any
    match mode:
        case "attack":
            done = attack(place)
        case "contract":
            done = contract(place, family)
        case "bases":
            done = bases(place)
        case "killed":
            done = killed(place, family)
        case "exported":
            done = exported(place, family)
        case _:
            done = convert_one(place, family, int(channels))
    print(json.dumps(done))  # noqa: T201
