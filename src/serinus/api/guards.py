"""What every request passes before an app sees it, as one ASGI middleware.

In this order: a request id; the Host header (a foreign web page whose name was re-bound to 127.0.0.1 has a
foreign Host); for methods that change state, where a browser says the request comes from; from beyond
loopback, a token whose role suffices (`access`); the size of the body, counted while it streams. No Origin
and no Sec-Fetch-Site, as from curl, is fine, unless the token came in a cookie.
"""

import logging
import re
from collections.abc import Mapping
from time import monotonic
from urllib.parse import quote, urlsplit

import msgspec
from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serinus.api.access import (
    HEALTH,
    HOST,
    LOGIN,
    SAFE,
    Access,
    Asking,
    asking,
    host_allowed,
    host_name,
    suffices,
)
from serinus.api.departure import ClientLeft
from serinus.api.errors import UNAUTHENTICATED, internal, problem, problem_of
from serinus.api.forms import BODY, Intake
from serinus.core.errors import Forbidden, InvalidInput, SerinusError, TooLarge, Unavailable
from serinus.core.ids import NewId
from serinus.observe.logs import fields, request_context
from serinus.observe.principal import NOBODY, Principal, principal_context

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DEFAULT_PORT = {"http": "80", "https": "443"}
_JSON_STARTS = (b"{", b"[", b'"')
_DRAIN_SECONDS = 10.0
_CLOSE = {"Connection": "close"}


class GuardRules(msgspec.Struct, frozen=True, kw_only=True):
    """Who may ask, and how much."""

    allowed_hosts: tuple[str, ...] = ()
    """Names (without port) that Host may hold beside loopback names; `*.example.org` for all below it; an
    address or a network of addresses."""
    allowed_origins: tuple[str, ...] = ()
    """Origins (`http://localhost:8080`) that may change state beside the app's own."""
    max_body_bytes: int = 64 * 1024 * 1024
    """Longest request body, in bytes."""
    body_limits: Mapping[str, int] = {}
    """Other limits in bytes for some paths, by exact path; one that ends with / is for all in it."""
    setting: str = "MAX_BODY_MB"
    """Name of the setting behind `max_body_bytes`, for the 413 answer."""
    limit_settings: Mapping[str, str] = {}
    """Names of the settings behind `body_limits`, by path."""
    access: Access | None = None
    """Who may do what; None: everybody everything."""
    health_paths: frozenset[str] = HEALTH
    """Exempt from the Host check: probes and Prometheus ask by address."""


class Guards:
    """The middleware. It also answers a bug in the app with a JSON 500 and logs its cause."""

    def __init__(self, app: ASGIApp, *, rules: GuardRules, new_id: NewId) -> None:
        self.app = app
        self.rules = rules
        self.new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # nothing here speaks WebSocket; what nobody guards is not let in
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else self.new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        with request_context(request_id):
            body = _Body(scope, receive, send, request_id=request_id, rules=self.rules)
            access = self.rules.access
            asked = Asking(who=NOBODY) if access is None else asking(scope, headers, access)
            refusal = refuse(scope, headers, self.rules, asked)
            if refusal is not None:
                await refusal(scope, receive, body.send)
                return
            body.stand_between()
            caller = {"client": scope.get("client")}  # not the scope itself, which would hold itself then
            scope["state"]["same"] = lambda: (
                access is None or asking(caller, headers, access).who == asked.who
            )
            try:
                with principal_context(asked.who):
                    await self.app(scope, body.receive, body.send)
            except _BodyTooLarge:
                await body.answer_too_large()
            except (ClientLeft, ClientDisconnect):
                log.info("The client left.", extra=fields(path=scope["path"]))
            except MemoryError:
                log.exception("There was no memory for a request.", extra=fields(path=scope["path"]))
                if not body.started:
                    await problem_of(_no_memory())(scope, receive, body.send)
            except Exception:
                if body.over and not body.started:  # it stumbled over what it was not given
                    await body.answer_too_large()
                    return
                log.exception("The server failed on a request.", extra=fields(path=scope["path"]))
                if not body.started:
                    await internal()(scope, receive, body.send)
            else:
                await body.answer_too_large()


