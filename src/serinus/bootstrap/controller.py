"""The controller process: verifies, judges, promotes, rolls back."""

import logging
import socket

from serinus.bootstrap import edge, signing
from serinus.bootstrap.process import die_with_parent, stop_event
from serinus.bootstrap.settings import Settings
from serinus.bootstrap.tracking import start_teller
from serinus.bootstrap.wiring import cluster_api, ensure_base, open_for_loop
from serinus.control.controller import Controller
from serinus.control.leadership import Leadership
from serinus.control.probes import HttpProber
from serinus.control.settings import ControllerSettings
from serinus.control.trust import Trust, judge
from serinus.core.errors import Corrupt, NotFound, Unavailable
from serinus.observe import logs
from serinus.rollout.events import Event, Held
from serinus.store import Store

_LOOK_SECONDS = 2.0
_LOADS = 5
"""A replica gives a version up sooner than after so many loads; who has not waits for something else."""
log = logging.getLogger("serinus.controller")


def _tell(event: Event) -> None:
    level = logging.WARNING if isinstance(event.body, Held) else logging.INFO  # a person is asked
    kind = type(event.body).__name__
    log.log(level, "#%d %s", event.seq, event.reason, extra=logs.fields(kind=kind))


def _alive(settings: Settings) -> None:
    """Says to a liveness probe that the loop turns."""
    if settings.sign_of_life is None:
        return
    try:
        settings.sign_of_life.touch()
    except OSError as error:  # decisions do not depend on it; the probe says the rest
        log.warning("SIGN_OF_LIFE cannot be written: %s", error)


def _has_base(store: Store, settings: Settings) -> bool:
    """Whether a first version is there; False while the store is away (which is in the log)."""
    try:
        ensure_base(store, settings)
    except Unavailable:
        return False
    return True


def _warn_of_current(store: Store, trust: Trust) -> None:
    """Requiring signatures does not take away what serves already; it is said."""
    state = store.state()
    if state.current is None:
        return
    try:
        made = judge(store, state.versions[state.current].digest, trust, required=False)
    except (Corrupt, NotFound) as error:
        log.warning("the signature of the current version cannot be looked at: %s", error)
        return
    if made.refused:
        log.warning(
            "version %d is current and goes on serving, though it would be refused now: %s",
            state.current,
            made.words,
        )


def _leadership(settings: Settings) -> Leadership | None:
    if not settings.controller_lease:
        return None
    holder = f"{socket.gethostname()}-{edge.new_id()[:8]}"
    return Leadership(cluster_api(), name=settings.controller_lease, holder=holder, clock=edge.now)


def run(settings: Settings, parent: int | None = None) -> None:
    """Tick until SIGTERM."""
    die_with_parent(parent)
    stop = stop_event()
    logs.setup(format=settings.log_format, level=settings.log_level)
    store = open_for_loop(settings)
    trust = signing.trust(settings)
    trust.keys()  # a key that cannot be read is said now, not at the first version
    while not _has_base(store, settings):
        _alive(settings)
        if stop.wait(_LOOK_SECONDS):
            return
    _warn_of_current(store, trust)
    start_teller(store, settings, stop)
    leadership = _leadership(settings)
    controller = Controller(
        store,
        ControllerSettings(
            policy=settings.default_policy,
            policy_name=settings.policy,
            trust=trust,
            tick_seconds=settings.tick_seconds,
            candidate_seconds=_LOADS * settings.load_timeout_seconds,
            trial_seconds=settings.trial_seconds,
            trial_memory_mb=settings.trial_memory_mb,
            datasets=settings.data_dir / "datasets",
            import_settle_seconds=settings.import_settle_seconds,
            import_give_up_seconds=settings.import_give_up_seconds,
            import_size=settings.img_size,
            import_limits=settings.import_limits,
        ),
        clock=edge.now,
        prober=HttpProber(settings.infer),
        notify=_tell,
        works=lambda: leadership is None or leadership.works,
    )
    if leadership is not None:
        leadership.start()
    controller.run(stop, lambda: _alive(settings))
    if leadership is not None:
        leadership.stop()
