"""Logging in with a token."""

from typing import Annotated

from fastapi import Query
from fastapi.responses import HTMLResponse

from serinus.ui.site import Site


def install(site: Site) -> None:
    """`/login`."""

    async def login(
        wrong: bool = False, next_: Annotated[str, Query(alias="next", max_length=4096)] = "/"
    ) -> HTMLResponse:
        return site.still("login.html", "/login", wrong=wrong, next=next_)

    site.add("/login", login, "/login")
