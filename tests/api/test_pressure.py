"""What clients do to a server, over raw sockets: too many, too slow, too long, both ways at once, or gone.

Only what happens and in which order is asserted, never how long it takes.
"""

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from serinus.core.enums import Arm
from serinus.evidence.counts import merge
from serinus.rollout.policy import Policy
from tests import models
from tests.api.live import Server, server
from tests.api.raw import Reply, Wire, form, head, predict, predict_head
from tests.api.serve_inference import LIMIT_BYTES
from tests.serving.house import publish, start_canary, wait_for

pytestmark = pytest.mark.processes

PATIENT = 120.0
"""Nothing times out, however busy the machine is."""
CANARY, CURRENT = "X-Arm: canary", "X-Arm: current"


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """The processes stand still meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def metric(made: Server, line: str) -> float:
    text = httpx.get(made.url + "/metrics", trust_env=False).text
    found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def told(made: Server, words: str) -> int:
    return sum(line["message"] == words for line in made.log())


def with_canary(made: Server, draft: Path, share: float = 0.5) -> tuple[int, int]:
    version = publish(made.store, draft)
    rollout = start_canary(made.store, version, share=share, policy=Policy(override_header="X-Arm"))
    wait_for(lambda: made.canary() == version, "the canary")
    return rollout, version


def test_more_than_the_queue_holds_is_told_to_come_back_and_nobody_who_waits_is_lost(
    tmp_path: Path,
) -> None:
    with (
        server(tmp_path, predict_seconds=PATIENT, queue_size=2, max_requests=5) as made,
        ExitStack() as stack,
    ):
        with stopped(*made.workers()):
            wires = [stack.enter_context(Wire(made.url)) for _ in range(9)]
            for number, wire in enumerate(wires):
                wire.send(predict(f"X-Request-ID: r{number}"))
                if number < 3:  # one is at the worker and two wait before others come
                    wait_for(lambda: metric(made, "serinus_requests_waiting") == number, "the queue")  # noqa: B023
            # The worker stands still, so these are all that are refused.
            refused = wait_for_replies(wires, 6)
            assert metric(made, "serinus_requests_waiting") == 2
        answered = [wire.reply() for wire in wires if wire not in refused]
    assert {reply.status for reply in answered} == {200}
    for wire, reply in refused.items():
        assert reply.status == 503
        assert reply.header("Retry-After") == "1"
        body = json.loads(reply.body)
        assert body["type"] == "/errors/unavailable"
        assert body["request_id"] == reply.header("X-Request-ID") == f"r{wires.index(wire)}"


def wait_for_replies(wires: list[Wire], count: int) -> dict[Wire, Reply]:
    """The first `count` answers, whoever gets them."""
    found: dict[Wire, Reply] = {}

    def enough() -> bool:
        for wire in wires:
            if wire not in found and wire.has_bytes():
                found[wire] = wire.reply()
        return len(found) >= count

    wait_for(enough, f"{count} answers")
    return found


def test_a_request_is_answered_at_its_deadline_whatever_the_worker_does(tmp_path: Path) -> None:
    with server(tmp_path, predict_seconds=0.5) as made:
        workers = made.workers()
        os.kill(workers[0], signal.SIGSTOP)  # for good: it is killed for it
        with Wire(made.url) as first, Wire(made.url) as second:
            replies = [wire.send(predict()) and wire.reply() for wire in (first, second)]
        assert {reply.status for reply in replies} <= {503, 200}
        assert replies[0].status == 503
        assert replies[0].header("Retry-After") == "1"


def test_a_canary_that_stands_still_takes_no_place_from_current(tmp_path: Path) -> None:
    with server(tmp_path, predict_seconds=PATIENT, queue_size=2) as made, ExitStack() as stack:
        _, version = with_canary(made, models.healthy(tmp_path / "second", 2))
        current, canary = made.worker(1), made.worker(version)
        with stopped(canary):
            wires = [stack.enter_context(Wire(made.url)).send(predict(CANARY)) for _ in range(6)]
            rescued = wait_for_replies(wires, 3)
            for reply in rescued.values():
                assert (reply.status, json.loads(reply.body)["fallback"]) == (200, True)
            for _ in range(4):
                with Wire(made.url) as wire:
                    assert wire.send(predict(CURRENT)).reply().status == 200
            with stopped(current):  # six of the canary's wait in current's queue, and it still takes its own
                more = [stack.enter_context(Wire(made.url)).send(predict(CANARY)) for _ in range(6)]
                wait_for(lambda: is_rescued(made, 6 + len(rescued)), "the rescues")
                own = [stack.enter_context(Wire(made.url)).send(predict(CURRENT)) for _ in range(2)]
                beyond = [stack.enter_context(Wire(made.url)).send(predict(CURRENT)) for _ in range(2)]
                refused = wait_for_replies([*own, *beyond], 2)
            replies = [wire.reply() for wire in [*more, *own, *beyond] if wire not in refused]
        replies += [wire.reply() for wire in wires if wire not in rescued]
    assert {reply.status for reply in refused.values()} == {503}
    assert {reply.status for reply in replies} == {200}


def is_rescued(made: Server, requests: int) -> bool:
    return metric(made, "serinus_fallbacks_total") >= requests


def test_sigterm_turns_readiness_off_first_and_answers_who_still_comes(tmp_path: Path) -> None:
    with (
        server(tmp_path, predict_seconds=PATIENT, delay_seconds=PATIENT, max_requests=1) as made,
        ExitStack() as stack,
    ):
        kept = stack.enter_context(Wire(made.url)).send(head("GET", "/healthz"))
        assert kept.reply().header("Connection") is None
        waiting = stack.enter_context(Wire(made.url))
        with stopped(*made.workers()):
            waiting.send(predict())
            wait_for(lambda: ask_busy(made) == 503, "the request to be in")
            made.process.terminate()
            for path in ("/readyz", "/v2/health/ready", "/v2/models/xview/ready"):
                wait_for(lambda path=path: ask(made, path).status == 503, "readiness to go off")
            assert ask(made, "/healthz").status == 200
            assert ask(made, "/v2/health/live").status == 200
        first = waiting.reply()
        assert (first.status, first.header("Connection")) == (200, "close")
        late = stack.enter_context(Wire(made.url)).send(predict()).reply()
        assert (late.status, late.header("Connection")) == (200, "close")
        again = kept.send(predict()).reply()
        assert (again.status, again.header("Connection")) == (200, "close")
        assert kept.is_closed()
        made.process.terminate()  # again: ends the wait
        made.process.wait(timeout=60)
        with pytest.raises(ConnectionRefusedError):
            Wire(made.url)


def ask(made: Server, path: str) -> Reply:
    with Wire(made.url) as wire:
        return wire.send(head("GET", path)).reply()


def test_every_answer_carries_the_id_of_its_request(shared: Server) -> None:
    with Wire(shared.url) as wire:
        for path, status in (("/healthz", 200), ("/nothing", 404), ("/v2/models/x", 404)):
            reply = wire.send(head("GET", path, "X-Request-ID: mine.1")).reply()
            assert (reply.status, reply.header("X-Request-ID")) == (status, "mine.1")
        ids = {wire.send(head("GET", "/healthz")).reply().header("X-Request-ID") for _ in range(3)}
        assert len(ids) == 3
        for bad in ("a b", "x" * 65, "", "\u00e9"):
            made_up = wire.send(head("GET", "/healthz", f"X-Request-ID: {bad}")).reply()
            assert re.fullmatch(r"[0-9a-f]{32}", made_up.header("X-Request-ID") or "")


EXPECT = "Expect: 100-continue"


def test_who_expects_a_word_gets_it_before_the_body_or_a_refusal_instead(tmp_path: Path) -> None:
    with server(tmp_path, predict_seconds=PATIENT, max_requests=1) as made, ExitStack() as stack:
        body = form()
        with Wire(made.url) as wire:
            assert wire.send(predict_head(body, EXPECT)).reply().status == 100
            assert wire.send(body).reply().status == 200
            # The connection goes on after it.
            assert wire.send(predict_head(body, EXPECT)).reply().status == 100
            assert wire.send(body).reply().status == 200
        with Wire(made.url) as wire:
            too_long = head("POST", "/predict", EXPECT, f"Content-Length: {LIMIT_BYTES + 1}")
            assert wire.send(too_long).reply().status == 413
            assert wire.is_closed()
        with stopped(*made.workers()):
            waiting = stack.enter_context(Wire(made.url)).send(predict())
            wait_for(lambda: ask_busy(made) == 503, "the service to be full")
            with Wire(made.url) as wire:
                assert wire.send(predict_head(body, EXPECT)).reply().status == 503
                assert wire.is_closed()
        assert waiting.reply().status == 200


def ask_busy(made: Server) -> int:
    with Wire(made.url) as wire:
        return wire.send(predict_head(b"")).reply().status


def test_the_places_of_clients_that_left_are_free(tmp_path: Path) -> None:
    with server(tmp_path, predict_seconds=PATIENT, max_requests=3) as made:
        with stopped(*made.workers()):
            wires = [Wire(made.url).send(predict()) for _ in range(3)]
            wait_for(lambda: ask_busy(made) == 503, "the service to be full")
            for wire in wires:
                wire.socket.close()
            wait_for(lambda: told(made, "The client left.") == 3, "the service to notice")
            last = Wire(made.url).send(predict())  # their places are free
        assert last.reply().status == 200
        ok = 'serinus_requests_total{model_version="1",outcome="ok",role="current"}'
        assert metric(made, ok) == 1
        errors = [line for line in made.log() if line["level"] in ("error", "warning")]
        assert {line["message"] for line in errors} <= {"The service is busy."}


def test_a_refusal_before_the_body_was_read_is_not_reset(tmp_path: Path) -> None:
    body = form() + bytes(400_000)
    with server(tmp_path, predict_seconds=PATIENT, max_requests=1) as made, Wire(made.url) as first:
        first.send(predict_head(bytes(LIMIT_BYTES)) + body[:100])
        wait_for(lambda: ask_busy(made) == 503, "the place to be taken")
        with Wire(made.url) as wire:
            assert wire.send(predict_head(body, "Connection: close") + body).reply().status == 503
            assert wire.socket.recv(1) == b"", "the end, and no reset"


def test_who_leaves_in_the_middle_of_a_body_frees_the_place(tmp_path: Path) -> None:
    with server(tmp_path, predict_seconds=PATIENT, max_requests=1) as made:
        with Wire(made.url) as wire:
            wire.send(predict_head(bytes(LIMIT_BYTES)) + bytes(500_000))
            wait_for(lambda: ask_busy(made) == 503, "the place to be taken")
        wait_for(lambda: told(made, "The client left.") == 1, "the service to notice")
        assert ask_busy(made) == 400
        assert not [line for line in made.log() if line["level"] == "error"]


@pytest.mark.parametrize("delay_seconds", [0.0, PATIENT])
def test_a_body_on_its_way_at_sigterm_is_taken_and_answered(tmp_path: Path, delay_seconds: float) -> None:
    with server(tmp_path, predict_seconds=PATIENT, delay_seconds=delay_seconds, max_requests=1) as made:
        body = form()
        with Wire(made.url) as wire:
            wire.send(predict_head(body, EXPECT))
            assert wire.reply().status == 100
            wire.send(body[:100])
            made.process.terminate()
            wait_for(lambda: is_leaving(made), "the signal to be heard")
            reply = wire.send(body[100:]).reply()
            assert reply.status == 200
            assert delay_seconds == 0 or reply.header("Connection") == "close"
            assert wire.is_closed()


def is_leaving(made: Server) -> bool:
    """Whether it takes no connections any more, or says that it will not for long."""
    try:
        return ask(made, "/readyz").status != 200
    except OSError:
        return True


def test_what_a_worker_has_begun_counts_when_its_client_left(tmp_path: Path) -> None:
    with server(tmp_path, predict_seconds=PATIENT) as made:
        rollout, version = with_canary(made, models.healthy(tmp_path / "second", 2), share=1.0)
        with stopped(made.worker(version)):
            wires = [Wire(made.url).send(predict()) for _ in range(3)]
            wait_for(lambda: any(r.in_flight == 3 for r in made.store.replicas(0.0)), "three requests")
            for wire in wires:
                wire.socket.close()
            wait_for(lambda: told(made, "The client left.") == 3, "the service to notice")
        made.observed(rollout, 1)
        with Wire(made.url) as wire:
            assert wire.send(predict()).reply().status == 200
        made.observed(rollout, 2)
        cells = merge(found for _, _, found in made.store.new_observations(rollout, {}))
        # The one at the worker and the last; the two that waited are evidence of nothing.
        assert [(cell.arm, cell.successes, cell.failures) for cell in cells] == [(Arm.CANARY, 2, 0)]


HURRY = 0.05
"""Limits of a second."""


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("hurried"), patience=HURRY) as made:
        yield made


def test_connections_that_do_not_get_on_are_closed(hurried: Server) -> None:
    with Wire(hurried.url) as silent:
        assert silent.is_closed()
    with Wire(hurried.url) as wire:
        assert wire.send(head("GET", "/healthz")).reply().status == 200
        assert wire.is_closed()
    with Wire(hurried.url) as wire:
        slow = wire.send(b"GET /healthz HTTP/1.1\r\nHost: loc").reply()
        assert (slow.status, slow.header("Connection")) == (408, "close")
        assert json.loads(slow.body)["type"] == "/errors/too-slow"
        assert wire.is_closed()
    assert ask(hurried, "/errors/too-slow").status == 200
    body = form()
    with Wire(hurried.url) as wire:
        assert wire.send(predict_head(body) + body[:100]).reply().status == 408
        assert wire.is_closed()
    with Wire(hurried.url) as wire:
        assert wire.send(predict_head(body, EXPECT)).reply().status == 100
        assert wire.reply().status == 408
    with Wire(hurried.url) as trickle:
        trickle.send(predict_head(bytes(LIMIT_BYTES)) + body[:200])
        wait_for(lambda: trickle.trickle(b"-"), "the end of a trickle")
        assert trickle.reply().status in (408, 0)  # what still came may have reset the answer
    assert not [line for line in hurried.log() if line["level"] == "error"]
    assert told(hurried, "The client left.") == 3


def test_a_client_that_does_not_read_is_cut_off(hurried: Server) -> None:
    wait_for(lambda: not hurried.connections(), "the end of others")
    with Wire(hurried.url, receive_buffer=4096) as wire:
        wanted = 400
        wire.send(head("GET", "/openapi.json") * wanted)
        wait_for(hurried.connections, "the connection")
        wait_for(lambda: not hurried.connections(), "the service to give it up")
        replies = 0
        while wire.reply_or_end():
            replies += 1
        assert replies < wanted
    assert ask(hurried, "/healthz").status == 200


def test_a_client_that_reads_drop_by_drop_is_cut_off(hurried: Server) -> None:
    wait_for(lambda: not hurried.connections(), "the end of others")
    with Wire(hurried.url, receive_buffer=4096) as wire:
        wire.send(head("GET", "/openapi.json") * 400)
        wait_for(hurried.connections, "the connection")

        def given_up() -> bool:
            try:
                return not wire.socket.recv(512)
            except ConnectionResetError:
                return True

        wait_for(given_up, "the service to give it up")


def test_a_client_that_gets_on_is_kept(hurried: Server) -> None:
    with Wire(hurried.url) as wire, Wire(hurried.url) as ended:
        rounds = 0

        def other_is_closed() -> bool:
            nonlocal rounds
            assert wire.send(head("GET", "/healthz")).reply().status == 200
            rounds += 1
            return rounds > 30 and ended.has_bytes()

        wait_for(other_is_closed, "a silent connection to be closed")
        assert ended.is_closed()


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 4", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 4"],
        ["content-length: 0", "TRANSFER-ENCODING: Chunked"],
        ["Content-Length: 4", "Content-Length: 5"],
        ["Content-Length: 4, 5"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["Content-Length: -1"],
        ["Content-Length: 4x"],
    ],
)
def test_a_request_whose_end_is_in_doubt_is_refused_and_nothing_behind_it_is_read(
    shared: Server, headers: list[str]
) -> None:
    with Wire(shared.url) as wire:
        smuggled = b"0\r\n\r\n" + head("GET", "/healthz")
        reply = wire.send(head("POST", "/feedback", *headers) + smuggled).reply()
        assert reply.status in (400, 501)
        assert (reply.header("Connection") or "").lower() == "close"
        assert wire.is_closed()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("shared")) as made:
        yield made


DEEP = 100_000


@pytest.mark.parametrize("path", ["/feedback", "/v2/models/xview/infer"])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP,
        b'{"a":' * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        b"[1" + b",1" * DEEP,
        b'"' + b"a" * DEEP,
        b"\0",
    ],
    ids=["arrays", "objects", "closed", "unended", "string", "nothing"],
)
def test_deep_or_unended_json_is_a_400(shared: Server, path: str, body: bytes) -> None:
    with Wire(shared.url) as wire:
        reply = wire.send(head("POST", path, f"Content-Length: {len(body)}") + body).reply()
        assert reply.status == 400
        assert json.loads(reply.body)["error"]
        assert wire.send(head("GET", "/healthz")).reply().status == 200


@pytest.mark.parametrize("path", ["/feedback", "/v2/models/xview/infer"])
def test_json_that_never_ends_is_a_400_at_the_limit(shared: Server, path: str) -> None:
    with Wire(shared.url) as wire:
        wire.send(head("POST", path, "Transfer-Encoding: chunked"))
        wait_for(lambda: wire.trickle(b"fa00\r\n" + b"[1,2]," * 10_666 + b"    \r\n"), "an answer")
        reply = wire.reply()
        assert reply.status == 400
        assert "does not end within" in json.loads(reply.body)["detail"]
    with Wire(shared.url) as wire:  # what says that it ends is only too long
        length = f"Content-Length: {10 * LIMIT_BYTES}"
        assert wire.send(head("POST", path, EXPECT, length)).reply().status == 413


def test_more_connections_than_are_allowed_are_told_so(tmp_path: Path) -> None:
    with server(tmp_path, most=4) as made, ExitStack() as stack:
        held = [stack.enter_context(Wire(made.url)) for _ in range(4)]
        for wire in held:
            assert wire.send(head("GET", "/healthz")).reply().status == 200
        with Wire(made.url) as beyond:
            reply = beyond.send(predict()).reply()
            assert (reply.status, reply.header("Retry-After")) == (503, "1")
            assert beyond.is_closed()
        assert held[0].send(predict()).reply().status == 200
        held.pop().socket.close()
        wait_for(lambda: ask(made, "/healthz").status == 200, "a place")


def test_connections_leave_descriptors_for_answers(tmp_path: Path) -> None:
    with server(tmp_path, descriptors=310) as made, ExitStack() as stack:
        held = [stack.enter_context(Wire(made.url)) for _ in range(10)]
        for wire in held:
            assert wire.send(head("GET", "/healthz")).reply().status == 200
        beyond = [stack.enter_context(Wire(made.url)) for _ in range(250)]
        replies = [wire.reply() for wire in beyond]
        assert {(reply.status, reply.header("Retry-After")) for reply in replies} <= {(503, "1"), (0, None)}
        assert sum(reply.status == 503 for reply in replies) >= 100
        assert held[0].send(predict()).reply().status == 200
        assert [line for line in made.log() if line["level"] == "error"] == []
