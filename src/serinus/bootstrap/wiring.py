"""What several processes wire alike: the store, the jobs, the first version."""

import logging
import os
import shutil
import sys
import tempfile
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from serinus.bootstrap import edge, signing
from serinus.bootstrap.settings import MEGABYTE, Settings, environment, store_folder
from serinus.core.enums import JobKind
from serinus.core.errors import InvalidInput, Misconfigured, NotFound, SerinusError
from serinus.core.ids import Version
from serinus.jobs.cluster import KINDS, ClusterQueue
from serinus.jobs.local import LocalJobs, Needs
from serinus.store import Address, Sign, Store, Waiting, go_on

if TYPE_CHECKING:
    from serinus.jobs.cluster_api import ClusterApi

log = logging.getLogger(__name__)

LOOP_PATIENCE_SECONDS = 3.0
"""Of processes that look again by themselves: waiting longer would only hold up what else they do."""


def open_store(
    settings: Settings,
    *,
    patience: float | None = None,
    waiting: Waiting = go_on,
    may_be_away: bool = False,
    may_be_full: bool = False,
) -> Store:
    """The store in MODEL_DIR or at STORE_URL, to be written. Raises Misconfigured when that place cannot hold
    one or a copy into it is not finished, Unwritable when its volume is full or read-only, unless it
    `may_be_full`.

    `patience`: seconds that requests to a bucket are tried again, in place of the setting; `waiting` is told
    meanwhile and may give up. Raises Unavailable when it does not answer, unless it `may_be_away`.
    """
    bucket = None
    if settings.bucket:
        bucket = address(settings.bucket, patience or settings.store_patience_seconds)
        bucket = bucket._replace(waiting=waiting)
    return Store.open(
        settings.store_dir,
        clock=edge.now,
        new_id=edge.new_id,
        bucket=bucket,
        cache_bytes=int(settings.cache_max_gb * 1000 * MEGABYTE),
        may_be_away=may_be_away,
        may_be_full=may_be_full,
    )


def open_for_loop(settings: Settings) -> Store:
    """As `open_store`, for a process that looks again by itself and starts without the store too, and with
    one on a full or read-only volume.
    """
    patience = min(settings.store_patience_seconds, LOOP_PATIENCE_SECONDS)
    store = open_store(settings, patience=patience, may_be_away=True, may_be_full=True)
    if store.unwritable is not None:
        log.error("Starting with a store that cannot be written: %s", store.unwritable)
    return store


def look_at_store(settings: Settings, *, must_exist: bool = False) -> Store:
    """The same, to be read: writes nothing, so its volume may be full or read-only. One that is not there
    reads as empty, unless it `must_exist`: then it raises NotFound. One that a copy has not finished is read
    as far as it goes, which is said.
    """
    store = Store.look(
        settings.store_dir,
        clock=edge.now,
        new_id=edge.new_id,
        bucket=address(settings.bucket, settings.store_patience_seconds) if settings.bucket else None,
        cache_bytes=int(settings.cache_max_gb * 1000 * MEGABYTE),
        must_exist=must_exist,
    )
    unfinished = store.unfinished()
    if unfinished:
        log.warning("%s What is shown is what has arrived.", unfinished)
    return store


def show_views(store: Store) -> None:
    """Brings what people see in MODEL_DIR up to what a command has appended, where no controller may run.

    Not beside a bucket: there MODEL_DIR shows what a replica has fetched. What cannot be written is said, and
    made by who comes next.
    """
    if store.remote:
        return
    try:
        store.refresh_views()
    except (OSError, SerinusError) as error:
        log.warning("The views in %s are not up to date: %s", store.root, error)


def store_at(
    url: str, settings: Settings, scratch: Path, *, must_exist: bool, make: bool = False
) -> Store | None:
    """The store in a folder or a bucket that somebody names, beside which `scratch` holds what is local.

    `make`: it is copied into, and made where there is none. None when there is none and it need not exist.
    Raises InvalidInput rather than make one among other things, NotFound when it must exist.
    """
    folder = store_folder(url)
    bucket = address(url, settings.store_patience_seconds) if folder is None else None
    root = scratch if folder is None else folder
    if make:
        if folder is not None and _holds_other(folder):
            raise InvalidInput(
                f"{folder} holds something else than a store.", remedy="Give a new or an empty folder."
            )
        return Store.open(root, clock=edge.now, new_id=edge.new_id, bucket=bucket, may_be_unfinished=True)
    try:
        return Store.look(root, clock=edge.now, new_id=edge.new_id, bucket=bucket)
    except NotFound:
        if must_exist:
            raise
        return None


