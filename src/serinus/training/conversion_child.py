"""The child of an import: reads a foreign folder under limits and leaves a draft beside its answer.

Started by `serinus.engine.conversion` as `python -m serinus.training.conversion_child`; of no use by hand.
An ONNX graph needs no torch and is taken before weights, which somebody must unpickle, restricted as it is.
"""

import errno
import importlib
import importlib.util
import shutil
import sys
from pathlib import Path

import msgspec

from serinus.artifact.claims import MOST_BYTES, VERSION_JSON, Claims, read_claims, read_metrics, read_object
from serinus.artifact.files import regular_files
from serinus.artifact.manifest import Lineage
from serinus.artifact.validate import CONTRACT, LINEAGE, METRICS, MODEL
from serinus.core.enums import ImportRefusal
from serinus.core.errors import InvalidInput, ModelFault
from serinus.engine import sandbox
from serinus.engine.conversion import ANSWER, DRAFT, REQUEST, Answer, CannotHere, Refused, Request
from serinus.engine.derive import take_graph

_MOST_FILES, _MOST_BYTES = 1000, 2 << 30
_WEIGHTS, _ARCHITECTURE = "best.pt", "best.json"
_KEPT = (_WEIGHTS, _ARCHITECTURE)
_DOCUMENTS = (CONTRACT, LINEAGE, METRICS)


def main() -> int:
    request = msgspec.json.decode(Path(REQUEST).read_bytes(), type=Request)
    sandbox.die_with(request.parent)
    source = Path(request.source)
    if _needs_torch(source) and importlib.util.find_spec("torch") is not None:
        importlib.import_module("serinus.training.elsewhere")  # before the limits: torch maps a lot
    sandbox.confine(
        memory_bytes=request.memory_bytes, cpu_seconds=request.cpu_seconds, file_bytes=_MOST_BYTES
    )
    try:
        answer = Answer(made=True, note=_convert(source, Path(DRAFT), request))
    except Refused as error:
        answer = Answer(code=error.code, words=error.message, remedy=error.remedy)
    except CannotHere as error:
        answer = Answer(words=error.message, remedy=error.remedy)
    except InvalidInput as error:
        answer = Answer(code=ImportRefusal.UNREADABLE, words=error.message, remedy=error.remedy)
    except ModelFault as error:
        answer = Answer(code=ImportRefusal.CONTRACT, words=error.message, remedy=error.remedy)
    except PermissionError as error:
        answer = Answer(
            code=ImportRefusal.UNSAFE_FILES,
            words=f"{error.filename} may not be read by this user.",
            remedy="Let the trainer make its files readable for the controller's user.",
        )
    except OSError as error:
        # A full disk, a volume that is away: nothing that the model is to blame for.
        answer = Answer(words=f"The folder could not be read or copied: {error.strerror or error}.")
    # The history is read on other machines: no paths of this one.
    answer = msgspec.structs.replace(answer, words=answer.words.replace(f"{source}/", ""))
    Path(ANSWER).write_bytes(msgspec.json.encode(answer))
    return 0


def _needs_torch(source: Path) -> bool:
    return source.is_dir() and not any(source.glob("*.onnx"))


def _convert(source: Path, draft: Path, request: Request) -> str:
    """Fills `draft` and gives the note."""
    files = _files(source)
    if request.described and VERSION_JSON not in files:
        raise Refused(
            ImportRefusal.INCOMPLETE,
            f"{VERSION_JSON} is missing.",
            remedy="Write the model first and version.json last, then put the folder there again.",
        )
    claims = read_claims(_bytes(files[VERSION_JSON])) if VERSION_JSON in files else Claims()
    graphs = [name for name in files if name.endswith(".onnx") and "/" not in name]
    draft.mkdir()
    if graphs:
        take_graph(_chosen(graphs, files), files.get(CONTRACT), claims, draft, size=request.size)
        more: dict[str, object] = {}
    elif _WEIGHTS in files:
        if importlib.util.find_spec("torch") is None:
            raise CannotHere(
                "best.pt cannot be imported here: PyTorch is not installed beside the controller.",
                remedy="Install serinus[train], or export the model to ONNX. The folder waits.",
            )
        elsewhere = importlib.import_module("serinus.training.elsewhere")
        more = elsewhere.take_weights(files, claims, draft, size=request.size)
    else:
        raise Refused(
            ImportRefusal.INCOMPLETE,
            "There is neither best.pt nor an .onnx file.",
            remedy="Write the model first and version.json last, then put the folder there again.",
        )
    _describe(files, claims, more, draft)
    _keep(files, {MODEL, *_DOCUMENTS, *graphs}, draft)
    return claims.note


def _files(source: Path) -> dict[str, Path]:
    if source.is_symlink() or not source.is_dir():
        raise Refused(
            ImportRefusal.UNSAFE_FILES,
            "It is not a folder.",
            remedy="Put best.pt (or an .onnx) and version.json into a folder.",
        )
    try:
        files = regular_files(source)
    except InvalidInput as error:
        raise Refused(ImportRefusal.UNSAFE_FILES, error.message, remedy=error.remedy) from error
    except (OSError, RecursionError) as error:
        deep = isinstance(error, RecursionError) or error.errno in (errno.ENAMETOOLONG, errno.EMFILE)
        if not deep:
            raise
        raise Refused(
            ImportRefusal.UNSAFE_FILES,
            "Its folders are nested too deep.",
            remedy="Put best.pt (or an .onnx) and version.json into one folder.",
        ) from error
    size = sum(path.stat().st_size for path in files.values())
    if len(files) > _MOST_FILES or size > _MOST_BYTES:
        raise Refused(
            ImportRefusal.UNSAFE_FILES,
            f"The folder holds {len(files):,} files of together {size / 1e6:,.0f} MB.",
            remedy=f"At most {_MOST_FILES:,} files and {_MOST_BYTES / 1e6:,.0f} MB are taken.",
        )
    return files


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def _chosen(graphs: list[str], files: dict[str, Path]) -> Path:
    for name in (MODEL, "best.onnx"):
        if name in graphs:
            return files[name]
    if len(graphs) == 1:
        return files[graphs[0]]
    raise Refused(
        ImportRefusal.UNREADABLE,
        f"There are several graphs: {', '.join(sorted(graphs)[:5])}.",
        remedy=f"Name the one that is meant {MODEL}.",
    )


def _describe(files: dict[str, Path], claims: Claims, more: dict[str, object], draft: Path) -> None:
    """metrics.json and lineage.json of the draft."""
    said = read_object(_bytes(files[METRICS]), METRICS) if METRICS in files else {}
    nested = said.get("metrics")
    metrics = claims.metrics | read_metrics(nested if isinstance(nested, dict) else said, METRICS)
    lineage = Lineage(trainer="elsewhere")
    if LINEAGE in files:
        try:
            lineage = msgspec.json.decode(files[LINEAGE].read_bytes(), type=Lineage)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(f"{LINEAGE} cannot be read: {error}.", remedy="Leave it out.") from error
    lineage = msgspec.structs.replace(lineage, config=lineage.config | claims.config | more)
    (draft / METRICS).write_bytes(msgspec.json.encode(metrics))
    (draft / LINEAGE).write_bytes(msgspec.json.encode(lineage))


def _keep(files: dict[str, Path], taken: set[str], draft: Path) -> None:
    """Everything else stays with the version, below `source/`: the folder itself goes."""
    for name, path in files.items():
        if name in taken:
            continue
        kept = name in _KEPT or name.startswith("training/")
        target = draft / name if kept else draft / "source" / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


if __name__ == "__main__":
    sys.exit(main())
