"""A stage for the control app and its pages: a real store and real jobs in a folder, and a clock set by hand.

The versions are drafts without a real model: the control app never opens one.
"""

import asyncio
import hashlib
import io
import os
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
from fastapi import FastAPI

from serinus.api.control_app import ControlDeps, ControlSettings, build_control_app
from serinus.artifact.manifest import Contract, Lineage
from serinus.control.ledger import standing
from serinus.core.enums import Arm, FailureKind, ReasonCode, Stratum
from serinus.core.ids import Version
from serinus.data.report import Report, Verdict
from serinus.evidence.analysis import observe
from serinus.evidence.counts import Categories, Cell, latency_bin
from serinus.jobs.cluster import KINDS, Cluster, ClusterQueue
from serinus.jobs.local import LocalJobs
from serinus.rollout.events import Event, Held, Promoted, Rejected, RolledBack, RolloutStarted, Verified
from serinus.rollout.policy import Policy
from serinus.store import Address, FrozenSlice, Replica, Routes, Store
from serinus.ui import install_pages

NOON = 1_795_435_200.0
BOARD_SECONDS = 0.02
"""How old the state may be that a page shows."""
"""2026-11-23 12:00:00 UTC."""
CHILD = """
import sys, time
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("--job") + 1])
from serinus.jobs.report import JobReporter
report = JobReporter(folder, clock=time.time, every_seconds=0)
epochs = 10
for epoch in range(1, 5):
    print(f"epoch {epoch}/{epochs}  loss {2.4 / epoch:.3f}  mAP50 {0.2 + epoch / 10:.3f}")
report.progress(0.4, "epoch 4 of 10", step=4, steps=10, metrics={"map50": 0.6}, eta_seconds=38)
while not report.cancel_requested():
    time.sleep(0.02)
report.cancel()
"""

TRAINERS = """[
 {"name": "compact", "licence": "Apache-2.0", "summary": "Quick on CPUs", "source": "serinus", "problem": ""},
 {"name": "ultralytics", "licence": "AGPL-3.0", "summary": "YOLO", "source": "serinus", "problem": ""},
 {"name": "odd", "licence": "", "summary": "", "source": "odd 1", "problem": "odd is not installed"}]"""


def _latency(successes: int, spread: Callable[[int], Mapping[int, int]] | None) -> dict[int, int]:
    if not successes:
        return {}
    return {latency_bin(0.1): successes} if spread is None else dict(spread(successes))


