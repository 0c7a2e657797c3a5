"""Probes: golden pairs that the controller sends through the front door when users bring too little evidence.

They are requests like any other, marked as a stratum of their own, and the replica tosses a coin for each.
What happens to the transport of a probe is "could not measure": logged, and never held against a version.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol

import httpx

from serinus.core.errors import SerinusError

log = logging.getLogger(__name__)

STRATUM_HEADER = "X-Serinus-Stratum"
PROBE = "probe"
GOLDEN_HEADER = "X-Serinus-Golden"
BUILDINGS = "buildings"
"""Value of the header where the pair shows buildings, so that an empty answer is a wrong one."""
_MOST_BEHIND = 5.0
"""Probes that fell behind by more than this many seconds are not caught up on."""
_GOODBYE_SECONDS = 2.0
"""How long `close` waits for a probe on its way; its thread does not keep the process alive."""


class ProbePair(NamedTuple):
    """Two pictures as files: PNG bytes."""

    pre: bytes
    post: bytes
    buildings: bool = False
    """Whether it is known to show any."""


class Prober(Protocol):
    """What the controller needs of a prober."""

    def aim(self, per_second: float, pairs: Callable[[], Sequence[ProbePair]]) -> None:
        """Sends at this rate from now on, until told otherwise; 0 stops."""

    def close(self) -> None:
        """Stops for good."""


class HttpProber:
    """Sends probes to `<url>/predict` from a thread of its own.

    `pairs` is asked for once each time the rate rises from 0. Times are seconds of `monotonic`.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = f"{url.rstrip('/')}/predict"
        logging.getLogger("httpx").setLevel(logging.WARNING)  # its line for each probe would bury the rest
        self._headers = {STRATUM_HEADER: PROBE, **(headers or {})}
        self._timeout = timeout_seconds
        self._monotonic = monotonic
        self._rate = 0.0
        self._pairs: Callable[[], Sequence[ProbePair]] = tuple
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._trouble = ""

    def __enter__(self) -> "HttpProber":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def aim(self, per_second: float, pairs: Callable[[], Sequence[ProbePair]]) -> None:
        with self._changed:
            if self._closed:
                return
            if per_second != self._rate:
                self._rate, self._pairs = per_second, pairs
                self._changed.notify_all()
            if per_second > 0 and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="prober", daemon=True)
                self._thread.start()

    def close(self) -> None:
        with self._changed:
            self._closed, self._rate = True, 0.0
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=_GOODBYE_SECONDS)

    def _run(self) -> None:
        # Addresses of the environment's proxies are not for probes: they go where INFER_URL says.
        with httpx.Client(timeout=self._timeout, headers=self._headers, trust_env=False) as client:
            while self._wait_for_work():
                try:
                    self._send_while_aimed(client, itertools.cycle(self._pairs()))
                except (SerinusError, OSError) as error:
                    self._note(f"no pictures to probe with: {error}")
                    self._pause(self._timeout)
                except Exception as error:
                    # Without probes an idle rollout would never end: whatever it was, try again.
                    log.exception("the prober stumbled; it goes on")
                    self._note(f"{type(error).__name__}: {error}")
                    self._pause(self._timeout)

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._rate > 0)
            return not self._closed

    def _send_while_aimed(self, client: httpx.Client, pairs: "itertools.cycle[ProbePair]") -> None:
        due = self._monotonic()
        while (rate := self._rate) > 0:
            pair = next(pairs, None)
            if pair is None:
                self._note("no pictures to probe with")
                self._pause(self._timeout)
                return
            self._send(client, pair)
            due = max(due + 1.0 / rate, self._monotonic() - _MOST_BEHIND)
            self._pause(due - self._monotonic())

    def _pause(self, seconds: float) -> None:
        """Waits, but no longer than until the rate changes."""
        with self._changed:
            rate = self._rate
            self._changed.wait_for(lambda: self._closed or self._rate != rate, timeout=max(0.0, seconds))

    def _send(self, client: httpx.Client, pair: ProbePair) -> None:
        try:
            reply = client.post(
                self._url,
                params={"overlay": "none"},
                headers={GOLDEN_HEADER: BUILDINGS} if pair.buildings else None,
                files={
                    "pre_disaster": ("pre.png", pair.pre, "image/png"),
                    "post_disaster": ("post.png", pair.post, "image/png"),
                },
            )
            refused = (
                "" if reply.is_success else f"{self._url} answered {reply.status_code}: {reply.text[:200]}"
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            refused = f"{self._url} cannot be reached: {error}"
        self._note(refused)

    def _note(self, trouble: str) -> None:
        """Logs when trouble begins and when it ends, not each time."""
        if bool(trouble) != bool(self._trouble):
            if trouble:
                log.warning("probes could not measure: %s", trouble)
            else:
                log.info("probes measure again")
        self._trouble = trouble