def _no_memory() -> Unavailable:
    return Unavailable("This machine is short of memory.", remedy="Try again soon.", retry_after=1.0)


def install(app: FastAPI, rules: GuardRules, new_id: NewId) -> None:
    """Puts the guards in front of `app`."""
    app.add_middleware(Guards, rules=rules, new_id=new_id)


def refuse(scope: Scope, headers: Headers, rules: GuardRules, asked: Asking) -> Response | None:
    """The refusal of a request by its head alone, or None."""
    changes = scope["method"] not in SAFE
    try:
        if scope["path"] not in rules.health_paths:
            check_host(headers.getlist("host"), rules.allowed_hosts)
        if "content-length" in headers and "transfer-encoding" in headers:
            both = InvalidInput("The request has both Content-Length and Transfer-Encoding.")
            return problem_of(both, headers=_CLOSE)  # who knows where it ends
        if changes:
            check_origin(headers, rules.allowed_origins)
        return None if rules.access is None else _refuse(scope, headers, rules.access, asked)
    except SerinusError as error:
        return problem_of(error)


def _refuse(scope: Scope, headers: Headers, access: Access, asked: Asking) -> Response | None:
    """What is missing in who asks. Raises Forbidden where somebody is known and may not."""
    method, path, who = scope["method"], scope["path"], asked.who
    needed = access.needed(method, path)
    if not suffices(who.role, needed):
        client = (scope.get("client") or ["unknown"])[0]
        log.warning(
            "A request was refused: its token does not suffice.",
            extra=fields(method=method, path=path, client=client, token=who.name, wrong=asked.wrong),
        )
        if who.role is not None:
            raise Forbidden(
                f"The token {who.name} has the role {who.role}: it may look, not change.",
                remedy="Use a token of an operator.",
            )
        if access.login and method in SAFE and "text/html" in headers.get("accept", ""):
            return RedirectResponse(f"{LOGIN}?next={quote(path, safe='/')}", status_code=303)
        return _unknown(access, asked)
    if method not in SAFE:
        if asked.by_cookie and "origin" not in headers:
            raise Forbidden(
                "A change by a browser that is logged in must say which page makes it (Origin).",
                remedy="A program sends its token as `Authorization: Bearer`, not as a cookie.",
            )
        if needed is not None:
            log.info("A change was asked for.", extra=fields(method=method, path=path, by=_by(who)))
    return None


def _unknown(access: Access, asked: Asking) -> JSONResponse:
    remedy = "Send a token as `Authorization: Bearer`"
    remedy += f", or log in at {LOGIN}." if access.login else "."
    if not access.tokens.any:
        remedy = "There is none yet: `serinus token create --role operator NAME`, or set API_TOKEN."
    words = (
        "The token that was sent is none of ours." if asked.wrong else "This takes a token from elsewhere."
    )
    return problem(
        UNAUTHENTICATED, words, remedy=remedy, headers={"WWW-Authenticate": 'Bearer realm="serinus"'}
    )


def _by(who: Principal) -> str:
    return who.name or ("this machine" if who.here else "nobody")


def check_host(hosts: list[str], allowed: tuple[str, ...]) -> None:
    """Raises Forbidden unless there is one Host header with a loopback or allowed name."""
    name = host_name(hosts[0]) if len(hosts) == 1 else None
    if name is None:
        raise Forbidden("The Host header is missing or malformed.")
    if not host_allowed(name, allowed):
        raise Forbidden(f"The host name {name} is not served here.", remedy="Add it to ALLOWED_HOSTS.")


def check_origin(headers: Headers, allowed: tuple[str, ...] = ()) -> None:
    """Raises Forbidden when a browser says that a foreign page makes this request."""
    origin = headers.get("origin")
    if origin is not None and origin in allowed:
        return
    if headers.get("sec-fetch-site", "").lower() == "cross-site":
        raise Forbidden(
            "Another web site made this request.", remedy="Use the program's own pages or a tool."
        )
    if origin is not None and _authority(origin) != _plain_authority(headers.get("host", ""), origin):
        raise Forbidden(
            "A page of another origin made this request.", remedy="Use the program's own pages or a tool."
        )


