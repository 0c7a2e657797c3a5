"""The inference service as the control app sees it: its status, and pairs that are handed on to it."""

from collections.abc import Mapping

import httpx
from fastapi import Request, Response
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse

from serinus.core.errors import Unavailable

_STATUS_SECONDS = 5.0
_PASSED_ON = ("content-type", "content-length", "retry-after")


class Infer:
    """One client for all requests. `transport` stands in for the network in tests."""

    def __init__(
        self, url: str, *, timeout_seconds: float, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._url = url
        # No proxy from the environment: the service is ours, and pictures go nowhere else.
        self._client = httpx.AsyncClient(
            base_url=url, timeout=timeout_seconds, trust_env=False, transport=transport
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def status(self) -> Response:
        """What `/model-status` says. Raises Unavailable when nobody answers."""
        try:
            reply = await self._client.get("/model-status", timeout=_STATUS_SECONDS)
        except httpx.HTTPError as error:
            raise self._down(error) from error
        return Response(
            reply.content, status_code=reply.status_code, media_type=reply.headers.get("content-type")
        )

    async def predict(self, request: Request, query: Mapping[str, str]) -> Response:
        """Streams the request's form to `/predict` and the answer back. Raises Unavailable."""
        headers = {
            name: request.headers[name]
            for name in ("content-type", "content-length")
            if name in request.headers
        }
        headers["x-request-id"] = getattr(request.state, "request_id", "")
        passed = self._client.build_request(
            "POST", "/predict", params=query, headers=headers, content=request.stream()
        )
        try:
            reply = await self._client.send(passed, stream=True)
        except httpx.HTTPError as error:
            raise self._down(error) from error
        return StreamingResponse(
            reply.aiter_raw(),
            status_code=reply.status_code,
            headers={name: reply.headers[name] for name in _PASSED_ON if name in reply.headers},
            background=BackgroundTask(reply.aclose),
        )

    def _down(self, error: httpx.HTTPError) -> Unavailable:
        why = str(error) or type(error).__name__
        return Unavailable(
            f"The inference service at {self._url} does not answer: {why}.",
            remedy="Start it (`serinus up`), or correct INFER_URL.",
            retry_after=2.0,
        )
