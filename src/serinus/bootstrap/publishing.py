"""Publishing by hand: a draft in a directory, or an ONNX graph that stands alone and is tried first."""

import shutil
import tempfile
from pathlib import Path

from serinus.artifact.card import CARD, write_card
from serinus.artifact.validate import CONTRACT, METRICS, MODEL, read_draft
from serinus.bootstrap.settings import Settings
from serinus.core.errors import InvalidInput
from serinus.core.ids import Version
from serinus.engine.conversion import convert
from serinus.store import Sign, Store


def publish_directory(store: Store, directory: Path, *, note: str, actor: str, sign: Sign) -> Version:
    """Publishes a draft as it is; one without a model card gets it in a folder beside, since a directory that
    somebody names is not written to. Raises InvalidInput for a bad draft.
    """
    if (directory / CARD).exists() or directory.is_symlink():
        return store.publish(directory, note=note, actor=actor, sign=sign)
    read_draft(directory)  # before anything is copied
    with tempfile.TemporaryDirectory(prefix="serinus-publish-") as folder:
        draft = Path(folder) / "draft"
        draft.mkdir()
        for source in sorted(directory.rglob("*")):
            target = draft / source.relative_to(directory)
            if source.is_dir():
                target.mkdir()
            else:
                _share(source, target)
        write_card(draft)
        return store.publish(draft, note=note, actor=actor, sign=sign)


def _share(source: Path, target: Path) -> None:
    """The same file under a second name; a copy where that cannot be."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def publish_graph(
    store: Store,
    settings: Settings,
    graph: Path,
    *,
    metrics: Path | None,
    contract: Path | None,
    note: str,
    actor: str,
    sign: Sign,
) -> Version:
    """Publishes `graph`. Without `contract` it is derived from the graph's input and output. `sign`
    gives the manifest its signature.

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
        return store.publish(made.draft, note=note, actor=actor, sign=sign)
