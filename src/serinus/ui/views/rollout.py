"""The home page: a rollout on its way, and what may be decided about it."""

import asyncio
from contextlib import suppress
from typing import Any, NamedTuple

from fastapi.responses import HTMLResponse

from serinus.core.errors import NotFound, Unavailable
from serinus.ui.histogram import bars, histogram
from serinus.ui.site import Site, html


class _Rendered(NamedTuple):
    version: int
    live: str
    state: dict[str, Any]


def install(site: Site) -> None:
    """`/`, and `/live`: what changes of it, rendered once for all who look."""
    last: list[_Rendered] = []
    rendering = asyncio.Lock()

    async def live_part() -> _Rendered:
        wanted = await site.board.version()
        async with rendering:  # an event brings everybody at once: one renders, the others take that
            if not last or last[0].version < wanted:
                version, state = await site.board.document()
                values = {"version": version, "state": state, "history": await site.board.recent()}
                values |= {"override": override(state), "answers": await _answers(site, state)}
                last[:] = [_Rendered(version, site.render("live.html", **values), state)]
            return last[0]

    async def home() -> HTMLResponse:
        shown = await live_part()
        policies = await _policies(site)
        return html(
            site.render("rollout.html", page="/", live=shown.live, state=shown.state, policies=policies)
        )

    async def live() -> HTMLResponse:
        return html((await live_part()).live)

    site.add("/", home, "/")
    site.add("/live", live, "/")


async def _answers(site: Site, state: dict[str, Any]) -> dict[str, Any] | None:
    """What the answers of both versions are like, ready to be drawn; None where nothing is known of them."""
    rollout = state["rollout"] or state["last"]
    if rollout is None:
        return None
    with suppress(NotFound, Unavailable):
        found = await site.get(f"/api/rollouts/{rollout['number']}/distributions")
        return {**found, "histogram": histogram(found["latency"]), "bars": bars(found["answers"])}
    return None


async def _policies(site: Site) -> dict[str, Any]:
    """For the dialog that starts a rollout."""
    with suppress(Unavailable):
        found: dict[str, Any] = await site.get("/api/policies")
        return found
    return {"policies": [], "default": ""}


def override(state: dict[str, Any]) -> str:
    """What a promotion now would be against, in words; empty when nothing speaks against it."""
    rollout = state["rollout"]
    if rollout is None:
        return ""
    against = list((rollout["evidence"] or {}).get("blockers", ["no evidence was judged yet"]))
    if rollout["seconds_left"] > 0:
        against.insert(0, "the window is not over")
    return f"Promote it although {'; '.join(against)}." if against else ""
