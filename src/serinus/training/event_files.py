"""TensorBoard's event files of a training, where somebody asked for them."""

import importlib.util
from pathlib import Path

from serinus.core.errors import InvalidInput
from serinus.training.reporting import flat
from serinus.training.trainer import EpochRow


class EventFiles:
    """Writes into one folder, which TensorBoard shows as one run."""

    def __init__(self, folder: Path) -> None:
        """Raises InvalidInput when the package `tensorboard` is not installed."""
        if importlib.util.find_spec("tensorboard") is None:
            raise InvalidInput(
                "Event files need the package tensorboard, which is not installed.",
                remedy="Install serinus[tensorboard], or leave --tensorboard out.",
            )
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def row(self, row: EpochRow) -> None:
        """A point on each curve."""
        for name, value in flat(row).items():
            if name != "epoch":
                self._writer.add_scalar(name, value, row.epoch)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
