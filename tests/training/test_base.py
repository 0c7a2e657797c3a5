from importlib.resources import as_file, files

import msgspec
import numpy as np

from serinus.artifact.validate import read_draft
from serinus.engine import trial
from serinus.engine.output import mismatch
from serinus.training import weights
from serinus.training.base import SIZE
from serinus.training.network import Architecture, CompactNet


def test_the_packaged_base_is_a_draft_that_keeps_its_word() -> None:
    with as_file(files("serinus") / "base") as folder:
        draft = read_draft(folder)
        assert draft.metrics["map50"] > 0.6
        assert draft.contract.size == SIZE
        with np.load(folder / "training/golden.npz", allow_pickle=False) as arrays:
            images, expected = arrays["images"], arrays["detections"]
        found = trial.run(folder, draft.contract, list(images))
        for ours, theirs in zip(expected, found, strict=True):
            assert mismatch(ours, theirs, floor=0.05, confidence=1e-2, pixels=1.0) == ""


def test_the_packaged_weights_fit_the_network_of_today() -> None:
    """Else no training could start from them."""
    with as_file(files("serinus") / "base") as folder:
        described = msgspec.json.decode((folder / "best.json").read_bytes(), type=Architecture)
        net = CompactNet(Architecture(classes=described.classes))
        weights.load_into(net, folder)
