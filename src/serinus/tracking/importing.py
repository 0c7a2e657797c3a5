"""From a registered model to a draft that `Store.publish` takes.

Only files that serving or training know are fetched, by name: the graph and the files that hold its weights,
contract.json, best.pt and best.json, training/. A pickle is never fetched, so it cannot be opened. Sizes are
checked as declared before anything is fetched, and as they are while it is written.
"""

import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import msgspec

from serinus.artifact.files import check_relative
from serinus.artifact.manifest import Contract, Lineage
from serinus.artifact.validate import CONTRACT, LINEAGE, METRICS, MODEL, check_contract
from serinus.core.errors import Conflict, InvalidInput, SerinusError, TooLarge
from serinus.engine.contract import derive_contract
from serinus.engine.graph import read_graph
from serinus.tracking.metrics import metrics_of
from serinus.tracking.registry import Found, Registry, Run
from serinus.tracking.source import KEY, TRAINER, Wanted

Progress = Callable[[float, float, str], None]

_MLMODEL = "MLmodel"
_SMALL = 1 << 20
_BESIDE = ("best.pt", "best.json", LINEAGE, METRICS, CONTRACT)
_PICKLED = (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".bin", ".h5")
_POLL_SECONDS = 0.1
_MOST_PARAMS = 500
_REMEDY = (
    "Export the model to ONNX and log that: mlflow.onnx.log_model, or a folder with model.onnx and "
    "contract.json as artifacts. A pickle is never opened."
)
_T = TypeVar("_T")


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became a draft."""

    draft: Path
    found: Found
    derived: bool
    """Whether the contract was read off the graph, with defaults for what a graph cannot say."""


def import_draft(
    registry: Registry,
    wanted: Wanted,
    folder: Path,
    *,
    limit_bytes: int,
    contract: Path | None = None,
    progress: Progress,
) -> Imported:
    """Makes a draft in `folder` (empty).

    `contract`: a file to go by instead of one among the artifacts. Raises NotFound, InvalidInput (no model
    that serving can run, a wrong contract), TooLarge, Conflict (not ready), Unavailable, Misconfigured.
    """
    found = registry.find(wanted)
    if not found.ready:
        raise Conflict(
            f"{wanted.model}/{found.source.version} is not ready in the registry.", remedy="Try again later."
        )
    files = {check_relative(path): size for path, size in registry.files(found).items()}
    fetch = _Fetch(registry, found, files, folder=folder / "fetched", limit=limit_bytes, tell=progress)
    graph = _graph(files, fetch)
    draft = folder / "draft"
    draft.mkdir()
    root = PurePosixPath(graph).parent
    here = fetch(graph, into=draft / MODEL)
    for name in read_graph(here).external:
        beside = str(root / check_relative(name))
        if beside not in files:
            raise InvalidInput(f"The graph names {name}, which is not there.", remedy=_REMEDY)
        fetch(beside, into=draft / name)
    _fetch_beside(files, root, draft, fetch)
    derived = _settle_contract(draft, contract)
    run = registry.run(found.source.run_id)
    _write_documents(draft, found, run, derived)
    return Imported(draft=draft, found=found, derived=derived)


class _Fetch:
    """Fetches one file at a time within what is left of the limit."""

    def __init__(
        self,
        registry: Registry,
        found: Found,
        files: dict[str, int],
        *,
        folder: Path,
        limit: int,
        tell: Progress,
    ) -> None:
        self._registry, self._found, self._files = registry, found, files
        self._folder, self._limit, self._tell = folder, limit, tell
        self._left = limit
        folder.mkdir()

    def __call__(self, path: str, *, into: Path | None = None, most: int | None = None) -> Path:
        """The file, moved to `into` where that is given. Raises TooLarge, Unavailable."""
        most = self._left if most is None else min(most, self._left)
        declared = self._files[path]
        if declared > most:
            raise self._too_large(path, declared)
        here = self._folder / path
        with _file_limit(most):
            try:
                self._watched(path, here, declared)
            except SerinusError as error:
                if here.exists() and here.stat().st_size >= most:
                    raise self._too_large(path, here.stat().st_size) from error
                raise
        size = here.stat().st_size
        self._left -= size
        if self._left < 0:
            raise self._too_large(path, size)
        if into is None:
            return here
        into.parent.mkdir(parents=True, exist_ok=True)
        return here.rename(into)

    def _watched(self, path: str, here: Path, declared: int) -> None:
        """Downloads in a thread of its own, so that progress can be told meanwhile."""
        failed: list[SerinusError] = []

        def download() -> None:
            try:
                self._registry.fetch(self._found, path, self._folder)
            except SerinusError as error:  # raised on below, in the thread that asked
                failed.append(error)

        thread = threading.Thread(target=download, name="mlflow-download", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
            self._tell(here.stat().st_size if here.exists() else 0, max(declared, 1), path)
        if failed:
            raise failed[0]

    def _too_large(self, path: str, size: int) -> TooLarge:
        return TooLarge(
            f"{path} ({size:,} bytes or more) is over the limit of {self._limit:,} bytes for one import.",
            remedy="Raise MLFLOW_MAX_MB if this model is meant.",
        )


@contextmanager
def _file_limit(most: int) -> Iterator[None]:
    """The kernel stops any file of this process at `most` bytes: a server may declare what it likes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    wanted = max(most, _SMALL)
    bounds = [each for each in (wanted, soft, hard) if each != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _graph(files: dict[str, int], fetch: _Fetch) -> str:
    """Path of the one ONNX graph among the artifacts. Raises InvalidInput that says what is there instead."""
    flavours: dict[str, Any] = {}
    if _MLMODEL in files:
        flavours = _flavours(fetch(_MLMODEL, most=_SMALL))
        onnx = flavours.get("onnx")
        if isinstance(onnx, dict):
            path = check_relative(str(onnx.get("data", MODEL)))
            if path in files:
                return path
            inside = f"{path}/{MODEL}"
            if inside in files:
                return inside
    graphs = [path for path in files if PurePosixPath(path).name == MODEL]
    if MODEL in graphs or len(graphs) == 1:
        return MODEL if MODEL in graphs else graphs[0]
    if graphs:
        raise InvalidInput(f"There are several graphs: {', '.join(sorted(graphs)[:5])}.", remedy=_REMEDY)
    pickles = sorted(path for path in files if path.lower().endswith(_PICKLED))
    there = f"flavours {', '.join(map(str, flavours))}" if flavours else f"{len(files)} files"
    also = f", among them {pickles[0]}" if pickles else ""
    raise InvalidInput(f"The model has no ONNX graph ({there}{also}).", remedy=_REMEDY)


def _flavours(path: Path) -> dict[str, Any]:
    import yaml

    try:
        described = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"{_MLMODEL} is no YAML.", remedy="Log the model again.") from error
    flavours = described.get("flavors") if isinstance(described, dict) else None
    return flavours if isinstance(flavours, dict) else {}


