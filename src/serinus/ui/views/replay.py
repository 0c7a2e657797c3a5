"""A rollout's own page: what came of it and why, and its course on a time line."""

from fastapi.responses import HTMLResponse

from serinus.ui.site import Site


def install(site: Site) -> None:
    """`/rollouts/N`."""

    async def rollout(n: int) -> HTMLResponse:
        found = await site.get(f"/api/rollouts/{n}/explain")
        return await site.page("replay.html", "/history", told=found)

    site.add("/rollouts/{n}", rollout, "/history")
