"""The pictures that both versions of a rollout disagree on most."""

from fastapi.responses import HTMLResponse

from serinus.ui.site import Site, whole

_ROLLOUTS = 100
_ON_A_PAGE = 12


def install(site: Site) -> None:
    """`/disagreements`."""

    async def gallery(rollout: str = "", show: str = "open", page: str = "1") -> HTMLResponse:
        rollouts = (await site.get("/api/rollouts", limit=_ROLLOUTS))["rollouts"]
        newest = rollouts[0]["number"] if rollouts else None
        chosen = newest if (named := whole(rollout)) is None else named
        found = None if chosen is None else await site.get(f"/api/rollouts/{chosen}/disagreements")
        items = [] if found is None else found["items"]
        if show == "open":
            items = [one for one in items if not (one["mark"] or {}).get("dismissed")]
        number = whole(page) or 1
        first = (number - 1) * _ON_A_PAGE
        return await site.page(
            "disagreements.html",
            "/disagreements",
            rollouts=rollouts,
            chosen=chosen,
            found=found,
            items=items[first : first + _ON_A_PAGE],
            total=len(items),
            show=show,
            number=number,
            more=len(items) > first + _ON_A_PAGE,
        )

    site.add("/disagreements", gallery, "/disagreements")
