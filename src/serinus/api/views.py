"""From the store's values to the documents of the control API. Pure: files are read by `api.board`."""

from collections.abc import Mapping, Sequence

from serinus.api.documents import (
    ArmView,
    EvidenceView,
    Health,
    JobView,
    ReplicaView,
    RolloutView,
    VersionView,
)
from serinus.artifact.manifest import Manifest
from serinus.control.ledger import Standing
from serinus.core.enums import Arm, JobState, Stratum, VersionState
from serinus.core.ids import Digest, Version
from serinus.jobs.model import (
    BatchJob,
    BatchOutput,
    BrokenJob,
    BrokenOutput,
    CompareJob,
    CompareOutput,
    DemoJob,
    EvaluateJob,
    EvaluateOutput,
    JobRecord,
    PrepareJob,
    PrepareOutput,
    TrainJob,
    TrainOutput,
)
from serinus.rollout.state import Rollout, State, VersionRecord
from serinus.store import FrozenSlice, Replica, Routes

_SHORT = 12


def version_view(
    record: VersionRecord, manifest: Manifest | None, state: State, replicas: Sequence[Replica]
) -> VersionView:
    """A version; `replicas` are the live ones, `manifest` None when it cannot be read."""
    role = _role(record, state)
    loaded = sum(record.digest in replica.loaded for replica in replicas)
    failed = {r.replica: r.failed[record.digest] for r in replicas if record.digest in r.failed}
    parents = {} if manifest is None else {r.digest: r.version for r in state.versions.values()}
    parent = None if manifest is None else manifest.lineage.parent
    return VersionView(
        version=record.version,
        digest=record.digest,
        sha=record.digest[:_SHORT],
        state=record.state,
        role=role,
        published_at=record.published_at,
        note=record.note,
        reason=record.reason,
        dataset="" if manifest is None else manifest.lineage.dataset,
        parent=None if parent is None else parents.get(parent),
        metrics={} if manifest is None else manifest.metrics,
        health=_health(role is not None, loaded, bool(failed)),
        loaded_on=loaded,
        failed_on=failed,
        restarts=sum(replica.restarts.get(record.digest, 0) for replica in replicas),
    )


def _role(record: VersionRecord, state: State) -> Arm | None:
    if record.version == state.current:
        return Arm.CURRENT
    return Arm.CANARY if record.state is VersionState.CANARY else None


def _health(wanted: bool, loaded: int, failed: bool) -> Health:
    if failed:
        return Health.FAILED
    if loaded:
        return Health.LOADED
    return Health.LOADING if wanted else Health.IDLE


def rollout_view(rollout: Rollout, at: Standing | None, routes: Routes | None) -> RolloutView:
    """A rollout with where its evidence stands; `at` None when that cannot be read."""
    hinted = routes.clock if routes is not None and routes.rollout == rollout.number else 0.0
    clock = max(hinted, 0.0 if at is None else at.window)
    evidence = None if at is None or at.last is None else evidence_view(at, at.last)
    numbers = {} if evidence is None else evidence.numbers
    return RolloutView(
        number=rollout.number,
        version=rollout.version,
        baseline=rollout.baseline,
        phase=rollout.phase,
        share=rollout.share,
        step=rollout.step,
        started_at=rollout.started_at,
        canary_at=rollout.canary_at,
        ended_at=rollout.ended_at,
        code=rollout.code,
        reason=rollout.reason,
        policy=rollout.policy,
        clock=clock,
        window_seconds=rollout.policy.window_seconds,
        seconds_left=max(0.0, rollout.policy.window_seconds - clock),
        arms=_arms(rollout, numbers, Stratum.USERS),
        probes=_arms(rollout, numbers, Stratum.PROBES),
        evidence=evidence,
    )


def evidence_view(at: Standing, last: FrozenSlice) -> EvidenceView:
    """What the evidence up to the slice `last` says."""
    verdict = at.verdict()
    numbers = verdict.numbers
    strata = [f"{each}_e_errors" for each in Stratum if f"{each}_e_errors" in numbers]
    return EvidenceView(
        k=last.k,
        digest=last.digest,
        harm=max((numbers[name] for name in strata), default=numbers["e_errors"]),
        harm_limit=numbers["limit_errors"],
        good=min(numbers["e_good"], numbers["e_good_recent"]),
        good_limit=numbers["limit_good"],
        words=verdict.words,
        blockers=verdict.blockers,
        answers=verdict.answers,
        numbers=numbers,
    )


