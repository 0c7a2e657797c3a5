"""`/model-status`: a pure projection of the registry and of what this replica has loaded."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from msgspec import UNSET, UnsetType

from serinus.api.inference_documents import (
    Batches,
    DeploymentMode,
    Loaded,
    ModelStatus,
    RolloutNow,
    VersionStamp,
)
from serinus.core.enums import Device, RolloutPhase
from serinus.core.ids import Digest
from serinus.rollout.state import State
from serinus.serving.residency import Seat
from serinus.serving.routing import RouteSnapshot, Target
from serinus.store import Routes


def model_status(
    state: State,
    snapshot: RouteSnapshot,
    routes: Routes | None,
    *,
    failed: Mapping[Digest, str],
    store_reachable: bool,
    state_age_seconds: float,
    replica: str,
    device: Device,
    seats: Sequence[Seat],
) -> ModelStatus:
    """The documented members, and ours beside them.

    The mode is `canary` when this replica has the canary loaded: from then on requests may go there. `routes`
    gives the window's clock, which only the controller advances.
    """
    canary = snapshot.canary
    rollout = state.rollout
    clock = (
        routes.clock
        if routes is not None and rollout is not None and routes.rollout == rollout.number
        else 0.0
    )
    window = rollout.policy.window_seconds if rollout is not None else 0.0
    ready: bool | UnsetType = UNSET
    if canary is not None:
        ready = clock >= window
    elif rollout is None and _was_promoted(state):
        ready = True
    return ModelStatus(
        current_model=snapshot.current is not None,
        canary_model=canary is not None,
        deployment_mode=DeploymentMode.PRODUCTION if canary is None else DeploymentMode.CANARY,
        canary_elapsed_minutes=UNSET if canary is None else round(clock / 60, 2),
        ready_for_promotion=ready,
        canary_version=UNSET if canary is None else _stamp(canary),
        current_version=UNSET if snapshot.current is None else _stamp(snapshot.current),
        rollout=UNSET
        if rollout is None
        else RolloutNow(
            number=rollout.number,
            version=rollout.version,
            phase=rollout.phase,
            share=snapshot.share,
            sequential=rollout.sequential,
            clock_seconds=clock,
            window_seconds=window,
        ),
        load_failures=dict(failed),
        store_reachable=store_reachable,
        journal_seq=snapshot.seq,
        state_age_seconds=round(state_age_seconds, 3),
        replica=replica,
        device=device,
        loaded=[_loaded(seat) for seat in seats],
    )


def _loaded(seat: Seat) -> Loaded:
    batching = seat.pool.batching
    return Loaded(
        version=seat.target.version,
        workers=len(seat.pool.pids),
        batching=Batches(
            on=batching.on,
            size=batching.size,
            wait_ms=round(1000 * batching.wait_seconds, 3),
            why=batching.why,
            measured_ms={str(size): round(took, 3) for size, took in batching.milliseconds.items()},
        ),
    )


def _was_promoted(state: State) -> bool:
    """The last rollout ended in a promotion that still stands."""
    last = state.last
    return last is not None and last.phase is RolloutPhase.PROMOTED and last.version == state.current


def _stamp(target: Target) -> VersionStamp:
    moment = datetime.fromtimestamp(target.published_at, UTC).replace(tzinfo=None)
    return VersionStamp(version=target.version, timestamp=moment.isoformat(timespec="seconds"))
