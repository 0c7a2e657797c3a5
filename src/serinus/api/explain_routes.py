"""`/api/rollouts`: why a rollout went as it did, and what its answers are like."""

from asyncio import to_thread
from threading import Lock
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Response

from serinus.api.control_deps import ControlDeps
from serinus.api.errors import responses
from serinus.api.schema import answers, answers_words, json_response
from serinus.control import canvas
from serinus.control.chart import chart
from serinus.control.distributions import Distributions, distributions
from serinus.control.explain import Explanation, explain
from serinus.core.errors import NotFound
from serinus.store import Store

DOCUMENTS: list[type] = [Explanation, Distributions]

_KEPT = 4

_Number = Annotated[int, Path(ge=1)]


def router(deps: ControlDeps) -> APIRouter:
    """The routes under `/api/rollouts/{n}`."""
    routes = APIRouter(prefix="/api/rollouts", tags=["State"])
    told = _Told(deps.store)

    @routes.get("/{n}/explain", responses=answers(Explanation, "The explanation") | responses(NotFound))
    async def explain_rollout(n: _Number) -> Response:
        """Why it went as it did: the outcome in words, its time line, and the evidence over time."""
        body = await to_thread(told.explanation, n)
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    @routes.get(
        "/{n}/distributions",
        responses=answers(Distributions, "Of the active rollout, or of the last one") | responses(NotFound),
    )
    async def distribution(n: _Number) -> Response:
        """What the answers of both versions are like: how long they took, and what was in them."""
        return json_response(await to_thread(distributions, deps.store, n))

    @routes.get(
        "/{n}/explain.svg",
        responses=answers_words("The picture", "image/svg+xml") | responses(NotFound),
    )
    async def picture(n: _Number) -> Response:
        """Evidence with its limits, error rates with confidence sequences and the share, over time."""
        drawn = await to_thread(lambda: canvas.svg(chart(explain(deps.store, n))))
        return Response(drawn, media_type="image/svg+xml", headers={"Cache-Control": "no-store"})

    return routes


class _Told:
    """Explanations as they are now: many who watch one rollout share one reading of its slices."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._known: dict[int, tuple[tuple[int, int], bytes]] = {}

    def explanation(self, number: int) -> bytes:
        """Raises NotFound, or Corrupt, naming a damaged file."""
        with self._lock:
            last = self._store.last_frozen(number)
            key = (self._store.state().seq, -1 if last is None else last.k)
            known = self._known.pop(number, None)
            if known is None or known[0] != key:
                known = (key, msgspec.json.encode(explain(self._store, number)))
            self._known[number] = known
            while len(self._known) > _KEPT:
                del self._known[next(iter(self._known))]
            return known[1]
