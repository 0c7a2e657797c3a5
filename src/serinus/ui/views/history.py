"""The history: every event, found by any of its fields, and one event by itself."""

from urllib.parse import urlencode

from fastapi.responses import HTMLResponse

from serinus.core.errors import NotFound
from serinus.ui.site import Site

_ON_A_PAGE = 50
_ROLLOUTS = 12


def install(site: Site) -> None:
    """`/history` and `/history/N`."""

    async def listing(
        *,
        kind: str = "",
        actor: str = "",
        version: str = "",
        rollout: str = "",
        text: str = "",
        before: str = "",
    ) -> HTMLResponse:
        wanted = {"kind": kind, "actor": actor, "version": version, "rollout": rollout, "text": text}
        asked = {name: value.strip() for name, value in wanted.items() if value.strip()}
        page = await site.get("/api/history", **asked, before=before, limit=_ON_A_PAGE, order="newest")
        rollouts = await site.get("/api/rollouts", limit=_ROLLOUTS)
        return await site.page(
            "history.html",
            "/history",
            found=page,
            asked=wanted,
            query=urlencode(asked),
            filtered=bool(asked),
            older=urlencode(asked | {"before": page["next"]}) if page["next"] else "",
            before=before,
            kinds=(await site.get("/api/history/kinds"))["kinds"],
            rollouts=rollouts,
        )

    async def event(seq: int) -> HTMLResponse:
        page = await site.get("/api/history", after=seq - 1, limit=1)
        if not page["entries"] or page["entries"][0]["seq"] != seq:
            raise NotFound(f"There is no event {seq}.", remedy="The page History has all that happened.")
        return await site.page("event.html", "/history", item=page["entries"][0])

    site.add("/history", listing, "/history")
    site.add("/history/{seq}", event, "/history")
