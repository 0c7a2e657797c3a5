"""The pages: templates over the control API's documents, rendered once per state however many look."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.staticfiles import StaticFiles

from serinus import __version__
from serinus.core.errors import Unavailable
from serinus.ui.formats import FILTERS
from serinus.ui.headers import SecurityHeaders
from serinus.ui.reference import documents, operations

_HERE = Path(__file__).parent
_MODES = {
    "empty": "Empty",
    "production": "Production",
    "verifying": "Checking",
    "canary": "Canary",
    "paused": "Paused",
    "held": "Held",
}
_TONES = {"queued": "wait", "running": "wait", "succeeded": "good", "failed": "bad", "cancelled": ""}


class Board(Protocol):
    """What the pages read. `serinus.api.board.Board` is one."""

    async def document(self) -> tuple[int, dict[str, Any]]:
        """A number that rises with every change, and the document of /api/state."""
        ...

    async def recent(self) -> list[dict[str, Any]]:
        """The newest entries of the history, newest first."""
        ...


class Defaults(NamedTuple):
    """What the training form starts with."""

    epochs: int = 10
    batch: int = 8


_DEFAULTS = Defaults()


class _Rendered(NamedTuple):
    version: int
    live: str


def install_pages(app: FastAPI, board: Board, defaults: Defaults = _DEFAULTS) -> None:
    """Adds `/`, `/live` (what changes of it), `/inference`, `/docs`, `/static` and the security headers."""
    env = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(FILTERS)
    env.globals.update(release=__version__, modes=_MODES, tones=_TONES, defaults=defaults)
    last: list[_Rendered] = []

    async def values() -> dict[str, Any]:
        version, state = await board.document()
        return {
            "version": version,
            "state": state,
            "history": await board.recent(),
            "override": _override(state["rollout"]),
        }

    async def home() -> HTMLResponse:
        try:
            found = await values()
        except Unavailable as error:
            away = env.get_template("away.html")
            words = away.render(page="/", message=error.message, remedy=error.remedy)
            return _page(words, status=503)
        return _page(env.get_template("dashboard.html").render(page="/", **found))

    async def live() -> HTMLResponse:
        version, _ = await board.document()
        if not last or last[0].version != version:
            found = await values()
            last[:] = [_Rendered(found["version"], env.get_template("live.html").render(**found))]
        return _page(last[0].live)

    async def inference() -> HTMLResponse:
        return _page(env.get_template("inference.html").render(page="/inference"))

    async def docs(request: Request) -> HTMLResponse:
        api = request.app.openapi()
        found = {"operations": operations(api), "documents": documents(api), "info": api["info"]}
        return _page(env.get_template("docs.html").render(page="/docs", **found))

    for path, endpoint in (("/", home), ("/live", live), ("/inference", inference), ("/docs", docs)):
        app.add_api_route(path, endpoint, include_in_schema=False, response_class=HTMLResponse)
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    app.add_middleware(SecurityHeaders)


def _page(html: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(html, status_code=status, headers={"Cache-Control": "no-store"})


def _override(rollout: dict[str, Any] | None) -> str:
    """What a promotion now would be against, in words; empty when nothing speaks against it."""
    if rollout is None:
        return ""
    against = list((rollout["evidence"] or {}).get("blockers", ["no evidence was judged yet"]))
    if rollout["seconds_left"] > 0:
        against.insert(0, "the window is not over")
    return f"Promote it although {'; '.join(against)}." if against else ""