def zipped(content: bytes = b"a picture") -> bytes:
    """A zip archive with one member."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("content", content)
    return data.getvalue()


class Stage:
    """Everything that a test of the control app touches. `now` is the time."""

    def __init__(
        self,
        root: Path,
        *,
        inference: Any = None,
        bucket: Address | None = None,
        simulate: tuple[str, ...] = (),
        child: str = CHILD,
        real_jobs: bool = False,
        cluster: Cluster | None = None,
        **settings: Any,
    ) -> None:
        """`child`: the script that plays every job; `real_jobs`: none does, they are `serinus` commands;
        `cluster`: where trainings and imports run, of templates in `root`."""
        self.options = {"simulate": simulate, "child": child, "real_jobs": real_jobs} | settings
        """For a stage on the same folder, after a restart."""
        self.held: list[int] = []
        """Locks of jobs that this process plays, as descriptors."""
        self.now = NOON
        self._ids = 0
        self.root = root
        self.store = Store.open(root / "models", clock=self.clock, new_id=self.new_id, bucket=bucket)
        script = root / "child.py"
        script.write_text(child)
        self.jobs = LocalJobs(
            root / "data" / "jobs",
            (sys.executable, "-m", "serinus") if real_jobs else (sys.executable, str(script)),
            env={
                "PATH": "/usr/bin:/bin",
                "MODEL_DIR": str(root / "models"),
                "DATA_DIR": str(root / "data"),
                "INFER_URL": settings.get("infer_url", ""),
                "OMP_NUM_THREADS": "1",
            },
            clock=self.clock,
            new_id=self.new_id,
            elsewhere=frozenset() if cluster is None else KINDS,
        )
        self.data = root / "data"
        lock = root / "data" / "jobs" / ".cluster.lock"
        self.queue = cluster and ClusterQueue(self.jobs, cluster, root, lock=lock, clock=self.clock)
        transport: httpx.AsyncBaseTransport = (
            httpx.AsyncHTTPTransport(verify=False, trust_env=False)  # no certificates to read for each stage
            if inference is None
            else httpx.ASGITransport(app=inference)
        )
        self.deps = ControlDeps(
            store=self.store,
            jobs=self.jobs,
            settings=ControlSettings(
                **(
                    {"infer_url": "http://infer", "data_dir": self.data, "poll_seconds": BOARD_SECONDS}
                    | settings
                )
            ),
            clock=self.clock,
            new_id=self.new_id,
            cluster=self.queue,
            simulate=simulate,
            trainers=(sys.executable, "-c", f"print({TRAINERS!r})"),
        )
        self.app: FastAPI = build_control_app(self.deps, transport=transport)
        install_pages(self.app, self.app.state.board)

    def clock(self) -> float:
        return self.now

    def new_id(self) -> str:
        self._ids += 1
        return hashlib.sha256(str(self._ids).encode()).hexdigest()[:32]

    def client(self, address: str = "127.0.0.1", host: str = "127.0.0.1:8080") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.app, client=(address, 5000))
        return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")

    def publish(self, note: str = "", *, initial: bool = False, map50: float = 0.7) -> Version:
        draft = self.root / f"draft-{self.new_id()}"
        draft.mkdir()
        (draft / "model.onnx").write_bytes(f"a model, {note}, {self.now}".encode())
        (draft / "contract.json").write_bytes(msgspec.json.encode(Contract()))
        (draft / "lineage.json").write_bytes(
            msgspec.json.encode(Lineage(trainer="compact", dataset="ds-0c1f2e3d4b5a"))
        )
        (draft / "metrics.json").write_bytes(msgspec.json.encode({"map50": map50, "recall": 0.8}))
        return self.store.publish(draft, note=note, actor="publisher", initial=initial)

    def base(self) -> Version:
        """Version 1 is current."""
        return self.publish("The packaged base model", initial=True, map50=0.612)

    def verifying(self, note: str = "", **policy: Any) -> Version:
        """A new version is being verified."""
        version = self.publish(note, map50=0.741)
        self.store.append(
            RolloutStarted(rollout=self.store.state().rollouts + 1, version=version, policy=Policy(**policy)),
            actor="controller",
            reason="the next version in the queue",
        )
        return version

    def canary(self, note: str = "", share: float = 0.5, **policy: Any) -> Version:
        """A new version is the canary."""
        version = self.verifying(note, **policy)
        self.store.append(
            Verified(rollout=self.store.state().rollouts, share=share, report={"golden": 2}),
            actor="controller",
            reason="hashes, trial run and 2 golden sets are fine",
        )
        return version

    def traffic(
        self,
        canary: tuple[int, int],
        current: tuple[int, int],
        *,
        seconds: float = 5.0,
        stratum: Stratum = Stratum.USERS,
        latency: Mapping[Arm, Callable[[int], Mapping[int, int]]] | None = None,
        signals: Mapping[Arm, Callable[[int], Categories]] | None = None,
    ) -> None:
        """Freezes a slice: (requests, failures) of either arm.

        `latency`: successes -> how many in which bin; `signals`: successes -> what the answers were like.
        """
        rollout = self.store.state().rollout
        assert rollout is not None
        at = standing(self.store, rollout)
        cells = tuple(
            Cell(
                arm=arm,
                stratum=stratum,
                share=rollout.share,
                ok=_latency(requests - failures, latency and latency[arm]),
                failed={FailureKind.EXCEPTION: failures} if failures else {},
                signals={} if signals is None else signals[arm](requests - failures),
            )
            for arm, (requests, failures) in ((Arm.CANARY, canary), (Arm.CURRENT, current))
            if requests
        )
        frozen = FrozenSlice(
            rollout=rollout.number,
            k=0 if at.last is None else at.last.k + 1,
            sources={},
            slice=cells,
            clock_increment=seconds,
            clock=at.clock + seconds,
            time=self.now,
            in_flight=0,
            analysis=observe(at.analysis, cells, at.params),
            prev=at.digest,
        )
        assert self.store.freeze(frozen)
        self.now += seconds
        time.sleep(BOARD_SECONDS)  # what the board has read is too old from now on

    def decide(self, kind: str, reason: str) -> Event:
        """The controller decides: promote, roll_back, hold or reject."""
        rollout = self.store.state().rollout
        assert rollout is not None
        at = standing(self.store, rollout)
        numbers = at.verdict().numbers
        number, version = rollout.number, rollout.version
        body = {
            "promote": Promoted(
                rollout=number,
                version=version,
                code=ReasonCode.EVIDENCE_GOOD,
                numbers=numbers,
                evidence=at.digest,
            ),
            "roll_back": RolledBack(
                rollout=number, version=version, code=ReasonCode.ERRORS, numbers=numbers, evidence=at.digest
            ),
            "hold": Held(rollout=number, code=ReasonCode.INSUFFICIENT, numbers=numbers),
            "reject": Rejected(rollout=number, code=ReasonCode.QUALITY_GATE, report={}),
        }[kind]
        return self.store.append(body, actor="controller", reason=reason)

    def heartbeat(self, name: str = "infer-7f3a", failed: dict[str, str] | None = None) -> None:
        """A replica says that it has loaded what serves."""
        state = self.store.state()
        wanted = [state.versions[state.current].digest] if state.current else []
        if state.canary is not None and state.canary.digest not in (failed or {}):
            wanted.append(state.canary.digest)
        self.store.put_replica(
            Replica(
                replica=name,
                time=self.now,
                seq=state.seq,
                loaded=tuple(wanted),
                failed=failed or {},
                share=state.rollout.share if state.rollout else 0.0,
                url="http://127.0.0.1:9000",
            )
        )

    def routes(self, clock: float) -> None:
        rollout = self.store.state().rollout
        assert rollout is not None
        self.store.put_routes(
            Routes(seq=self.store.state().seq, rollout=rollout.number, phase=rollout.phase, clock=clock)
        )

    async def until(self, holds: Callable[[], bool]) -> None:
        """Waits until `holds`; the queue of jobs moves on meanwhile."""
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.to_thread(self.jobs.advance)
                await asyncio.sleep(0.02)

    def end_jobs(self) -> None:
        """Ends what still runs, and waits for it."""
        while self.held:
            os.close(self.held.pop())
        for job in self.jobs.list():
            if job.active:
                self.jobs.cancel(job.id)
        while any(job.active for job in self.jobs.list()):
            self.jobs.advance()
            time.sleep(0.02)

    def dataset(self, name: str = "ds-0c1f2e3d4b5a", pairs: int = 180, source: str = "") -> None:
        """A prepared data set, as far as the control app reads it. `source`: sha256 of its archive."""
        folder = self.data / "datasets" / name
        folder.mkdir(parents=True)
        report = Report(
            dataset_id=name,
            sha256=source,
            verdict=Verdict.OK,
            pairs_found=pairs,
            pairs_usable=pairs,
            splits={"train": pairs},
            per_class={},
            per_disaster={},
            issues=(),
            issues_total=0,
        )
        (folder / "report.json").write_bytes(msgspec.json.encode(report))
        (folder / "manifest.json").write_bytes(msgspec.json.encode({"source_sha256": source}))