def _fetch_beside(files: dict[str, int], root: PurePosixPath, draft: Path, fetch: _Fetch) -> None:
    for path in sorted(files):
        try:
            name = str(PurePosixPath(path).relative_to(root))
        except ValueError:
            continue
        if (name in _BESIDE or name.startswith("training/")) and not (draft / name).exists():
            fetch(path, into=draft / name)


def _settle_contract(draft: Path, given: Path | None) -> bool:
    """Leaves a checked contract.json in the draft; True when it was derived."""
    target = draft / CONTRACT
    derived = given is None and not target.exists()
    known = derive_contract(draft / MODEL) if derived else _read(given or target, Contract)
    check_contract(known)
    target.write_bytes(msgspec.json.encode(known))
    return derived


def _read(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            f"{path.name} cannot be read: {error}.", remedy="Write it again as JSON."
        ) from error


def _write_documents(draft: Path, found: Found, run: Run, derived: bool) -> None:
    """metrics.json and lineage.json: what the run recorded, and what the artifacts say of themselves."""
    own = _read(draft / METRICS, dict[str, float]) if (draft / METRICS).exists() else {}
    (draft / METRICS).write_bytes(msgspec.json.encode({**metrics_of(run.metrics), **own}))
    lineage = _read(draft / LINEAGE, Lineage) if (draft / LINEAGE).exists() else Lineage()
    origin = {
        **msgspec.to_builtins(found.source),
        "contract": "derived from the graph" if derived else "given",
        "tags": {name: value for name, value in found.tags.items() if not name.startswith("serinus.")},
        "run_tags": {name: value for name, value in run.tags.items() if not name.startswith("mlflow.")},
    }
    params = dict(sorted(run.params.items())[:_MOST_PARAMS])
    lineage = msgspec.structs.replace(
        lineage, trainer=TRAINER, config={**lineage.config, **params, KEY: origin}
    )
    (draft / LINEAGE).write_bytes(msgspec.json.encode(lineage))
