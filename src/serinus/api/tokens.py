"""Tokens of people and programs, of which only hashes are kept: a file with one line for each.

    operator alice 2f1c...e9 2026-11-28

A token is 32 random bytes, so its plain SHA-256 cannot be searched for. The file is read again when it
changed: a new token is good, and a revoked one bad, from the next request on.
"""

import base64
import contextlib
import hashlib
import hmac
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from serinus.core.enums import Role
from serinus.core.errors import Conflict, InvalidInput, Misconfigured, NotFound
from serinus.jobs.folder import exclusive, replace

log = logging.getLogger(__name__)

PREFIX = "serinus_"
"""How tokens begin, so that tools that look for secrets in repositories know one."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")
_MODE = 0o600


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a token."""

    name: str
    """Whose it is; stands in the history."""
    role: Role
    sha256: str
    created: str = ""
    """Day, as YYYY-MM-DD."""

    @property
    def line(self) -> str:
        return f"{self.role} {self.name} {self.sha256} {self.created}".rstrip()


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was just made; it cannot be shown again."""

    name: str
    role: Role
    token: str
    file: str


def hashed(token: bytes) -> str:
    """sha256 in hex."""
    return hashlib.sha256(token).hexdigest()


def parse(text: str, source: str) -> list[Token]:
    """The tokens of a file. Raises Misconfigured, naming `source` and the line, for a line that is none."""
    found: list[Token] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        fits = len(words) in (3, 4) and words[0] in tuple(Role) and bool(_NAME.fullmatch(words[1]))
        if not fits or not _HASH.fullmatch(words[2]):
            raise Misconfigured(
                f"Line {number} of {source} is no token.",
                remedy="A line is: role, name, sha256 of the token. `serinus token create` writes it.",
            )
        found.append(Token(name=words[1], role=Role(words[0]), sha256=words[2], created="".join(words[3:])))
    return found


def read(file: Path) -> list[Token]:
    """The tokens in `file`; none when there is no such file. Raises Misconfigured."""
    try:
        return parse(file.read_text(), str(file))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file} cannot be read: {error}.", remedy="See TOKENS_FILE.") from error


def issue(file: Path, name: str, role: Role, secret: bytes, now: float) -> Issued:
    """Makes a token of 32 random bytes and keeps its hash in `file`, which only its owner can read.

    Raises InvalidInput for a name that cannot stand in a history, Conflict when there is one of that name.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name[:80]!r} cannot name a token.",
            remedy="Use at most 64 letters, digits, dots, dashes, underscores and @.",
        )
    text = PREFIX + base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    created = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")
    with _locked(file):
        there = read(file)
        if any(token.name == name for token in there):
            raise Conflict(
                f"There is a token {name} already.", remedy=f"`serinus token revoke {name}`, or another name."
            )
        _write(file, [*there, Token(name=name, role=role, sha256=hashed(text.encode()), created=created)])
    return Issued(name=name, role=role, token=text, file=str(file))


def revoke(file: Path, name: str) -> Token:
    """Forgets a token. Raises NotFound."""
    with _locked(file):
        there = read(file)
        gone = next((token for token in there if token.name == name), None)
        if gone is None:
            raise NotFound(f"There is no token {name[:80]!r} in {file}.", remedy="See `serinus token list`.")
        _write(file, [token for token in there if token is not gone])
    return gone


class Tokens:
    """The tokens that count. Thread-safe."""

    def __init__(self, file: Path | None = None, *, operator: str = "") -> None:
        """`file` may be missing; `operator`: a token of an operator beside it (API_TOKEN)."""
        self._file = file
        self._fixed = (
            [Token(name="operator", role=Role.OPERATOR, sha256=hashed(operator.encode()))] if operator else []
        )
        self._known: tuple[object, list[Token]] = (None, [])

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self._all())

    def whose(self, given: bytes) -> Token | None:
        """The token whose text was given. All are compared, each in constant time."""
        found, sha256 = None, hashed(given)
        for token in self._all():
            if hmac.compare_digest(token.sha256, sha256):
                found = token
        return found

    def _all(self) -> list[Token]:
        return self._fixed + self._read()

    def _read(self) -> list[Token]:
        """What the file holds now; nothing when it cannot be read, for then nobody knows who was revoked."""
        if self._file is None:
            return []
        try:
            stat = self._file.stat()
        except OSError:
            return []
        mark = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        before, tokens = self._known
        if before == mark:
            return tokens
        try:
            tokens = read(self._file)
        except Misconfigured as error:
            log.error("No token of a file is good until it is mended: %s", error)  # noqa: TRY400 - words say all
            tokens = []
        self._known = (mark, tokens)
        return tokens


def _write(file: Path, tokens: list[Token]) -> None:
    replace(file, "".join(f"{token.line}\n" for token in tokens).encode(), _MODE)


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """One writer at a time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(file.parent):
        yield
