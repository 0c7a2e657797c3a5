"""best.pt and best.json: a plain state dict and what it fits. Never a pickled object."""

from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 -- to catch what torch's restricted reader raises

import msgspec
import torch
from torch import Tensor

from serinus.core.errors import InvalidInput
from serinus.training.checkpoints import said_by_torch
from serinus.training.network import Architecture, CompactNet

WEIGHTS = "best.pt"
ARCHITECTURE = "best.json"


def save(net: CompactNet, folder: Path) -> None:
    """Writes both files into `folder`."""
    state = {name: value.detach().cpu() for name, value in net.state_dict().items()}
    torch.save(state, folder / WEIGHTS)
    (folder / ARCHITECTURE).write_bytes(msgspec.json.encode(net.architecture))


def load_into(net: CompactNet, base: Path) -> None:
    """Fills `net` with the weights of `base`: a directory, or a .pt with its .json beside it.

    Raises InvalidInput: files missing or unreadable, or the architecture (or its classes) is another one.
    """
    weights = base / WEIGHTS if base.is_dir() else base
    described = base / ARCHITECTURE if base.is_dir() else base.with_suffix(".json")
    remedy = "Train without a base (`--base none`), or give one of a version that the compact trainer made."
    try:
        architecture = msgspec.json.decode(described.read_bytes(), type=Architecture)
    except FileNotFoundError:
        raise InvalidInput(
            f"{described} is missing: what {weights.name} fits is unknown.", remedy=remedy
        ) from None
    except msgspec.MsgspecError as error:
        raise InvalidInput(
            f"{described} does not describe a compact network: {error}.", remedy=remedy
        ) from error
    if architecture != net.architecture:
        raise InvalidInput(
            f"{base} is another network: {_difference(architecture, net.architecture)}.", remedy=remedy
        )
    try:
        state: dict[str, Tensor] = torch.load(weights, map_location="cpu", weights_only=True)
        net.load_state_dict(state)
    except FileNotFoundError:
        raise InvalidInput(f"{weights} is missing.", remedy=remedy) from None
    except (
        UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
    ) as error:
        words = said_by_torch(error)
        raise InvalidInput(f"{weights} is no state dict of this network: {words}.", remedy=remedy) from error


def _difference(found: Architecture, wanted: Architecture) -> str:
    ours, theirs = msgspec.to_builtins(wanted), msgspec.to_builtins(found)
    return "; ".join(f"{key} is {theirs[key]}, not {ours[key]}" for key in ours if theirs[key] != ours[key])
