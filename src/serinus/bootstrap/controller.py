"""The controller process: verifies, judges, promotes, rolls back."""

import logging

from serinus.bootstrap import edge
from serinus.bootstrap.process import die_with_parent, stop_event
from serinus.bootstrap.settings import Settings
from serinus.bootstrap.wiring import ensure_base, open_store
from serinus.control.controller import Controller
from serinus.control.probes import HttpProber
from serinus.control.settings import ControllerSettings
from serinus.observe import logs
from serinus.rollout.events import Event

log = logging.getLogger("serinus.controller")


def _tell(event: Event) -> None:
    log.info("#%d %s", event.seq, event.reason, extra=logs.fields(kind=type(event.body).__name__))


def run(settings: Settings, parent: int | None = None) -> None:
    """Tick until SIGTERM."""
    die_with_parent(parent)
    stop = stop_event()
    logs.setup(format=settings.log_format, level=settings.log_level)
    store = open_store(settings)
    ensure_base(store, settings)
    Controller(
        store,
        ControllerSettings(
            policy=settings.default_policy,
            policy_name=settings.policy,
            tick_seconds=settings.tick_seconds,
            trial_seconds=settings.trial_seconds,
            trial_memory_mb=settings.trial_memory_mb,
        ),
        clock=edge.now,
        prober=HttpProber(settings.infer),
        notify=_tell,
    ).run(stop)
