"""The pages hold what matters, in every state, and nothing that people wrote becomes markup."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from fastapi import Request, Response

import serinus
from serinus.api import tokens
from serinus.artifact.manifest import Contract
from serinus.control.golden import Gate, check_name
from serinus.core.enums import JobState, ReasonCode, Role, Stratum
from serinus.core.ids import Version
from serinus.jobs.model import CompareJob, Result
from serinus.rollout.events import Rejected
from serinus.ui.headers import HEADERS
from serinus.ui.here import TABLE
from tests.api.stage import NOON, Stage, zipped
from tests.ui import scenes
from tests.ui.scenes import COMPARED as FOUND

pytestmark = pytest.mark.anyio
HOSTILE = """<script>alert(1)</script><img src=x onerror=alert(2)>"'`{{7*7}}</li></pre>"""
OURS = ("/static/", "/api/rollouts/1/explain.svg")
EVERY = [
    "/",
    "/versions",
    "/versions/1",
    "/versions/compare?a=1&b=2",
    "/history",
    "/history/2",
    "/rollouts/1",
    "/disagreements",
    "/settings",
    "/data",
    "/training",
    "/inference",
    "/docs",
]
STATIC = Path(__file__).parents[2] / "src/serinus/ui/static"


class Page(HTMLParser):
    """The text and the tags of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def actions(self) -> set[str]:
        return {str(a["data-action"]) for tag, a in self.tags if tag == "button" and "data-action" in a}


async def page(stage: Stage, path: str = "/") -> Page:
    async with stage.client() as client:
        reply = await client.get(path)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    return Page(reply.text)


def resumption(home: Page) -> str:
    """What the dialog says that a resumption does."""
    (resume,) = [a for _, a in home.tags if a.get("data-action") == "resume"]
    return str(resume["data-what"])


async def test_empty_teaches(stage: Stage) -> None:
    home = await page(stage)
    assert "No version yet" in home.text
    assert "How a version earns its place" in home.text
    assert "serinus up" in home.text
    assert "Upload an archive and train" in home.text
    assert "No inference process has reported yet" in home.text
    assert home.actions == set()


async def test_production(stage: Stage) -> None:
    stage.base()
    stage.heartbeat()
    home = await page(stage)
    assert "Version 1 is in production" in home.text
    assert "No canary now" in home.text
    assert "loaded on 1 replica" in home.text
    assert "0.612" in (await page(stage, "/versions")).text
    assert home.actions == set()


async def test_verifying(stage: Stage) -> None:
    stage.base()
    stage.verifying("new roofs")
    home = await page(stage)
    assert "Version 2 is being checked" in home.text
    assert home.actions == {"rollback"}


async def test_canary_shows_traffic_clock_and_evidence(stage: Stage) -> None:
    stage.base()
    stage.canary("new roofs", share=0.25)
    stage.traffic((1204, 3), (1198, 0), seconds=55.0)
    stage.traffic((11, 0), (9, 0), stratum=Stratum.PROBES)
    stage.heartbeat()
    home = await page(stage)
    assert "Version 2 is on trial" in home.text
    assert "2:00" in home.text
    for words in ("25 %", "75 %", "1,215", "1,207", "new roofs", "canary 11 sent, 0 failed"):
        assert words in home.text
    assert "Evidence of harm" in home.text
    assert "of 200" in home.text
    assert "of 20" in home.text
    assert home.actions == {"promote", "rollback", "pause", "share"}
    expects = {a["data-expect"] for _, a in home.tags if "data-action" in a}
    assert expects == {str(stage.store.state().seq)}


async def test_a_promotion_against_the_evidence_is_told_before_it_is_made(stage: Stage) -> None:
    stage.base()
    stage.canary()
    stage.traffic((3, 0), (4, 0), seconds=10)
    early = await page(stage)
    (promote,) = [a for _, a in early.tags if a.get("data-action") == "promote"]
    assert "the window is not over" in str(promote["data-override"])
    assert "too little proof of health" in str(promote["data-override"])
    stage.traffic((300, 0), (300, 0), seconds=180)
    stage.now += 1
    ready = await page(stage)
    (promote,) = [a for _, a in ready.tags if a.get("data-action") == "promote"]
    assert promote["data-override"] == ""


async def test_what_a_resumption_does_is_told_as_it_is(stage: Stage) -> None:
    stage.base()
    stage.canary()
    stage.traffic((2, 0), (3, 0), seconds=20)
    stage.decide("hold", "both versions fail")
    assert resumption(await page(stage)) == "The clock goes on from where it stopped."


async def test_held(stage: Stage) -> None:
    stage.base()
    stage.canary()
    stage.traffic((2, 0), (3, 0), seconds=200)
    stage.decide("hold", "Only 2 canary requests in five windows")
    home = await page(stage)
    assert "Version 2 is held: there is too little evidence" in home.text
    assert "Only 2 canary requests in five windows" in home.text
    assert home.actions == {"promote", "rollback", "resume", "share"}
    assert resumption(home).startswith("The longest evaluation starts anew.")
    assert "A person is asked" in home.text
    assert "Nothing: a person is asked" in home.text


async def test_after_a_rollback_the_reason_and_the_numbers_stay(stage: Stage) -> None:
    stage.base()
    stage.canary()
    stage.traffic((11, 11), (12, 0))
    stage.decide("roll_back", "11 of 11 canary requests failed")
    home = await page(stage)
    assert "Version 1 is in production" in home.text
    assert "Version 2 was rolled back: it failed too many requests" in home.text
    assert "How version 2 was decided" in home.text
    assert "11 of 11 canary requests failed" in home.text
    assert home.actions == {"start"}
    assert "canary failures" in home.text
    course = await page(stage, "/rollouts/1")
    assert [a["class"] for _, a in course.tags if "data-seconds" in a] == ["plain", "wait", "bad"]


async def test_after_a_promotion_it_can_be_undone(stage: Stage) -> None:
    stage.base()
    stage.canary()
    stage.traffic((200, 0), (200, 0), seconds=180)
    stage.decide("promote", "0 of 200 canary requests failed")
    home = await page(stage)
    assert "Version 2 is in production" in home.text
    assert home.actions == {"undo"}


@pytest.mark.parametrize(
    "path", ["/", "/live", "/versions", "/versions/2", "/history", "/rollouts/1", "/data", "/training"]
)
async def test_what_people_write_never_becomes_markup(stage: Stage, path: str) -> None:
    stage.publish(HOSTILE, initial=True)
    stage.canary(HOSTILE)
    stage.traffic((2, 0), (3, 0), seconds=200)
    stage.decide("hold", HOSTILE)
    digest = stage.store.state().versions[stage.store.state().current].digest  # type: ignore[index]
    stage.heartbeat("infer-1", failed={digest: HOSTILE})
    async with stage.client() as client:
        stored = await client.post("/upload-dataset", files={"file": (HOSTILE, zipped())})
        await client.post("/trigger-train", data={"note": HOSTILE})
        paused = await client.post("/api/rollout/resume", json={"reason": HOSTILE, "actor": HOSTILE[:60]})
        html = (await client.get(path)).text
    assert (stored.status_code, paused.status_code) == (200, 200)
    shown = Page(html)
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert "<script>alert(1)</script>" in shown.text or "<script>alert(1" in shown.text  # as words
    assert "{{7*7}}" in shown.text
    assert all(tag != "img" or str(a.get("src")).startswith(OURS) for tag, a in shown.tags)
    assert not [a for _, a in shown.tags for name in a if name.startswith("on")]


@pytest.mark.parametrize("path", ["/", "/inference", "/docs", "/static/app.css", "/api/state", "/nowhere"])
async def test_security_headers_are_everywhere(stage: Stage, path: str) -> None:
    stage.base()
    async with stage.client() as client:
        reply = await client.get(path)
    for name, value in HEADERS.items():
        assert reply.headers[name] == value
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("path", EVERY)
async def test_pages_need_nothing_foreign_and_nothing_inline(stage: Stage, path: str) -> None:
    stage.base()
    stage.canary()
    stage.traffic((5, 1), (5, 0))
    found = await page(stage, path)
    for tag, attrs in found.tags:
        assert "style" not in attrs, (tag, attrs)
        assert tag != "style"
        if tag == "script":
            assert str(attrs["src"]).startswith("/static/")
        for name in ("src", "href", "action"):
            if value := attrs.get(name):
                assert value.startswith(("/", "#")), (tag, value)


@pytest.mark.parametrize("path", EVERY)
async def test_pages_are_labelled(stage: Stage, path: str) -> None:
    stage.base()
    stage.canary()
    stage.traffic((5, 1), (5, 0))
    found = await page(stage, path)
    ids = [a["id"] for _, a in found.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attrs in found.tags:
        for name in ("aria-labelledby", "aria-describedby"):
            assert name not in attrs or attrs[name] in ids, (tag, attrs)
        if tag == "img":
            assert "alt" in attrs
        if tag == "svg":
            assert attrs.get("aria-hidden") == "true" or attrs.get("aria-label")
    assert sum(tag == "h1" for tag, _ in found.tags) == 1
    assert "Decision support, verify on the ground" in found.text


@pytest.mark.parametrize("baseline", [False, True])
async def test_a_training_is_asked_for_again_as_it_was(stage: Stage, baseline: bool) -> None:
    stage.dataset()
    words = {"baseline": "true"} if baseline else {}
    async with stage.client() as client:
        job = (await client.post("/trigger-train", data={"note": "coast"} | words)).json()["job"]
    shown = await page(stage, f"/training?again={job}")
    of = {a["name"]: a for tag, a in shown.tags if tag == "input" and "name" in a}
    assert (of["note"]["value"], "checked" in of["baseline"]) == ("coast", baseline)


async def test_a_running_job_shows_its_progress(stage: Stage) -> None:
    async with stage.client() as client:
        await client.post("/upload-dataset", files={"file": ("a.zip", zipped())})
        job = (await client.post("/trigger-train", data={"epochs": "10"})).json()["job"]
    await stage.until(lambda: stage.jobs.describe(job).progress.step == 4)
    assert "epoch 4 of 10 · about 0:38 left" in (await page(stage)).text
    home = await page(stage, "/training")
    assert "Epoch 4 of 10 · about 0:38 left" in home.text
    assert "epoch 4/10" in (await page(stage, f"/jobs/{job}")).text
    assert job in {a.get("data-cancel") for _, a in home.tags}
    (bar,) = [a for tag, a in home.tags if tag == "progress" and a.get("value") != "0"]
    assert bar["value"] == "0.4"


@pytest.mark.parametrize("path", EVERY)
async def test_what_changes_something_is_marked_so_that_only_operators_are_offered_it(
    stage: Stage, path: str
) -> None:
    stage.base()
    stage.canary()
    async with stage.client() as client:
        await client.post("/upload-dataset", files={"file": ("a.zip", zipped())})
    stage.dataset()
    found = await page(stage, path)
    forms = [a for tag, a in found.tags if tag == "form" and a.get("method") not in ("get", "dialog")]
    free = ("/api/predict", "/logout")  # and the editor of policies, which also checks and previews
    changing = [a for a in forms if a.get("action") not in free and a.get("id") != "policy"]
    assert all("changes" in str(a.get("class")).split() for a in changing), changing
    assert bool(changing) == (path in ("/data", "/training", "/inference", "/versions/compare?a=1&b=2"))


async def test_who_may_only_look_is_told_so_and_offered_nothing_else(tmp_path: Path) -> None:
    viewer = tokens.issue(tmp_path / "tokens", "vera", Role.VIEWER, bytes(32), 0.0).token
    stage = Stage(tmp_path, tokens=tokens.Tokens(tmp_path / "tokens"), allowed_hosts=("serinus.lan",))
    stage.base()
    looker = [("html", {"lang": "en", "class": "looker"})]
    async with stage.client("192.0.2.7", "serinus.lan") as client:
        nobody = Page((await client.get("/training")).text)
        vera = Page((await client.get("/training", headers={"authorization": f"Bearer {viewer}"})).text)
    assert nobody.tags[:1] == vera.tags[:1] == looker
    assert "Log in to change something" in nobody.text
    assert "vera (viewer: may only look)" in vera.text
    assert "Training takes the token of an operator." in vera.text
    here = await page(stage, "/training")
    assert here.tags[0] == ("html", {"lang": "en"})


@pytest.mark.parametrize("number", ["9" * 5000, "٣", "²", "-1", "1e3"])
async def test_odd_numbers_in_an_address_are_no_fault_of_ours(stage: Stage, number: str) -> None:
    stage.base()
    async with stage.client() as client:
        for path in (
            "/versions?before={}",
            "/versions/compare?a={}&b=1",
            "/disagreements?rollout={}&page={}",
            "/history?before={}&version={}",
            "/training?again={}",
            "/settings?policy={}",
        ):
            reply = await client.get(path.replace("{}", number))
            assert reply.status_code in (200, 400, 404) and "<html" in reply.text, (path, reply.text)


async def test_restarts_of_workers_are_told(stage: Stage) -> None:
    stage.base()
    version = stage.canary()
    stage.heartbeat()
    (replica,) = stage.store.replicas(0.0)
    digest = stage.store.state().versions[version].digest
    stage.store.put_replica(msgspec.structs.replace(replica, restarts={digest: 3}))
    for path in ("/", "/versions/2"):
        assert "workers restarted 3 ×" in (await page(stage, path)).text, path


async def test_two_versions_are_compared_with_the_pictures_that_differ(stage: Stage) -> None:
    for number, content in enumerate((b"one", b"other"), 1):
        draft = stage.root / f"draft-{number}"
        draft.mkdir()
        (draft / "model.onnx").write_bytes(b"a model")
        (draft / "contract.json").write_bytes(msgspec.json.encode(Contract()))
        (draft / "confusion.png").write_bytes(content)
        (draft / "same.png").write_bytes(b"same")
        stage.store.publish(draft, note="", actor="publisher", initial=number == 1)
    shown = await page(stage, "/versions/compare?a=1&b=2")
    assert "Pictures that differ" in shown.text
    assert [a["src"] for tag, a in shown.tags if tag == "img" and "loading" in a] == [
        f"/api/versions/{number}/files/confusion.png" for number in (1, 2)
    ]


async def test_what_golden_gates_said_is_shown(stage: Stage) -> None:
    stage.base()
    stage.verifying("new roofs")
    gates = (
        Gate(
            metric="map50",
            objects=154,
            pictures=12,
            current=0.7,
            candidate=0.3,
            low=-0.5,
            passed=False,
            words="-",
        ),
        Gate(
            metric="recall", label="destroyed", objects=3, pictures=2, judged=False, words="3 of 30 objects"
        ),
    )
    check = {"name": check_name("coast"), "failed": "golden", "words": "worse by far", "gates": gates}
    own = {"name": check_name("its own"), "words": "clearly worse", "gates": gates}
    stage.store.append(
        Rejected(
            rollout=1, code=ReasonCode.QUALITY_GATE, report={"checks": msgspec.to_builtins([check, own])}
        ),
        actor="controller",
        reason="worse",
    )
    shown = await page(stage, "/versions/2")
    for words in (
        "✕ refused",
        "worse, but decides nothing",
        "Worse by far.",
        "map50",
        "-0.400",
        "recall destroyed",
        "3 of 30 objects",
    ):
        assert words in shown.text, words


async def test_two_versions_are_compared_on_a_data_set(stage: Stage) -> None:
    stage.base()
    stage.canary()
    address = "/versions/compare?a=1&b=2"
    empty = await page(stage, address)
    assert "There is none yet. Send an archive, or load the demo data" in empty.text
    assert "Nobody has compared these two on a data set." in empty.text
    assert not [a for tag, a in empty.tags if tag == "form" and a.get("id") == "compare"]
    stage.dataset(FOUND.dataset)
    fresh = await page(stage, address)
    (form,) = [a for tag, a in fresh.tags if tag == "form" and a.get("id") == "compare"]
    assert form["data-post"] == "/trigger-compare"
    assert "Comparing on a data set takes the token of an operator." in fresh.text
    fields = [a["name"] for tag, a in fresh.tags if tag in ("input", "select") and "name" in a]
    assert fields == ["a", "b", "data", "split"]
    failed = scenes.compared(stage, Result(state=JobState.FAILED, time=NOON, reason="No."))
    assert "compared these two on a data set to the end" in (await page(stage, address)).text
    done = scenes.compared(stage)
    gone = msgspec.structs.replace(FOUND, dataset="ds-ffffffffffff", words="Nothing.", warnings=())
    scenes.compared(stage, Result(state=JobState.SUCCEEDED, time=NOON, output=gone))
    waiting = stage.jobs.submit(CompareJob(a=1, b=2, dataset=FOUND.dataset))
    shown = await page(stage, address)
    for words in (FOUND.words, *FOUND.warnings, "0.612", "+0.129", "+0.080 … +0.170", "recall, destroyed"):
        assert words in shown.text
    assert "Nobody has compared" not in shown.text and "36 pictures, the same for both" in shown.text
    links = {a["href"] for tag, a in shown.tags if tag == "a"}
    assert {f"/api/jobs/{done}/evaluation/index.html", f"/jobs/{done}", f"/jobs/{waiting}"} <= links
    assert f"/jobs/{failed}" not in links
    assert f"/data/{FOUND.dataset}" in links and f"/data/{gone.dataset}" not in links, "it is there no more"
    assert FOUND.words in (await page(stage, "/versions/compare?a=2&b=1")).text
    told = await page(stage, f"/jobs/{done}")
    assert told.text.count(FOUND.words) == 1 and "+0.080 … +0.170" in told.text
    assert {f"/api/jobs/{done}/evaluation/index.html", address} <= {
        a["href"] for tag, a in told.tags if tag == "a"
    }


async def test_what_cannot_be_compared_on_a_data_set_has_no_form(stage: Stage) -> None:
    stage.base()
    for note in ("second", "third"):
        stage.publish(note)
    stage.store.remove_versions((Version(2),), actor="test", reason="space is needed")
    assert stage.store.collect(dry_run=False)
    stage.dataset()
    for address, words in (
        ("/versions/compare?a=1&b=1", "A version does not differ from itself; choose two."),
        ("/versions/compare?a=1&b=2", "Version 2 was removed: its model is gone."),
    ):
        shown = await page(stage, address)
        assert words in shown.text
        assert not [a for tag, a in shown.tags if tag == "form" and a.get("id") == "compare"]


async def test_docs_name_every_endpoint(stage: Stage) -> None:
    shown = await page(stage, "/docs")
    async with stage.client() as client:
        api = (await client.get("/openapi.json")).json()
    for path in api["paths"]:
        assert path in shown.text
    ids = {a["id"] for _, a in shown.tags if "id" in a}
    links = {str(a["href"])[1:] for tag, a in shown.tags if tag == "a" and str(a.get("href")).startswith("#")}
    assert links <= ids | {"main"}


async def test_live_is_rendered_again_only_when_something_changed(stage: Stage) -> None:
    stage.base()
    async with stage.client() as client:
        first = (await client.get("/live")).text
        same = (await client.get("/live")).text
        stage.canary("changed")
        changed = (await client.get("/live")).text
    assert first == same
    assert "Version 2 is on trial" in changed


async def test_an_event_is_rendered_once_however_many_look(stage: Stage) -> None:
    asked = []

    @stage.app.middleware("http")
    async def count(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        asked.append(request.url.path)
        return await go_on(request)

    stage.base()
    stage.canary("seen by all")
    stage.traffic((5, 0), (5, 0))
    async with stage.client() as client:
        pages = await asyncio.gather(*(client.get("/live") for _ in range(20)))
    assert len({page.text for page in pages}) == 1
    assert asked.count("/api/rollouts/1/distributions") == 1


async def test_a_rollout_that_is_over_can_be_undone_from_the_versions_too(stage: Stage) -> None:
    stage.base()
    stage.canary()
    stage.traffic((200, 0), (200, 0), seconds=180)
    stage.decide("promote", "0 of 200 canary requests failed")
    assert (await page(stage, "/versions")).actions == {"undo", "start"}
    assert (await page(stage, "/versions/1")).actions == {"undo", "start"}
    assert (await page(stage, "/versions/2")).actions == set()
    stage.canary()
    assert "undo" not in (await page(stage, "/versions/1")).actions, "first the rollout has to end"
    stage.decide("promote", "the evidence is good")
    assert {n: "undo" in (await page(stage, f"/versions/{n}")).actions for n in (1, 2, 3)} == {
        1: True,
        2: True,
        3: False,
    }


async def test_a_version_shows_its_card(stage: Stage) -> None:
    draft = stage.root / "draft"
    draft.mkdir()
    (draft / "model.onnx").write_bytes(b"a model")
    (draft / "contract.json").write_bytes(msgspec.json.encode(Contract()))
    (draft / "MODEL_CARD.md").write_text("# What it is\n\n<b>Never seen snow.</b>\n")
    stage.store.publish(draft, note="with a card", actor="publisher", initial=True)
    shown = await page(stage, "/versions/1")
    assert "<b>Never seen snow.</b>" in shown.text, "as words"
    async with stage.client() as client:
        reply = await client.get("/api/versions/1/files/MODEL_CARD.md")
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"


async def test_what_is_not_there_is_told_in_words(stage: Stage) -> None:
    stage.base()
    async with stage.client() as client:
        for path, words in (
            ("/versions/7", "There is no version 7."),
            ("/history/99", "There is no event 99."),
            ("/rollouts/3", "There is no rollout 3."),
        ):
            reply = await client.get(path)
            assert (reply.status_code, words in reply.text) == (404, True), path
        odd = await client.get("/versions/compare?a=1&b=x")
        assert (odd.status_code, "Name two versions" in odd.text) == (400, True)
        filtered = await client.get("/history?version=x")
        assert filtered.status_code == 400 and "<html" in filtered.text


async def test_a_page_names_its_own_pages_where_others_are_told_of_commands(stage: Stage) -> None:
    stage.base()
    async with stage.client() as client:
        for path, asked, command, instead in (
            ("/versions/7", "/api/versions/7", "GET /api/versions lists", "The page Versions lists them."),
            ("/data/ds-no", "/api/datasets/ds-no", "GET /api/datasets lists", "The page Data lists them."),
            ("/jobs/train-no", "/api/jobs/train-no", "`serinus jobs list`", "The page Training lists the"),
            ("/rollouts/3", "/api/rollouts/3/explain", "`serinus rollout history`", "The page History names"),
        ):
            told = (await client.get(asked)).json()["remedy"]
            shown = (await client.get(path)).text
            assert command in told and instead in shown, path
            assert command not in shown.partition("<body>")[2].replace("<code>", "`").replace("</code>", "`")


def test_every_remedy_that_a_page_words_otherwise_is_still_said_somewhere() -> None:
    """Else its row is of no use, and the command has come back to the page in other words."""
    root = Path(serinus.__file__).parent
    said = "\n".join(path.read_text() for path in root.rglob("*.py") if path.name != "here.py")
    assert [what for what, _ in TABLE if not re.search(what, said)] == []


async def test_the_history_is_filtered_and_paged(stage: Stage) -> None:
    stage.base()
    for number in range(20):
        stage.canary(f"attempt {number}")
        stage.decide("roll_back", f"attempt {number} failed")
    first = await page(stage, "/history")
    assert "81 events" in first.text and "#81" in first.text and "#31" not in first.text
    older = [str(a["href"]) for _, a in first.tags if a.get("id") == "older"]
    second = await page(stage, older[0])
    assert "#31" in second.text and "#32" not in second.text
    some = await page(stage, "/history?kind=rolled_back&version=5&text=ATTEMPT")
    assert "1 event " in some.text and "attempt 3 failed" in some.text
    assert "Nothing like that has happened" in (await page(stage, "/history?actor=nobody")).text


def test_the_first_load_stays_small() -> None:
    """Without compression, and without pictures: all styles and scripts together."""
    files = [path for path in STATIC.rglob("*") if path.suffix in (".js", ".css")]
    assert sum(path.stat().st_size for path in files) < 170_000
    assert all(path.stat().st_size < 55_000 for path in files)
