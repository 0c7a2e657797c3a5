"""A version that is broken on purpose, so that one can see a rollback; alone or as a job.

It is right on square pictures of one size, which is all that the checks before traffic know, and raises on
the tiles at the edge of an area. The job sends both kinds as users would, until somebody has decided. Users
lose nothing: what the canary fails is answered by current.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import httpx

from serinus.bootstrap import signing
from serinus.bootstrap.datasets import Move, reporting
from serinus.bootstrap.process import stop_event
from serinus.bootstrap.publishing import publish_directory
from serinus.bootstrap.settings import Settings
from serinus.bootstrap.wiring import open_store, show_views
from serinus.control import recorded
from serinus.control.recorded import GOLDEN_RESULTS
from serinus.core.enums import VersionState
from serinus.core.errors import Cancelled, Conflict, InvalidInput, NotFound, Unavailable
from serinus.core.ids import Version
from serinus.imagery.decode import encode_png
from serinus.jobs.model import BrokenOutput
from serinus.rollout.state import State, VersionRecord
from serinus.store import Store

NOTE = "broken on purpose: its export works on square pictures only"
_LEARN = "Train a version on the demo data first, then break that one."
_PICTURES = 8
_PAUSE_SECONDS = 0.2
_ENOUGH = 200
"""Requests by which the bar is nearly full; a rollback comes long before."""
_PATIENCE_SECONDS = 1800.0
_REQUEST_SECONDS = 60.0
_OVER = (VersionState.REJECTED, VersionState.CURRENT, VersionState.RETIRED, VersionState.REMOVED)
_WORDS = {
    VersionState.PUBLISHED: "published; it waits for its turn",
    VersionState.VERIFYING: "its checks before traffic are running",
}

Told = Callable[[float, str], None]
Files = dict[str, tuple[str, bytes, str]]


class _Sent(NamedTuple):
    """What came of the pictures that were sent."""

    sent: int = 0
    fallbacks: int = 0
    failed: int = 0

    @property
    def words(self) -> str:
        return (
            f"{self.sent} pictures sent as users would; current answered {self.fallbacks} that the version "
            f"failed; {self.failed} without an answer"
        )


def publish_broken(settings: Settings, *, actor: str, job: Path | None, progress: Move) -> BrokenOutput:
    """Publishes the broken version and sends pictures until it is decided, half an hour at most.

    Raises Conflict without a current version, InvalidInput when that has no square golden pictures,
    Unavailable when the inference service does not answer, Cancelled; in the last case, and when the service
    went away meanwhile, the version stays published. A job that is done again goes on with its version.
    """
    stop = stop_event()
    with reporting(job) as reporter:

        def cancelled() -> bool:
            return stop.is_set() or (reporter is not None and reporter.cancel_requested())

        def told(fraction: float, words: str) -> None:
            progress(fraction, 1.0, words)
            if reporter:
                reporter.progress(fraction, words)

        store = open_store(settings)
        with httpx.Client(base_url=settings.infer, timeout=_REQUEST_SECONDS, trust_env=False) as client:
            _ask(settings, lambda: client.get("/readyz"))
            told(0.02, "breaking the current version")
            name = "" if job is None else job.name
            version = _published(store, name) or _publish(settings, store, actor, name)
            pictures = _pictures(store, version)
            told(0.1, f"version {version} is published")
            sent = _until_decided(store, version, cancelled, told, _users(settings, client, pictures))
        output = _output(store.state().versions[version], sent)
        if reporter:
            reporter.succeed(output)
        return output


def _published(store: Store, job: str) -> Version | None:
    """What this job published before its process was ended, as by a node that is emptied."""
    from serinus.training.broken import JOB, TRAINER

    for record in store.state().versions.values():
        if job and record.note == NOTE:
            with suppress(NotFound):
                lineage = store.manifest(record.digest).lineage
                if lineage.trainer == TRAINER and lineage.config.get(JOB) == job:
                    return record.version
    return None


def _publish(settings: Settings, store: Store, actor: str, job: str) -> Version:
    from serinus.training.broken import fixed_square_grid

    state = store.state()
    if state.current is None:
        raise Conflict("There is no current version to break.", remedy="Start `serinus up`, or train one.")
    digest = state.versions[state.current].digest
    if GOLDEN_RESULTS not in store.manifest(digest).files:
        raise InvalidInput(f"Version {state.current} brought no golden pictures.", remedy=_LEARN)
    _pictures(store, state.current)  # before anything is published
    artifact = store.artifact(digest)
    images, _ = recorded.read(artifact)
    with tempfile.TemporaryDirectory(prefix="serinus-broken-") as folder:
        draft = fixed_square_grid(artifact, Path(folder) / "draft", side=images.shape[2], job=job)
        sign = signing.sign(settings)
        version = publish_directory(store, draft, note=NOTE, actor=actor, sign=sign)
    show_views(store)
    return version


def _pictures(store: Store, version: Version) -> list[Files]:
    """What is sent: golden pictures, whole and cut. Raises InvalidInput when they are no squares."""
    digest = store.state().versions[version].digest
    images, _ = recorded.read(store.artifact(digest))
    height, width = images.shape[1:3]
    # Less would be padded to the square again.
    edge = height - max(store.manifest(digest).contract.stride, height // 4)
    if height != width or edge <= 0:
        raise InvalidInput(
            f"The golden pictures of version {version} are no squares to cut from.", remedy=_LEARN
        )
    shapes = [image[:rows] for image in images[:_PICTURES] for rows in (height, edge)]
    return [_form(encode_png(one[..., :3]), encode_png(one[..., 3:6])) for one in shapes]


def _form(pre: bytes, post: bytes) -> Files:
    return {
        "pre_disaster": ("pre.png", pre, "image/png"),
        "post_disaster": ("post.png", post, "image/png"),
    }


def _users(settings: Settings, client: httpx.Client, pictures: list[Files]) -> Callable[[_Sent], _Sent]:
    """What sends the next picture and counts it."""
    turn = cycle(pictures)

    def send(so_far: _Sent) -> _Sent:
        pair = next(turn)
        reply = _ask(settings, lambda: client.post("/predict", params={"overlay": "none"}, files=pair))
        answered = reply.status_code == httpx.codes.OK
        return _Sent(
            so_far.sent + 1,
            so_far.fallbacks + int(answered and bool(reply.json()["fallback"])),
            so_far.failed + int(not answered),
        )

    return send


def _ask(settings: Settings, request: Callable[[], httpx.Response]) -> httpx.Response:
    """Raises Unavailable."""
    try:
        return request()
    except httpx.HTTPError as error:
        raise Unavailable(
            f"The inference service at {settings.infer} does not answer: {error or type(error).__name__}.",
            remedy="Start it (`serinus up`), or correct INFER_URL.",
        ) from error


def _until_decided(
    store: Store,
    version: Version,
    cancelled: Callable[[], bool],
    told: Told,
    send: Callable[[_Sent], _Sent],
) -> _Sent:
    """Sends while the version is the canary. Raises Cancelled."""
    sent = _Sent()
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        if cancelled():
            raise Cancelled(f"Cancelled; version {version} stays published.")
        state = store.state()
        now = state.versions[version].state
        if now in _OVER:
            break
        if now is VersionState.CANARY:
            sent = send(sent)
            told(min(0.95, 0.3 + 0.65 * sent.sent / _ENOUGH), sent.words)
        else:
            told(0.2, _waiting(state, now))
        time.sleep(_PAUSE_SECONDS)
    return sent


def _waiting(state: State, now: VersionState) -> str:
    rollout = state.rollout
    if now is VersionState.PUBLISHED and rollout is not None:
        return f"published; it waits until the rollout of version {rollout.version} is over"
    return _WORDS[now]


def _output(record: VersionRecord, sent: _Sent) -> BrokenOutput:
    outcome = {
        VersionState.REJECTED: f"Version {record.version} was turned down: {record.reason}",
        VersionState.CURRENT: f"Version {record.version} was promoted: {record.reason}",
    }.get(record.state, f"Version {record.version} is {record.state}; nothing was decided yet.")
    return BrokenOutput(
        version=record.version,
        sent=sent.sent,
        fallbacks=sent.fallbacks,
        failed=sent.failed,
        outcome=outcome,
    )
