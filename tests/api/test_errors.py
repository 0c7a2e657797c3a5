"""The one table from errors to HTTP."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from serinus.api import errors
from serinus.api.errors import TABLE, UNAUTHENTICATED, kind_of, problem_of
from serinus.core import errors as core
from serinus.core.errors import Fault, ModelFault, NotFound, SerinusError, Unavailable


def all_types() -> list[type[SerinusError]]:
    return [each for each in vars(core).values() if isinstance(each, type) and issubclass(each, SerinusError)]


@pytest.mark.parametrize("kind", all_types())
def test_every_error_has_a_row_and_the_callers_faults_are_4xx(kind: type[SerinusError]) -> None:
    assert kind in TABLE
    assert (TABLE[kind].status < 500) == (kind.fault is Fault.CALLER)


def test_a_new_kind_of_error_is_answered_as_its_base() -> None:
    class Special(ModelFault):
        pass

    assert kind_of(Special("x")) is TABLE[ModelFault]


def test_pages_are_one_for_each_kind() -> None:
    slugs = [kind.slug for kind in (*TABLE.values(), UNAUTHENTICATED)]
    assert len(set(slugs)) == len(slugs)


@pytest.mark.parametrize(("seconds", "header"), [(0.2, "1"), (2.6, "3"), (30.0, "30")])
def test_not_now_says_when(seconds: float, header: str) -> None:
    assert problem_of(Unavailable("busy", retry_after=seconds)).headers["retry-after"] == header


def get(path: str) -> httpx.Response:
    app = FastAPI()

    @app.get("/gone")
    def gone() -> None:
        raise NotFound("It is gone.", remedy="Look elsewhere.")

    @app.get("/typed")
    def typed(number: int) -> int:
        return number

    errors.install(app)

    async def run() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost"
        ) as client:
            return await client.get(path)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/gone", 404, "It is gone."),
        ("/nowhere", 404, "Not Found"),
        ("/typed?number=x", 400, "number: "),
        ("/typed", 400, "number: Field required"),
        ("/errors/nothing", 404, "no such kind"),
    ],
)
def test_every_answer_is_a_problem_with_a_page(path: str, status: int, words: str) -> None:
    reply = get(path)
    body = reply.json()
    assert (reply.status_code, body["status"]) == (status, status)
    assert words in body["error"]
    assert set(body) == {"type", "title", "status", "detail", "remedy", "request_id", "error", "fields"}
    assert list(body["fields"]) == (["number"] if path.startswith("/typed") else [])
    page = get(body["type"])
    assert page.status_code == 200
    assert body["title"] in page.text


def test_a_wrong_method_says_what_is_allowed() -> None:
    app = FastAPI()
    app.add_api_route("/x", lambda: None, methods=["GET"])
    errors.install(app)

    async def run() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost"
        ) as client:
            return await client.post("/x")

    reply = asyncio.run(run())
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET")
    assert reply.json()["error"]
