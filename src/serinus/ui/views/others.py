"""The API's own page."""

from fastapi import Request
from fastapi.responses import HTMLResponse

from serinus.ui.reference import documents, operations
from serinus.ui.site import Site


def install(site: Site) -> None:
    """`/docs`."""

    async def docs(request: Request) -> HTMLResponse:
        api = request.app.openapi()
        found = {"operations": operations(api), "documents": documents(api), "info": api["info"]}
        return site.still("docs.html", "/docs", **found)

    site.add("/docs", docs, "/docs")
