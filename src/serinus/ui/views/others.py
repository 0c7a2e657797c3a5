"""Training, and the API's own page."""

from fastapi import Request
from fastapi.responses import HTMLResponse

from serinus.ui.reference import documents, operations
from serinus.ui.site import Site


def install(site: Site) -> None:
    """`/training` and `/docs`."""

    async def training() -> HTMLResponse:
        return await site.page("training.html", "/training")

    async def docs(request: Request) -> HTMLResponse:
        api = request.app.openapi()
        found = {"operations": operations(api), "documents": documents(api), "info": api["info"]}
        return site.still("docs.html", "/docs", **found)

    site.add("/training", training, "/training")
    site.add("/docs", docs, "/docs")
