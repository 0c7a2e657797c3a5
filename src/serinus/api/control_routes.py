"""`/api`: the state, the history, decisions by hand, and what the pages need besides."""

from asyncio import to_thread
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from serinus.api import policy_routes
from serinus.api.board import Board
from serinus.api.control_deps import ControlDeps
from serinus.api.decisions import (
    ByHand,
    Command,
    Decided,
    PolicyCommand,
    ShareCommand,
    StartCommand,
    UndoCommand,
)
from serinus.api.documents import JobView, StateView, VersionDetail, VersionsPage
from serinus.api.errors import responses
from serinus.api.infer_proxy import Infer
from serinus.api.inference_documents import OverlayChoice, PredictReply
from serinus.api.reading import read_command
from serinus.api.schema import answers, answers_words, json_response, live_response, takes, takes_form
from serinus.api.views import job_view
from serinus.control import commands, policies
from serinus.core.errors import Conflict, ModelFault, NotFound, Unavailable
from serinus.core.ids import Version
from serinus.observe.principal import acting
from serinus.rollout.events import Event
from serinus.store import Store

DOCUMENTS: list[type] = [
    Command,
    Decided,
    JobView,
    PolicyCommand,
    PredictReply,
    ShareCommand,
    StartCommand,
    StateView,
    UndoCommand,
    VersionDetail,
    VersionsPage,
]
_C = TypeVar("_C", bound=ByHand)


def router(deps: ControlDeps, board: Board, infer: Infer) -> APIRouter:
    """The routes under `/api`."""
    routes = APIRouter(prefix="/api")

    @routes.get("/state", tags=["State"], responses=answers(StateView, "The state now"))
    async def state() -> Response:
        """Everything the dashboard shows: versions, traffic, evidence, replicas, jobs."""
        return json_response((await board.look()).view)

    @routes.get("/versions", tags=["State"], responses=answers(VersionsPage, "All versions, newest first"))
    async def versions() -> Response:
        """All versions with state, role, metrics and note."""
        return json_response(await board.versions())

    @routes.get(
        "/versions/{n}", tags=["State"], responses=answers(VersionDetail, "The version") | responses(NotFound)
    )
    async def version(n: Annotated[int, Path(ge=1)]) -> Response:
        """One version with its whole manifest."""
        return json_response(await board.detail(n))

    @routes.get(
        "/events",
        tags=["State"],
        responses=answers_words(
            "Server-sent events: `state` {version, state} when something lasting changed, "
            "`tick` {version, seq, time, headline, rollout, jobs} every second otherwise, "
            "`login` and the end when the token that opened it counts no more",
            "text/event-stream",
        )
        | responses(Unavailable),
    )
    async def events(request: Request) -> StreamingResponse:
        """Follows the state. Any number of followers share one reader."""
        return await live_response(board.stream(), request.state.same)

    def decision(name: str, words: str, kind: type[_C], act: Callable[[Store, _C, str], Event]) -> None:
        @routes.post(
            f"/rollout/{name}",
            name=name,
            tags=["Decisions"],
            summary=words,
            responses=answers(Decided, "Done: the event that was appended") | responses(Conflict, NotFound),
            openapi_extra=takes(kind),
        )
        async def decide(request: Request) -> Response:
            command = read_command(await request.body(), kind)
            actor = acting(command.actor)
            event = await to_thread(act, deps.store, command, actor)
            return json_response(Decided(seq=event.seq, entry=await board.entry(event.seq)))

    def _promote(store: Store, command: Command, actor: str) -> Event:
        return commands.promote(
            store,
            actor=actor,
            reason=command.reason,
            expect=command.expect,
            confirm=command.confirm,
            trust=deps.settings.trust,
        )

    def _undo(store: Store, command: UndoCommand, actor: str) -> Event:
        return commands.undo(
            store,
            version=None if command.version is None else Version(command.version),
            actor=actor,
            reason=command.reason,
            expect=command.expect,
            trust=deps.settings.trust,
        )

    decision("promote", "Makes the canary current now", Command, _promote)
    decision("rollback", "Ends the rollout; current keeps all traffic", Command, _rollback)
    decision("undo", "Brings a version back that was current before", UndoCommand, _undo)
    decision("pause", "Stops the clock and promotion; rollback stays armed", Command, _pause)
    decision("resume", "Ends a pause or a hold", Command, _resume)

    def _start(store: Store, command: StartCommand, actor: str) -> Event:
        return commands.start(
            store,
            Version(command.version),
            policy=policies.named(store, command.policy or deps.settings.policy_name, deps.settings.policy),
            actor=actor,
            reason=command.reason,
            expect=command.expect,
        )

    decision("start", "Starts a rollout of a version that is already there", StartCommand, _start)

    def _change(store: Store, command: PolicyCommand, actor: str) -> Event:
        return commands.change_policy(
            store,
            policy=policy_routes.policy_of(deps, command),
            step=command.step,
            actor=actor,
            reason=command.reason,
            expect=command.expect,
        )

    decision("share", "Gives the canary another share; the evidence goes on", ShareCommand, _share)
    decision("policy", "Lets the active rollout obey another policy", PolicyCommand, _change)

    @routes.post(
        "/jobs/{job}/cancel",
        tags=["Jobs"],
        responses=answers(JobView, "Asked to stop") | responses(NotFound, Conflict),
    )
    async def cancel(job: str) -> Response:
        """Stops a job; nothing half-done is kept."""
        return json_response(job_view(await to_thread(deps.jobs.cancel, job), ""))

    @routes.post(
        "/predict",
        tags=["Predictions"],
        responses=answers(PredictReply, "What the inference service answers to /predict")
        | responses(NotFound, Unavailable, ModelFault),
        openapi_extra=takes_form({"pre_disaster": "Picture before", "post_disaster": "Picture after"}),
    )
    async def predict(
        request: Request,
        overlay: Annotated[
            OverlayChoice | None, Query(description="Picture with boxes; png when not given")
        ] = None,
        version: Annotated[
            int | None, Query(ge=1, description="This loaded version and no other; then it is no evidence")
        ] = None,
    ) -> Response:
        """Hands a pair on to the inference service's /predict (same form, same answer)."""
        wanted = {"overlay": overlay, "version": version}
        return await infer.predict(request, {name: str(value) for name, value in wanted.items() if value})

    return routes


def _rollback(store: Store, command: Command, actor: str) -> Event:
    return commands.rollback(store, actor=actor, reason=command.reason, expect=command.expect)


def _share(store: Store, command: ShareCommand, actor: str) -> Event:
    return commands.change_share(
        store, command.share, actor=actor, reason=command.reason, expect=command.expect
    )


def _pause(store: Store, command: Command, actor: str) -> Event:
    return commands.pause(store, actor=actor, reason=command.reason, expect=command.expect)


def _resume(store: Store, command: Command, actor: str) -> Event:
    return commands.resume(store, actor=actor, reason=command.reason, expect=command.expect)
