"""Who asks, and whether that suffices: tokens, roles, and what counts as this machine.

What needs a role is listed by what does *not*: any other request that could change something takes an
operator. So no spelling of a path (`//api`, `%2e%2e`, a new line at its end, another case) can make a change
look like something harmless: what is not exactly on a list is refused.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable

import msgspec
from starlette.datastructures import Headers
from starlette.types import Scope

from serinus.api.tokens import Token, Tokens
from serinus.core.enums import Role
from serinus.core.ids import INSIDE
from serinus.observe.principal import NOBODY, Principal

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing."""
COOKIE = "serinus_token"
LOGIN, LOGOUT = "/login", "/logout"
HEALTH = frozenset({"/healthz", "/readyz", "/metrics"})
"""What probes and Prometheus ask, by address and without a token."""
_FORWARDED = frozenset(
    {
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "x-envoy-external-address",
        "x-envoy-internal",
    }
)
_FORWARDED_START = "x-forwarded-"
_OPEN = ("/static/", "/errors/")
_LOOKING = frozenset({"/api/predict", "/api/policies/check", "/api/policies/preview"})
"""Asked with POST, but they change nothing."""
_PREDICTING = re.compile(r"/predict|/batch_predict|/v2/models/[^/\s]+(/versions/[^/\s]+)?/infer")

Needed = Callable[[str, str], Role | None]
"""The role that a method and a path need; None: none."""


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Who may do what, from where."""

    needed: Needed
    """What a request from beyond this machine needs."""
    tokens: Tokens
    trust_loopback: bool = True
    """Whether who connects from a loopback address may do everything (setting TRUST_LOOPBACK)."""
    login: bool = False
    """Whether there is a page to log in at, and a cookie counts."""


def to_control(*, anonymous_read: bool) -> Needed:
    """What the control app's requests need."""

    def needed(method: str, path: str) -> Role | None:
        if method in SAFE:
            open_ = path in HEALTH or path == LOGIN or path.startswith(_OPEN)
            return None if anonymous_read or open_ else Role.VIEWER
        if method == "POST" and path in (LOGIN, LOGOUT):
            return None
        return Role.VIEWER if method == "POST" and path in _LOOKING else Role.OPERATOR

    return needed


def to_infer(method: str, path: str) -> Role | None:
    """What the inference service's requests need: predictions are for everybody who can reach it."""
    if method in SAFE or (method == "POST" and _PREDICTING.fullmatch(path)):
        return None
    return Role.OPERATOR


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and how it is known."""

    who: Principal
    by_cookie: bool = False
    """The browser added the token by itself, so the page that asks must be one of ours."""
    wrong: bool = False
    """A token was brought that is none of ours."""


def asking(scope: Scope, headers: Headers, access: Access) -> Asking:
    """Who makes this request."""
    client = scope.get("client")
    if client and client[0] == INSIDE:
        return Asking(who=Principal(role=Role.VIEWER, here=True))
    here = access.trust_loopback and is_direct(client, headers)
    given, by_cookie = _given(headers, cookies=access.login)
    token = None if given is None else access.tokens.whose(given)
    if token is not None:
        return Asking(who=_principal(token, here), by_cookie=by_cookie)
    who = Principal(role=Role.OPERATOR, here=True) if here else NOBODY
    return Asking(who=who, wrong=given is not None)


def suffices(role: Role | None, needed: Role | None) -> bool:
    """Whether somebody of this role may do what needs that one."""
    return needed is None or role is Role.OPERATOR or role is needed


def is_direct(client: tuple[str, int] | list[object] | None, headers: Headers) -> bool:
    """Whether the request comes from this machine itself.

    A reverse proxy on this machine connects from loopback, too. What it adds to a request tells, and so does
    a name of the outside in Host. One that adds nothing and asks for `127.0.0.1` cannot be told from a person
    at this machine; for it there is TRUST_LOOPBACK.
    """
    if not is_loopback(client):
        return False
    if any(name in _FORWARDED or name.startswith(_FORWARDED_START) for name in headers):
        return False
    hosts = headers.getlist("host")
    return len(hosts) == 1 and is_loopback_name(host_name(hosts[0]) or "")


def is_loopback(client: tuple[str, int] | list[object] | None) -> bool:
    """Whether the peer's address is of this machine; an unknown peer is not."""
    if not client:
        return False
    try:
        address = ipaddress.ip_address(str(client[0]))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def is_loopback_name(name: str) -> bool:
    """Whether a host name, in lower case, is of this machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    return is_loopback((name.strip("[]"), 0))


HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")


def host_name(host: str) -> str | None:
    """The name in a Host header, in lower case and without a port; None for what is no such header."""
    match = HOST.fullmatch(host)
    return match.group(1).lower().rstrip(".") if match else None


def host_allowed(name: str, allowed: tuple[str, ...]) -> bool:
    """Whether `name` is one of these: names, `*.example.org` for all below it, addresses, networks, `*`."""
    if is_loopback_name(name):
        return True
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        address = None
    return any(_matches(name, address, pattern.lower()) for pattern in allowed)


def _matches(name: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, pattern: str) -> bool:
    if pattern.startswith("*."):
        return name.endswith(pattern[1:])
    if pattern in ("*", name):
        return True
    if address is None:
        return False
    try:
        return address in ipaddress.ip_network(pattern.strip("[]"), strict=False)
    except ValueError:
        return False


def _principal(token: Token, here: bool) -> Principal:
    return Principal(name=token.name, role=token.role, here=here)


def _given(headers: Headers, *, cookies: bool) -> tuple[bytes | None, bool]:
    """The token that was brought, and whether in a cookie. Two of a kind are none: nobody knows which."""
    credentials = headers.getlist("authorization")
    if credentials:
        return (_credential(credentials[0]) if len(credentials) == 1 else b""), False
    if not cookies:
        return None, False
    values = [one for line in headers.getlist("cookie") for one in _cookies(line)]
    if len(values) != 1:
        return (b"" if values else None), bool(values)
    return cookie_token(values[0]), True


def _credential(authorization: str) -> bytes:
    scheme, _, value = authorization.partition(" ")
    given = value.strip().encode("latin-1")  # the bytes as they came: Starlette decodes headers so
    match scheme.lower():
        case "bearer":
            return given
        case "basic":
            try:
                return base64.b64decode(given, validate=True).partition(b":")[2]
            except binascii.Error:
                return b""
    return b""


def _cookies(line: str) -> list[str]:
    """The values of our cookie in a Cookie header."""
    pairs = (pair.strip().partition("=") for pair in line.split(";"))
    return [value.strip().strip('"') for name, _, value in pairs if name.strip() == COOKIE]


def cookie_value(token: str) -> str:
    """A token as a cookie may hold it."""
    return base64.urlsafe_b64encode(token.encode()).rstrip(b"=").decode()


def cookie_token(value: str) -> bytes:
    """The token in a cookie; empty for what is none."""
    try:
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        return b""
