"""The data: uploads, data sets, one data set's report, its pairs."""

import asyncio
from collections import Counter
from typing import Any

from fastapi.responses import HTMLResponse

from serinus.core.enums import JobKind
from serinus.ui.site import Site, whole
from serinus.ui.views.jobs import jobs_of

_PIECE_BYTES = 8 << 20
"""What a browser sends at once: little is sent again after a cut."""
_ON_A_PAGE = 12
_SAMPLES = 6
_KINDS = frozenset({JobKind.PREPARE, JobKind.DEMO})


def install(site: Site) -> None:
    """`/data`, `/data/ID` and `/data/ID/pairs`."""

    async def overview() -> HTMLResponse:
        sets, uploads, jobs = await asyncio.gather(
            site.get("/api/datasets"), site.get("/api/uploads"), jobs_of(site, _KINDS)
        )
        return await site.page(
            "data.html",
            "/data",
            datasets=sets["datasets"],
            uploads=uploads["uploads"],
            unfinished=uploads["unfinished"],
            jobs=jobs,
            piece=_PIECE_BYTES,
        )

    async def dataset(dataset: str) -> HTMLResponse:
        found, report = await asyncio.gather(
            site.get(f"/api/datasets/{dataset}"), site.get(f"/api/datasets/{dataset}/report")
        )
        shown, classes = await _samples(site, found)
        return await site.page(
            "dataset.html",
            "/data",
            d=found,
            report=report,
            kinds=_kinds(report["issues"]),
            samples=shown,
            classes=classes,
            buildings=sum(report["per_class"].values()),
            dropped=report["pairs_found"] - report["pairs_usable"] - report["pairs_post_only"],
        )

    async def pairs(
        dataset: str, split: str = "", disaster: str = "", label: str = "", page: str = "1"
    ) -> HTMLResponse:
        number = whole(page) or 1
        wanted = {"split": split, "disaster": disaster, "label": label}
        found, shown = await asyncio.gather(
            site.get(f"/api/datasets/{dataset}"),
            site.get(
                f"/api/datasets/{dataset}/pairs",
                **wanted,
                offset=(number - 1) * _ON_A_PAGE,
                limit=_ON_A_PAGE,
            ),
        )
        return await site.page(
            "pairs.html",
            "/data",
            d=found,
            pairs=shown["pairs"],
            total=shown["total"],
            classes=shown["classes"],
            wanted=wanted,
            number=number,
            last=max(1, -(-shown["total"] // _ON_A_PAGE)),
        )

    site.add("/data", overview, "/data")
    site.add("/data/{dataset}", dataset, "/data")
    site.add("/data/{dataset}/pairs", pairs, "/data")


async def _samples(site: Site, found: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Some pairs of each disaster, and the names of the classes."""
    disasters = found["disasters"][:_SAMPLES] or [""]
    each = max(1, _SAMPLES // len(disasters))
    pages = await asyncio.gather(
        *(
            site.get(f"/api/datasets/{found['id']}/pairs", disaster=disaster, limit=each)
            for disaster in disasters
        )
    )
    return [pair for page in pages for pair in page["pairs"]], pages[0]["classes"]


def _kinds(issues: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The issues by kind, the most frequent first; what drops pairs before what does not."""
    times = Counter(one["code"] for one in issues)
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for one in issues:
        by_kind.setdefault(one["code"], []).append(one)
    found = [
        {
            "code": code,
            "drops": some[0]["severity"] == "drop",
            "times": times[code],
            "fix": some[0]["fix"],
            "examples": some[:10],
        }
        for code, some in by_kind.items()
    ]
    return sorted(found, key=lambda kind: (not kind["drops"], -kind["times"], kind["code"]))
