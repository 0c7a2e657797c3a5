"""A batch through the running inference service, alone or as a job that reports to a folder."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from serinus.bootstrap import edge
from serinus.bootstrap.datasets import reporting
from serinus.bootstrap.settings import Settings
from serinus.core.errors import InvalidInput, ModelFault, Unavailable
from serinus.jobs.model import BatchOutput

_SENT, _PREDICTED = 0.2, 0.9
"""Shares of a batch that are over when it was sent, and predicted."""
_CONNECT_SECONDS = 10.0
_LOOK_SECONDS = 0.5
"""How often the service is asked how far it is."""
_LONGEST_SECONDS = 6 * 3600.0
"""For the answer of the service: thousands of pairs on a small machine."""
Told = Callable[[float, str], None]


class _Watched(io.BufferedReader):
    """A file that tells how far it was read."""

    told: Callable[[int], None]

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.told(self.tell())
        return data


def batch(settings: Settings, archive: Path, out: Path, *, job: Path | None, progress: Any) -> BatchOutput:
    """Sends `archive` to INFER_URL and writes the result zip to `out`, which appears whole.

    Raises InvalidInput (the archive), ModelFault, and Unavailable when the service does not answer.
    """
    with reporting(job) as reporter:

        def told(fraction: float, words: str) -> None:
            progress(round(100 * fraction), 100, words)
            if reporter:
                reporter.progress(fraction, words)

        timeout = httpx.Timeout(_LONGEST_SECONDS, connect=_CONNECT_SECONDS)
        try:
            with httpx.Client(base_url=settings.infer, timeout=timeout, trust_env=False) as client:
                name = edge.new_id()
                with _watched(settings.infer, name, told):
                    reply = _send(client, archive, name, told)
                _fetch(client, str(reply["download_url"]), out, told)
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise Unavailable(
                f"The inference service at {settings.infer} does not answer: {why}.",
                remedy="Start it (`serinus up`), or correct INFER_URL.",
            ) from error
        output = BatchOutput(pairs=int(reply["num_pairs"]), failed=int(reply["num_failed"]))
        if reporter:
            reporter.succeed(output)
        return output


@contextmanager
def _watched(url: str, name: str, told: Told) -> Iterator[None]:
    """Meanwhile tells how far the batch `name` is, where the replica that works on it can be asked."""
    over = threading.Event()

    def watch() -> None:
        with httpx.Client(base_url=url, timeout=_CONNECT_SECONDS, trust_env=False) as client:
            while not over.wait(_LOOK_SECONDS):
                with suppress(httpx.HTTPError):
                    reply = client.get(f"/batch-status/{name}")
                    if reply.status_code == httpx.codes.OK and not over.is_set():
                        told(*_how_far(reply.json()))

    thread = threading.Thread(target=watch, name="batch-status")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _how_far(at: dict[str, Any]) -> tuple[float, str]:
    """Fraction and words of a BatchProgress."""
    done, pairs, failed = at["done"], at["pairs"], at["failed"]
    words = f"{done} of {pairs} pairs" + (f", {failed} of them failed" if failed else "")
    return _SENT + (_PREDICTED - _SENT) * done / max(pairs, 1), words


def _send(client: httpx.Client, archive: Path, name: str, told: Told) -> dict[str, Any]:
    size = max(archive.stat().st_size, 1)

    def sent(at: int) -> None:
        if at < size:
            told(_SENT * at / size, f"sending {at / 1e6:,.0f} of {size / 1e6:,.0f} MB")
        else:
            told(_SENT, "the inference service is at work")

    with _Watched(io.FileIO(archive)) as file:
        file.told = sent
        files = {"zipfile": (archive.name, file)}
        reply = client.post("/batch_predict", files=files, headers={"X-Request-ID": name})
    document: dict[str, Any] = reply.json() if "json" in reply.headers.get("content-type", "") else {}
    if reply.status_code == httpx.codes.OK:
        return document
    words = str(document.get("error") or f"The inference service answered {reply.status_code}.")
    remedy = str(document.get("remedy", ""))
    if reply.is_client_error:
        raise InvalidInput(words, remedy=remedy)
    if reply.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        raise Unavailable(words, remedy=remedy)
    raise ModelFault(words, remedy=remedy)


def _fetch(client: httpx.Client, url: str, out: Path, told: Told) -> None:
    unfinished = out.with_name(f".{out.name}.part")
    try:
        with client.stream("GET", url) as reply, unfinished.open("wb") as file:
            reply.raise_for_status()
            total = int(reply.headers.get("content-length", 0)) or 1
            for block in reply.iter_bytes(1 << 20):
                file.write(block)
                told(_PREDICTED + (1 - _PREDICTED) * min(1.0, file.tell() / total), "fetching the result")
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