def _arms(rollout: Rollout, numbers: Mapping[str, float], stratum: Stratum) -> tuple[ArmView, ...]:
    """Both arms as one stratum saw them; nothing before the first evidence, and where no probe was sent."""
    if not numbers or (stratum is Stratum.PROBES and f"{stratum}_canary_requests" not in numbers):
        return ()
    of = {
        Arm.CURRENT: (rollout.baseline, 1 - rollout.share),
        Arm.CANARY: (rollout.version, rollout.share),
    }
    return tuple(
        ArmView(
            arm=arm,
            version=version,
            share=share,
            requests=int(numbers.get(f"{stratum}_{arm}_requests", 0)),
            failures=int(numbers.get(f"{stratum}_{arm}_failures", 0)),
        )
        for arm, (version, share) in of.items()
    )


def replica_view(
    replica: Replica, versions: Mapping[Digest, Version], now: float, fresh_seconds: float
) -> ReplicaView:
    """A replica's heartbeat, with versions for digests."""
    return ReplicaView(
        replica=replica.replica,
        url=replica.url,
        time=replica.time,
        fresh=now - replica.time <= fresh_seconds,
        seq=replica.seq,
        share=replica.share,
        in_flight=replica.in_flight,
        loaded=tuple(sorted(versions[digest] for digest in replica.loaded if digest in versions)),
        loading=tuple(sorted(versions[digest] for digest in replica.loading if digest in versions)),
        failed={str(versions.get(d, d[:_SHORT])): why for d, why in replica.failed.items()},
        restarts={str(versions.get(d, d[:_SHORT])): times for d, times in replica.restarts.items()},
        tripped=bool(replica.trips),
    )


def job_view(record: JobRecord, log: str) -> JobView:
    """A job for people; `log` is the end of its log."""
    progress = record.progress
    return JobView(
        id=record.id,
        kind=record.kind,
        state=record.state,
        title=_title(record),
        created=record.created,
        started=record.started,
        ended=record.ended,
        reason=record.reason,
        fraction=1.0 if record.state is JobState.SUCCEEDED else progress.fraction,
        message=progress.message,
        eta_seconds=progress.eta_seconds if record.active else None,
        metrics=progress.metrics,
        log=log,
        outcome=_outcome(record),
    )


def _title(record: JobRecord) -> str:
    match record.spec:
        case PrepareJob(name="", upload="") as spec:
            words = f"Split of {spec.dataset}"
        case PrepareJob() as spec:
            words = f"Import of {spec.name}" if spec.name else "Import"
        case EvaluateJob() as spec:
            words = f"Evaluation of version {spec.version} on {spec.dataset}"
        case CompareJob() as spec:
            words = f"Comparison of versions {spec.a} and {spec.b} on {spec.dataset}"
        case BatchJob() as spec:
            words = f"Batch {spec.name}".strip()
        case DemoJob() as spec:
            words = f"Demo data, {spec.pairs} pairs"
        case BrokenJob():
            words = "Broken version"
        case TrainJob() as spec:
            note = f": {spec.note}" if spec.note else ""
            words = f"Training, {spec.epochs} epoch{'' if spec.epochs == 1 else 's'}{note}"
    return words


def _outcome(record: JobRecord) -> str:
    match record.output:
        case PrepareOutput(dataset="") as output:
            words = f"{output.pairs_usable} of {output.pairs_found} pairs are usable."
        case PrepareOutput() as output:
            pairs = sum(output.splits.values())
            words = f"Data set {output.dataset}: {pairs} pairs, {output.total_polygons} buildings."
        case EvaluateOutput() as output:
            words = f"mAP50 {output.metrics.get('map50', 0.0):.3f} on {output.dataset}, {output.split}."
        case CompareOutput() as output:
            words = output.words
        case BatchOutput() as output:
            words = f"{output.pairs} pairs, {output.failed} of them failed."
        case BrokenOutput() as output:
            words = output.outcome
        case TrainOutput() as output:
            score = (output.final_metrics or output.best_metrics).get("map50")  # the version's own
            words = f"Published version {output.version}" + (
                f", mAP50 {score:.3f}." if score is not None else "."
            )
        case _:
            words = ""
    return words
