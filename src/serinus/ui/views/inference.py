"""Ask about a pair, or about a whole batch."""

from typing import Any

from fastapi.responses import HTMLResponse

from serinus.core.errors import Unavailable
from serinus.ui.site import Site

_BATCHES = 5
_JOBS = 200


def install(site: Site) -> None:
    """`/inference`."""

    async def inference() -> HTMLResponse:
        batches = await _batches(site)
        try:
            asking = await site.get("/api/asking")
            return await site.page(
                "inference.html", "/inference", asking=asking, choices=choices(asking), batches=batches
            )
        except Unavailable:
            # Replicas go on answering while the store is away, so the page goes on asking.
            latest = max((job["ended"] or job["created"] for job in batches), default=0.0)
            return site.still(
                "inference.html",
                "/inference",
                asking=None,
                choices=choices(None),
                batches=batches,
                now=latest,
                seq=0,
            )

    site.add("/inference", inference, "/inference")


async def _batches(site: Site) -> list[dict[str, Any]]:
    """The newest batches, newest first."""
    found = (await site.get("/api/jobs", limit=_JOBS))["jobs"]
    return [job for job in found if job["kind"] == "batch"][:_BATCHES]


def choices(asking: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Who may be asked: (versions, comma between two; words)."""
    found = [("", "As a user is: a coin may decide")]
    if asking is None:
        return found
    if asking["beside"]:
        versions = asking["beside"]
        found.append(
            (",".join(map(str, versions)), "Both: versions {} and {}, side by side".format(*versions))
        )
    for one in asking["versions"]:
        role = one["role"] or "stands by"
        found.append((str(one["version"]), f"Version {one['version']} ({role})"))
    return found
