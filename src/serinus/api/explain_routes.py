"""`/api/rollouts`: why a rollout went as it did."""

from asyncio import to_thread
from typing import Annotated

from fastapi import APIRouter, Path, Response

from serinus.api.control_deps import ControlDeps
from serinus.api.errors import responses
from serinus.api.schema import answers, answers_words, json_response
from serinus.control import canvas
from serinus.control.chart import chart
from serinus.control.explain import Explanation, explain
from serinus.core.errors import NotFound

DOCUMENTS: list[type] = [Explanation]

_Number = Annotated[int, Path(ge=1)]


def router(deps: ControlDeps) -> APIRouter:
    """The routes under `/api/rollouts`."""
    routes = APIRouter(prefix="/api/rollouts", tags=["State"])

    @routes.get("/{n}/explain", responses=answers(Explanation, "The explanation") | responses(NotFound))
    async def explain_rollout(n: _Number) -> Response:
        """Why it went as it did: the outcome in words, its time line, and the evidence over time."""
        return json_response(await to_thread(explain, deps.store, n))

    @routes.get(
        "/{n}/explain.svg",
        responses=answers_words("The picture", "image/svg+xml") | responses(NotFound),
    )
    async def picture(n: _Number) -> Response:
        """Evidence with its limits, error rates with confidence sequences and the share, over time."""
        drawn = await to_thread(lambda: canvas.svg(chart(explain(deps.store, n))))
        return Response(drawn, media_type="image/svg+xml", headers={"Cache-Control": "no-store"})

    return routes