def enclosing_store(url: str, settings: Settings, scratch: Path) -> str:
    """The store among whose own files `url` lies, by its name; empty when there is none. One look for each
    folder above it. `scratch`: as in `store_at`.
    """
    folder = store_folder(url)
    if folder is not None:
        above = folder.absolute().resolve().parents
        return next((str(path) for path in above if _is_store_folder(path)), "")
    bucket, _, prefix = url.removeprefix("s3://").rstrip("/").partition("/")
    parts = prefix.split("/") if prefix else []
    for count in reversed(range(len(parts))):
        outer = "/".join(("s3:/", bucket, *parts[:count]))
        place = address(outer, settings.store_patience_seconds)
        if Store.look(
            scratch, clock=edge.now, new_id=edge.new_id, bucket=place, must_exist=False
        ).was_begun():
            return outer
    return ""


def _is_store_folder(path: Path) -> bool:
    """A store, or what MODEL_DIR is beside one in a bucket."""
    return (path / "artifacts").is_dir() and ((path / "journal").is_dir() or (path / "views").is_dir())


def _holds_other(folder: Path) -> bool:
    if not folder.exists() or (folder / "journal").is_dir():
        return False
    # A volume of its own may have been made with a folder for what its file system loses.
    return not folder.is_dir() or any(each.name != "lost+found" for each in folder.iterdir())


def address(url: str, patience: float) -> Address:
    """A bucket, with what the usual environment says of its endpoint."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return Address(url, patience=patience, allow_http=endpoint.startswith("http://"))


def open_jobs(settings: Settings) -> LocalJobs:
    """The jobs in DATA_DIR; their children are `serinus` commands with the same settings."""
    return LocalJobs(
        settings.data_dir / "jobs",
        (sys.executable, "-m", "serinus"),
        env={**os.environ, **environment(settings)},
        clock=edge.now,
        new_id=edge.new_id,
        needs={JobKind.TRAIN: Needs(settings.trainings_at_once, settings.train_memory_mb)},
        elsewhere=frozenset() if settings.job_templates is None else KINDS,
    )


def open_cluster_queue(settings: Settings, jobs: LocalJobs) -> ClusterQueue | None:
    """Who runs trainings and imports as Jobs of the cluster that this process is in; None where JOB_TEMPLATES
    says nothing. Raises Misconfigured when there is no cluster, or its client is not installed.
    """
    if settings.job_templates is None:
        return None
    lock = settings.data_dir / "jobs" / ".cluster.lock"
    return ClusterQueue(jobs, cluster_api(), settings.job_templates, lock=lock, clock=edge.now)


def cluster_api() -> "ClusterApi":
    """The cluster that this process is in. Raises Misconfigured."""
    try:
        from serinus.jobs.cluster_api import ClusterApi
    except ModuleNotFoundError as error:
        raise Misconfigured(
            "The client of the Kubernetes API is not installed.", remedy="pip install 'serinus[kubernetes]'"
        ) from error
    return ClusterApi()


def ensure_base(store: Store, settings: Settings) -> Version | None:
    """Publish the first version, current at once, when the store has none; gives its number if it did so.

    It is the packaged base model, or what BASE_WEIGHTS names, signed with SIGNING_KEY if there is one. Raises
    Misconfigured when that is unusable, or when a signature is required that it would not have.
    """
    if store.state().versions:
        return None
    sign = signing.sign_first(settings)
    weights = settings.base_weights
    if weights is None or weights.suffix == ".pt":
        with as_file(files("serinus") / "base") as packaged:
            return _publish(store, packaged, "packaged base model, trained on synthetic pictures", sign)
    if weights.is_dir():
        return _publish(store, weights, f"base weights {weights.name}", sign)
    if weights.suffix != ".onnx" or not weights.is_file():
        raise Misconfigured(
            f"BASE_WEIGHTS {weights} is neither a directory with model.onnx nor an .onnx file.",
            remedy="Leave it unset for the packaged base model.",
        )
    with tempfile.TemporaryDirectory(prefix="serinus-base-") as folder:
        draft = Path(folder)
        shutil.copyfile(weights, draft / "model.onnx")
        contract = weights.with_name("contract.json")
        if not contract.exists():
            raise Misconfigured(f"{contract} is missing.", remedy="It must stand beside BASE_WEIGHTS.")
        shutil.copyfile(contract, draft / "contract.json")
        return _publish(store, draft, f"base weights {weights.name}", sign)


def _publish(store: Store, draft: Path, note: str, sign: Sign) -> Version:
    return store.publish(draft, note=note, actor="first start", initial=True, sign=sign)
