"""Publishing an ONNX graph that stands alone: its draft is made and tried before anything is published."""

import shutil
import tempfile
from pathlib import Path

from serinus.artifact.validate import CONTRACT, METRICS, MODEL
from serinus.bootstrap.settings import Settings
from serinus.core.errors import InvalidInput
from serinus.core.ids import Version
from serinus.engine.conversion import convert
from serinus.store import Store


def publish_graph(
    store: Store,
    settings: Settings,
    graph: Path,
    *,
    metrics: Path | None,
    contract: Path | None,
    note: str,
    actor: str,
) -> Version:
    """Publishes `graph`. Without `contract` it is derived from the graph's input and output.

    Raises InvalidInput for a file that is not there; Refused, in words, for a graph that does not fit or
    fails its trial run.
    """
    with tempfile.TemporaryDirectory(prefix="serinus-publish-") as folder:
        source, scratch = Path(folder) / "source", Path(folder) / "scratch"
        source.mkdir()
        scratch.mkdir()
        for given, name in ((graph, MODEL), (metrics, METRICS), (contract, CONTRACT)):
            if given is None:
                continue
            if not given.is_file():
                raise InvalidInput(f"{given} is no file.", remedy=f"It is to become the version's {name}.")
            shutil.copyfile(given, source / name)
        made = convert(source, scratch, settings.import_limits, size=settings.img_size, described=False)
        return store.publish(made.draft, note=note, actor=actor)
