"""Wires MLflow: its environment, the import, and the child process in which outcomes are told.

The controller never imports mlflow. A thread of it starts `serinus import mlflow-tags` as a child, with a
time limit: a library that hangs or dies takes nothing along.
"""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from serinus.bootstrap.settings import Settings, environment
from serinus.core.ids import Version
from serinus.store import Store
from serinus.tracking.importing import Imported, Progress, import_draft
from serinus.tracking.registry import CREDENTIALS, MANNERS, PATIENCE, Registry
from serinus.tracking.source import ACTOR_SUFFIX, Source, parse_wanted
from serinus.tracking.teller import Teller
from serinus.tracking.telling import Told, tell

_MEGABYTE = 1_000_000
_TELL_SECONDS = 300.0
_LOOK_BACK = 100
"""How many of the newest outcomes the controller sees to; by hand all are."""


def import_version(
    store: Store,
    settings: Settings,
    uri: str,
    name: str,
    *,
    contract: Path | None,
    note: str,
    user: str,
    progress: Progress,
) -> tuple[Version, Imported]:
    """Publishes `name` (MODEL/VERSION) of the server at `uri` as the next version.

    Raises what `import_draft` and `Store.publish` raise.
    """
    wanted = parse_wanted(name)
    _manners()
    with tempfile.TemporaryDirectory(prefix="serinus-mlflow-") as folder:
        imported = import_draft(
            Registry(uri),
            wanted,
            Path(folder),
            limit_bytes=int(settings.mlflow_max_mb * _MEGABYTE),
            contract=contract,
            progress=progress,
        )
        source = imported.found.source
        note = note or f"MLflow {source.model}/{source.version}"
        return store.publish(imported.draft, note=note, actor=user + ACTOR_SUFFIX), imported


def tell_outcomes(
    store: Store, settings: Settings, *, limit: int | None = None, dry_run: bool = False
) -> list[Told]:
    """Tells MLflow what it was not told yet (see `tracking.telling`).

    MLFLOW_TRACKING_URI comes before the address in the lineage, and only to it credentials of the environment
    are sent: an address in a lineage is what somebody once typed. For a process that does nothing else.
    """
    _manners()
    given = settings.mlflow_tracking_uri
    if given is None:
        for variable in CREDENTIALS:
            os.environ.pop(variable, None)

    def open_registry(source: Source) -> Registry:
        return Registry(given.get_secret_value() if given is not None else source.tracking_uri)

    return tell(store, open_registry, limit=limit, alias=settings.mlflow_alias, dry_run=dry_run)


def start_teller(store: Store, settings: Settings, stop: threading.Event) -> None:
    """Starts the thread that has outcomes told until `stop` is set; it does not keep the process alive."""
    teller = Teller(
        store, lambda: _tell_in_child(settings, stop, _TELL_SECONDS), follow=bool(settings.mlflow_alias)
    )
    threading.Thread(target=teller.run, args=(stop,), name="mlflow-teller", daemon=True).start()


def _tell_in_child(settings: Settings, stop: threading.Event, seconds: float) -> str:
    """Words for what went wrong; empty when all is told."""
    command = [sys.executable, "-m", "serinus", "import", "mlflow-tags", "--quiet"]
    command += ["--limit", str(_LOOK_BACK), "--parent", str(os.getpid())]
    with tempfile.TemporaryFile() as talk:
        child = subprocess.Popen(
            command,
            env={**os.environ, **environment(settings)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=talk,
            start_new_session=True,
        )
        try:
            code = _wait(child, stop, seconds)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        talk.seek(0)
        words = " ".join(talk.read(4000).decode(errors="replace").split())[-500:]
    if code == 0 or stop.is_set():
        return ""
    return f"it took longer than {seconds:g} s" if code is None else words or f"exit code {code}"


def _wait(child: "subprocess.Popen[bytes]", stop: threading.Event, seconds: float) -> int | None:
    """The exit code; None when the time is over or the controller ends."""
    for _ in range(int(seconds / 0.2)):
        if child.poll() is not None or stop.wait(0.2):
            break
    return child.poll()


def _manners() -> None:
    """Before mlflow is imported."""
    os.environ.update(MANNERS)
    for variable, value in PATIENCE.items():
        os.environ.setdefault(variable, value)
