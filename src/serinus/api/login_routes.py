"""Logging in to the dashboard: a form brings a token, a cookie keeps it in the browser.

The cookie holds the token itself, so every replica of the dashboard knows it, a restart forgets nobody, and a
token that is revoked is worth nothing from the next request on.
"""

import logging
import re
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from serinus.api.access import COOKIE, LOGIN, LOGOUT, cookie_value
from serinus.api.tokens import Tokens
from serinus.observe.logs import fields

log = logging.getLogger(__name__)

_SECONDS = 12 * 3600
_LOCAL = re.compile(r"/(?![/\\])[!-~]{0,2000}")
"""A path of this server: `//evil.example` and `/\\evil.example` lead elsewhere in browsers."""


def local(path: str) -> str:
    """`path` itself when it leads to a page of this server; else `/`."""
    return path if _LOCAL.fullmatch(path) else "/"


def router(tokens: Tokens) -> APIRouter:
    """`POST /login` and `POST /logout`; their page is `GET /login`."""
    routes = APIRouter(include_in_schema=False)

    @routes.post(LOGIN)
    async def login(
        request: Request,
        token: Annotated[str, Form(max_length=4096)] = "",
        next: Annotated[str, Form(max_length=4096)] = "/",
    ) -> Response:
        given = token.strip()
        if tokens.whose(given.encode("utf-8", "replace")) is None:
            client = request.client.host if request.client else "unknown"
            log.warning("A login was refused.", extra=fields(client=client))
            return RedirectResponse(f"{LOGIN}?wrong=1&next={quote(local(next), safe='/')}", status_code=303)
        reply = RedirectResponse(local(next), status_code=303)
        reply.set_cookie(
            COOKIE,
            cookie_value(given),
            max_age=_SECONDS,
            httponly=True,
            samesite="lax",
            secure=_over_tls(request),
        )
        return reply

    @routes.post(LOGOUT)
    async def logout(request: Request) -> Response:
        reply = RedirectResponse("/", status_code=303)
        reply.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=_over_tls(request))
        return reply

    return routes


def _over_tls(request: Request) -> bool:
    """Whether the browser came by https. Who lies about it harms the own cookie only."""
    proto = request.headers.get("x-forwarded-proto", request.url.scheme)
    return proto.split(",")[0].strip().lower() == "https"
