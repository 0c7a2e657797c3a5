"""All pages: `install_pages` adds them to the control app, each with a view of its own."""

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from serinus.ui.headers import SecurityHeaders
from serinus.ui.site import HERE, Board, Defaults, Site
from serinus.ui.views import (
    data,
    disagreements,
    history,
    inference,
    jobs,
    login,
    others,
    replay,
    rollout,
    settings,
    versions,
)

__all__ = ["Board", "Defaults", "install_pages"]

_DEFAULTS = Defaults()


def install_pages(app: FastAPI, board: Board, defaults: Defaults = _DEFAULTS) -> None:
    """Adds the pages, `/static` and the security headers."""
    site = Site(app, board, defaults)
    for view in (
        rollout,
        versions,
        data,
        jobs,
        history,
        replay,
        disagreements,
        settings,
        inference,
        login,
        others,
    ):
        view.install(site)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.add_middleware(SecurityHeaders)
