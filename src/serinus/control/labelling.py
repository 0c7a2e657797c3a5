"""The labelling queue of a rollout as one archive, for the dashboard."""

import io
import tempfile
import zipfile
from enum import StrEnum
from pathlib import Path

from serinus.control.disagreements import classes_in, queue
from serinus.core.errors import InvalidInput, Misconfigured
from serinus.store import Store


class QueueFormat(StrEnum):
    """Of a labelling queue."""

    COCO = "coco"
    """`coco.json` with a score and a source for each box."""
    XBD = "xbd"
    """`train/images` and `train/labels`, which `serinus data import` reads."""


def queue_archive(store: Store, rollout: int, format: QueueFormat) -> bytes:
    """A zip archive of what is to be labelled.

    Raises NotFound when there was no such rollout, InvalidInput when nothing is to be labelled.
    """
    try:
        from serinus.data.queue import write_coco, write_xbd
    except ModuleNotFoundError as error:
        raise Misconfigured(
            f"The export needs {error.name}, which is not installed.", remedy="pip install 'serinus[data]'"
        ) from error
    classes = classes_in(store, rollout)
    waiting = list(queue(store, rollout))
    if not waiting:
        raise InvalidInput(
            f"Rollout {rollout} has no disagreement to be labelled.",
            remedy="A policy with shadow_share above 0 asks both versions; the worst are kept.",
        )
    write = write_coco if format is QueueFormat.COCO else write_xbd
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "queue"
        write(folder, waiting, classes)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(each for each in folder.rglob("*") if each.is_file()):
                archive.write(path, path.relative_to(folder))
    return packed.getvalue()