def _authority(origin: str) -> str | None:
    """`host:port` of an origin with the port of its scheme filled in; None where there is none (`null`)."""
    parts = urlsplit(origin)
    if parts.scheme not in _DEFAULT_PORT or not parts.netloc:
        return None
    return _plain_authority(parts.netloc, origin)


def _plain_authority(host: str, origin: str) -> str:
    """`host:port` in lower case. Behind a proxy that ends TLS the origin's scheme tells the default port."""
    match = HOST.fullmatch(host)
    if match is None:
        return ""
    port = match.group(2) or _DEFAULT_PORT.get(urlsplit(origin).scheme, "")
    return f"{match.group(1).lower()}:{port}"


class _BodyTooLarge(TooLarge):
    """Ends the reading of a body; the guard answers whatever the app makes of it."""


class _Through:
    """An `Intake` that its `_Body` knows of."""

    def __init__(self, body: "_Body", intake: Intake) -> None:
        self._body = body
        self._intake = intake

    async def read(self) -> memoryview:
        return await self._body.read(self._intake)


class _Body:
    """Counts a request's body and, once it is over the limit, answers in place of the app: 413, or 400 when
    it is JSON of which nobody said that it ends."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, request_id: str, rules: GuardRules
    ) -> None:
        self.scope = scope
        path = scope["path"]
        below = f"{path.rpartition('/')[0]}/"
        self.limit = rules.body_limits.get(path, rules.body_limits.get(below, rules.max_body_bytes))
        self.setting = rules.limit_settings.get(path, rules.limit_settings.get(below, rules.setting))
        self.request_id = request_id
        self.started = False
        self._receive = receive
        self._send = send
        self._size = 0
        self._more = True
        self._answered = False
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        self.over = declared.isdecimal() and int(declared) > self.limit
        self._ends = bool(declared)
        self._start = b""
        self._asks = headers.get("expect", "").lower() == "100-continue"
        """Whether the client waits for a word before it sends the body."""

    def stand_between(self) -> None:
        """A server's offer of the whole body goes through here; a body over the limit is not offered."""
        offers = self.scope.get("extensions", {})
        intake = offers.pop(BODY, None)
        if intake is not None and not self.over:
            offers[BODY] = _Through(self, intake)

    async def read(self, intake: Intake) -> memoryview:
        """The whole body at once, instead of `receive`."""
        self._asks = False
        whole = await intake.read()
        self._more = False
        return whole

    async def receive(self) -> Message:
        if self.over:
            raise self._error()
        self._asks = False  # the server answers 100 now
        message = await self._receive()
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._start = self._start or message.get("body", b"").lstrip()[:1]
            self._more = message.get("more_body", False)
            self.over = self._size > self.limit
            if self.over:
                raise self._error()
        return message

    async def send(self, message: Message) -> None:
        if self.over and not self.started:
            return  # the app's own words about its broken input; `answer_too_large` follows
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.request_id
            if self._asks:
                headers["Connection"] = "close"  # nobody knows whether the body still comes
        await self._send(message)

    async def answer_too_large(self) -> None:
        """Sends the refusal if the body was over the limit and nothing was sent yet."""
        if not self.over or self.started:
            return
        if not self._asks:
            await self._drain()
        self.over = False
        endless = not self._ends and self._start in _JSON_STARTS
        error = self._endless() if endless else self._error()
        await problem_of(error)(self.scope, self._receive, self.send)

    async def _drain(self) -> None:
        """Reads on for a while: a client that is still sending would see a reset, not the answer."""
        until = monotonic() + _DRAIN_SECONDS
        while self._more and self._size < 4 * self.limit and monotonic() < until:
            message = await self._receive()
            if message["type"] != "http.request":
                return
            self._size += len(message.get("body", b""))
            self._more = message.get("more_body", False)

    def _error(self) -> _BodyTooLarge:
        return _BodyTooLarge(f"The request body is larger than {self.limit} bytes.", remedy=self._remedy())

    def _endless(self) -> InvalidInput:
        return InvalidInput(f"The JSON does not end within {self.limit} bytes.", remedy=self._remedy())

    def _remedy(self) -> str:
        return f"The setting {self.setting} is the limit." if self.setting else "Send less at once."
