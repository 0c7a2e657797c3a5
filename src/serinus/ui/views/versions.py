"""The versions: a table, one version with its card, two beside each other."""

import asyncio
from typing import Any

from fastapi.responses import HTMLResponse

from serinus.artifact.card import CARD
from serinus.core.errors import InvalidInput
from serinus.ui.site import Site, whole

_ON_A_PAGE = 20
_MOST_ROLLOUTS = 500


def install(site: Site) -> None:
    """`/versions`, `/versions/compare` and `/versions/N`."""

    async def listing(before: str = "") -> HTMLResponse:
        found = (await site.get("/api/versions"))["versions"]
        start = whole(before)
        rest = [one for one in found if start is None or one["version"] < start]
        shown = rest[:_ON_A_PAGE]
        details = await asyncio.gather(
            *(site.get(f"/api/versions/{one['version']}") for one in shown), return_exceptions=True
        )
        rows = [
            {"version": one, "detail": None if isinstance(detail, BaseException) else detail}
            for one, detail in zip(shown, details, strict=True)
        ]
        return await site.page(
            "versions.html",
            "/versions",
            rows=rows,
            total=len(found),
            numbers=[one["version"] for one in found],
            older=shown[-1]["version"] if len(rest) > len(shown) else None,
            outcomes_of=await _outcomes(site),
            policies=await site.get("/api/policies"),
        )

    async def compare(a: str = "", b: str = "") -> HTMLResponse:
        first, second = whole(a), whole(b)
        if first is None or second is None:
            raise InvalidInput("Name two versions.", remedy="Choose them on the page Versions.")
        one, other, gates, compared, sets = await asyncio.gather(
            site.get(f"/api/versions/{first}"),
            site.get(f"/api/versions/{second}"),
            site.get(f"/api/versions/{second}/gates"),
            site.get("/api/comparisons", a=first, b=second),
            site.get("/api/datasets"),
        )
        return await site.page(
            "compare.html",
            "/versions",
            a=one,
            b=other,
            metrics=_beside(one, other),
            golden=gates["golden"] if other["version"]["parent"] == first else [],
            pictures=_pictures(one, other),
            comparisons=compared["comparisons"],
            datasets=sets["datasets"],
            removed=[v["version"] for v in (one["version"], other["version"]) if v["state"] == "removed"],
        )

    async def version(n: int) -> HTMLResponse:
        found, gates, page = await asyncio.gather(
            site.get(f"/api/versions/{n}"),
            site.get(f"/api/versions/{n}/gates"),
            site.get("/api/rollouts", limit=_MOST_ROLLOUTS),
        )
        told = CARD in found["manifest"]["files"]
        card = await site.text(f"/api/versions/{n}/files/{CARD}") if told else ""
        return await site.page(
            "version.html",
            "/versions",
            v=found["version"],
            manifest=found["manifest"],
            signature=found["signature"],
            card=card,
            golden=gates["golden"],
            rollouts=[one for one in page["rollouts"] if one["version"] == n],
            policies=await site.get("/api/policies"),
        )

    site.add("/versions", listing, "/versions")
    site.add("/versions/compare", compare, "/versions")
    site.add("/versions/{n}", version, "/versions")


async def _outcomes(site: Site) -> dict[int, dict[str, Any]]:
    """Version -> its last rollout."""
    found: dict[int, dict[str, Any]] = {}
    for one in (await site.get("/api/rollouts", limit=_MOST_ROLLOUTS))["rollouts"]:
        found.setdefault(one["version"], one)
    return found


def _beside(a: dict[str, Any], b: dict[str, Any]) -> list[tuple[str, float | None, float | None]]:
    """(metric, of a, of b) for every metric that one of them has."""
    first, second = a["manifest"]["metrics"], b["manifest"]["metrics"]
    return [(name, first.get(name), second.get(name)) for name in sorted({*first, *second})]


def _pictures(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Pictures that both artifacts have, and that differ."""
    first, second = a["manifest"]["files"], b["manifest"]["files"]
    return [
        name
        for name in sorted({*first} & {*second})
        if name.endswith((".png", ".jpg")) and first[name]["sha256"] != second[name]["sha256"]
    ]
