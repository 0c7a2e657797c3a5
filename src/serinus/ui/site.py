"""What the pages have in common: templates, and the API that they read like any other client."""

from collections.abc import Awaitable, Callable, Mapping
from functools import cache, wraps
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import httpx
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from serinus import __version__
from serinus.core.errors import InvalidInput, NotFound, SerinusError, Unavailable
from serinus.core.ids import INSIDE
from serinus.observe.principal import principal
from serinus.ui.formats import FILTERS
from serinus.ui.here import TABLE, here

HERE = Path(__file__).parent
_MODES = {
    "empty": "Empty",
    "production": "Production",
    "verifying": "Checking",
    "canary": "Canary",
    "paused": "Paused",
    "held": "Held",
}
_TONES = {"queued": "wait", "running": "wait", "succeeded": "good", "failed": "bad", "cancelled": ""}
_OUTCOMES = {"promoted": "good", "rolled_back": "bad", "rejected": "bad", "superseded": ""}
_PAGES = (
    ("/", "Rollout"),
    ("/versions", "Versions"),
    ("/data", "Data"),
    ("/training", "Training"),
    ("/history", "History"),
    ("/disagreements", "Disagreements"),
    ("/inference", "Inference"),
    ("/settings", "Settings"),
    ("/docs", "API"),
)
View: TypeAlias = Callable[..., Awaitable[HTMLResponse]]
_FAULTS: dict[int, type[SerinusError]] = {400: InvalidInput, 404: NotFound, 503: Unavailable}


class Board(Protocol):
    """What the pages read that follow the state. `serinus.api.board.Board` is one."""

    async def version(self) -> int:
        """A number that rises with every change."""
        ...

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
    img_size: int = 640
    trainer: str = "compact"


class Site:
    """Renders pages and adds them to the app."""

    def __init__(self, app: FastAPI, board: Board, defaults: Defaults) -> None:
        self.app = app
        self.board = board
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app, client=(INSIDE, 0)),
            base_url="http://127.0.0.1",
            timeout=None,
        )
        self._defaults = defaults

    def add(self, path: str, view: View, page: str) -> None:
        """Answers GET of `path` with `view`; what goes wrong with a page that says so. `page`: its place in
        the navigation.
        """

        @wraps(view)
        async def guarded(*args: Any, **given: Any) -> HTMLResponse:
            try:
                return await view(*args, **given)
            except (InvalidInput, NotFound, Unavailable) as error:
                return self._fault(error, page)

        self.app.add_api_route(path, guarded, include_in_schema=False, response_class=HTMLResponse)

    async def get(self, path: str, **query: Any) -> Any:
        """A document of the public API. Raises what the API answered with: NotFound, Unavailable ..."""
        return (await self._ask(path, query)).json()

    async def text(self, path: str) -> str:
        """A text of the public API. Raises as `get` does."""
        return (await self._ask(path, {})).text

    async def _ask(self, path: str, query: Mapping[str, Any]) -> httpx.Response:
        params = {name: value for name, value in query.items() if value not in (None, "")}
        reply = await self._client.get(path, params=params)
        if reply.is_success:
            return reply
        problem = reply.json()
        kind = _FAULTS.get(reply.status_code, SerinusError)
        raise kind(problem.get("detail", "The API does not answer."), remedy=problem.get("remedy", ""))

    def render(self, template: str, **values: Any) -> str:
        """A template with values."""
        return _environment().get_template(template).render(defaults=self._defaults, **values)

    async def page(self, template: str, page: str, **values: Any) -> HTMLResponse:
        """A page that shows which event it was rendered after. `page`: its place in the navigation."""
        _, state = await self.board.document()
        return html(
            self.render(template, page=page, state=state, seq=state["seq"], now=state["time"], **values)
        )

    def still(self, template: str, page: str, **values: Any) -> HTMLResponse:
        """A page that needs no state: it is there while the store is away, too."""
        return html(self.render(template, page=page, **values))

    def _fault(self, error: SerinusError, page: str) -> HTMLResponse:
        template = "away.html" if isinstance(error, Unavailable) else "fault.html"
        status = next(code for code, kind in _FAULTS.items() if isinstance(error, kind))
        return html(
            self.render(template, page=page, message=error.message, remedy=here(error.remedy)), status
        )


@cache
def _environment() -> Environment:
    """Of all sites of this process: it keeps what the templates compile to."""
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(FILTERS, here=here)
    found.globals.update(
        release=__version__,
        pages=_PAGES,
        modes=_MODES,
        tones=_TONES,
        outcomes=_OUTCOMES,
        who=principal,
        remedies=TABLE,
    )
    return found


def whole(text: str) -> int | None:
    """The number that a query holds; None for what is none, and for more digits than anything here has."""
    return int(text) if text.isdecimal() and len(text) < 10 else None


def html(words: str, status: int = 200) -> HTMLResponse:
    """A page; what the state is now is never cached."""
    return HTMLResponse(words, status_code=status, headers={"Cache-Control": "no-store"})
