"""A working fake of the Kubernetes API over HTTP: jobs, pods, their logs, events, leases: what is called.

It keeps what a server keeps (uid, resourceVersion, preconditions, conflicts, label and field selectors,
garbage collection of a Job's pods) and refuses as a server refuses. What controllers and nodes do, tests do
by hand (`make_pod`, `set_pod`, `end_job`), or a `Node` does it with real processes.
"""

import itertools
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from lightkube import KubeConfig
from lightkube.config.models import Cluster, User

NAMESPACE = "xview"
Document = dict[str, Any]
_PATH = re.compile(
    rf"/(?:api|apis/(?P<group>[^/]+))/v1/namespaces/{NAMESPACE}/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?P<log>/log)?"
)
_KINDS = {"jobs": "Job", "pods": "Pod", "events": "Event", "leases": "Lease"}


class Refusal(Exception):
    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message


def stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeCluster:
    """Listens on a loopback port; `calls` are the verbs that were asked for."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Document] = {}
        self.logs: dict[str, list[str]] = {}
        """Pod -> lines, each behind its time."""
        self.denied: dict[tuple[str, str], tuple[int, str]] = {}
        """(verb, resource) -> what it is answered instead: code and message."""
        self.instead: tuple[int, str, str] | None = None
        """What somebody before the server answers in its place: code, kind of content, text."""
        self.calls: list[tuple[str, str]] = []
        self.lock = threading.RLock()
        self._open: set[socket.socket] = set()
        self._numbers = itertools.count(1)
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def config(self) -> KubeConfig:
        return KubeConfig.from_one(
            cluster=Cluster(server=self.url), user=User(token="a-token"), namespace=NAMESPACE
        )

    def start(self) -> None:
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                cluster._open.add(self.connection)

            def log_message(self, *_: object) -> None:
                return

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else {}
                if cluster.instead is not None:
                    return self._send(*cluster.instead)
                try:
                    code, found = 200, cluster.handle(self.command, self.path, body)
                except Refusal as refusal:
                    code, found = refusal.code, refusal_document(refusal)
                if isinstance(found, str):
                    return self._send(code, "text/plain", found)
                return self._send(code, "application/json", json.dumps(found))

            def _send(self, code: int, kind: str, text: str) -> None:
                data = text.encode()
                self.send_response(code)
                if kind:
                    self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = _answer

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """The API server is down; what it keeps stays."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- the API ---------------------------------------------------------------------------------------------

    def handle(self, method: str, path: str, body: Document) -> Any:
        parts = urlsplit(path)
        match = _PATH.fullmatch(parts.path)
        if match is None or match["plural"] not in _KINDS:
            raise Refusal(404, "NotFound", f"the server could not find {parts.path}")
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        plural, name = match["plural"], match["name"]
        verb = {"POST": "create", "PUT": "update", "DELETE": "delete"}.get(method, "get" if name else "list")
        resource = "pods/log" if match["log"] else plural
        with self.lock:
            self.calls.append((verb, resource))
            if (verb, resource) in self.denied:
                code, message = self.denied[verb, resource]
                raise Refusal(code, "Forbidden" if code == 403 else "Invalid", message)
            if match["log"]:
                return self._log(name, asked)
            if verb == "list":
                return self._list(plural, asked)
            if verb == "create":
                return self._create(plural, body)
            return getattr(self, f"_{verb}")(plural, name, body)

    def _get(self, plural: str, name: str, _: Document) -> Document:
        try:
            return self.objects[plural, name]
        except KeyError:
            raise Refusal(404, "NotFound", f'{plural} "{name}" not found') from None

    def _list(self, plural: str, asked: dict[str, str]) -> Document:
        found = [one for (kind, _), one in self.objects.items() if kind == plural]
        for term in filter(None, asked.get("labelSelector", "").split(",")):
            key, value = re.split("==?", term)
            found = [one for one in found if one["metadata"].get("labels", {}).get(key) == value]
        for term in filter(None, asked.get("fieldSelector", "").split(",")):
            key, value = re.split("==?", term)
            found = [one for one in found if _field(one, key) == value]
        version = str(next(self._numbers))
        return {"kind": f"{_KINDS[plural]}List", "metadata": {"resourceVersion": version}, "items": found}

    def _create(self, plural: str, body: Document) -> Document:
        _check_times(body)
        name = body["metadata"]["name"]
        if (plural, name) in self.objects:
            raise Refusal(409, "AlreadyExists", f'{plural} "{name}" already exists')
        body["metadata"] |= {
            "namespace": NAMESPACE,
            "uid": f"uid-{next(self._numbers)}",
            "creationTimestamp": stamp(),
            "resourceVersion": str(next(self._numbers)),
        }
        self.objects[plural, name] = body
        return body

    def _update(self, plural: str, name: str, body: Document) -> Document:
        _check_times(body)
        there = self._get(plural, name, {})
        version = body["metadata"].get("resourceVersion")
        if version is not None and version != there["metadata"]["resourceVersion"]:
            raise Refusal(409, "Conflict", f'{plural} "{name}": the object has been modified')
        body["metadata"] = {**there["metadata"], "resourceVersion": str(next(self._numbers))}
        self.objects[plural, name] = body
        return body

    def _delete(self, plural: str, name: str, body: Document) -> Document:
        there = self._get(plural, name, {})
        uid = (body.get("preconditions") or {}).get("uid")
        if uid is not None and uid != there["metadata"]["uid"]:
            raise Refusal(409, "Conflict", f"the UID in the precondition ({uid}) does not match")
        del self.objects[plural, name]
        for key, one in list(self.objects.items()):
            if any(
                owner["uid"] == there["metadata"]["uid"]
                for owner in one["metadata"].get("ownerReferences", [])
            ):
                # Only a body says so: what stands in the address does not count beside one.
                if body.get("propagationPolicy") == "Background":
                    self.gone(key[1])
                else:
                    one["metadata"]["ownerReferences"] = []
        return {"kind": "Status", "status": "Success"}

    def gone(self, pod: str) -> None:
        """A pod whose Job was deleted; a node that has it may take its time."""
        del self.objects["pods", pod]

    def _log(self, pod: str, asked: dict[str, str]) -> str:
        found = self._get("pods", pod, {})
        if found["status"].get("phase", "Pending") == "Pending":
            raise Refusal(
                400, "BadRequest", f'container in pod "{pod}" is waiting to start: ContainerCreating'
            )
        lines = self.logs.get(pod, [])
        if "sinceSeconds" in asked:
            after = time.time() - int(asked["sinceSeconds"])
            lines = [line for line in lines if not line[:1].isdigit() or _seconds(line) >= after]
        return "".join(f"{line}\n" for line in lines)

    # -- what controllers and nodes do -----------------------------------------------------------------------

    def put(self, plural: str, body: Document) -> Document:
        """By somebody else."""
        with self.lock:
            return self._create(plural, body)

    def job(self, name: str = "train") -> Document:
        with self.lock:
            return self.objects["jobs", name]

    def make_pod(self, job: str = "train", **status: Any) -> str:
        """The Job's next pod; `status` in Kubernetes' words."""
        with self.lock:
            owner = self.job(job)
            name = f"{job}-{next(self._numbers)}"
            template = owner["spec"]["template"]
            self._create(
                "pods",
                {
                    "metadata": {
                        "name": name,
                        "labels": dict(template["metadata"]["labels"]),
                        "ownerReferences": [
                            {
                                "apiVersion": "batch/v1",
                                "kind": "Job",
                                "name": job,
                                "uid": owner["metadata"]["uid"],
                            }
                        ],
                    },
                    "spec": template["spec"],
                    "status": {"phase": "Pending", **status},
                },
            )
            return name

    def set_pod(self, name: str, **status: Any) -> None:
        with self.lock:
            self.objects["pods", name]["status"] = status

    def end_job(self, kind: str, job: str = "train", reason: str = "") -> None:
        """`kind`: Complete or Failed."""
        with self.lock:
            condition = {"type": kind, "status": "True", "reason": reason, "message": ""}
            self.job(job)["status"] = {"conditions": [condition]}

    def warn(self, reason: str, message: str, job: str = "train") -> None:
        """An event of the Job."""
        with self.lock:
            about = {
                "kind": "Job",
                "name": job,
                "uid": self.job(job)["metadata"]["uid"],
                "namespace": NAMESPACE,
            }
            self._create(
                "events",
                {
                    "metadata": {"name": f"{job}.{next(self._numbers)}"},
                    "involvedObject": about,
                    "type": "Warning",
                    "reason": reason,
                    "message": message,
                    "lastTimestamp": stamp(),
                },
            )

    def say(self, pod: str, *lines: str) -> None:
        """The pod prints."""
        with self.lock:
            for line in lines:
                nanos = time.time_ns()
                whole = datetime.fromtimestamp(nanos // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
                part = f"{nanos % 10**9:09d}".rstrip("0")
                self.logs.setdefault(pod, []).append(
                    f"{whole}.{part}Z {line}" if part else f"{whole}Z {line}"
                )


class Node:
    """Runs the Jobs' containers as processes of this machine, one after the other, until it is stopped."""

    def __init__(self, cluster: FakeCluster, env: dict[str, str]) -> None:
        self._cluster = cluster
        self._env = env
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ran: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            with self._cluster.lock:
                new = [
                    one
                    for (kind, _), one in self._cluster.objects.items()
                    if kind == "jobs" and one["metadata"]["uid"] not in self._ran
                ]
            for job in new:
                self._ran.add(job["metadata"]["uid"])
                self._work(job)

    def _work(self, job: Document) -> None:
        name = job["metadata"]["name"]
        container = job["spec"]["template"]["spec"]["containers"][0]
        env = {each["name"]: each["value"] for each in container["env"]}
        pod = self._cluster.make_pod(name, phase="Running")
        process = subprocess.Popen(
            [sys.executable, "-m", "serinus", *container["args"]],
            env={**os.environ, **self._env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            self._cluster.say(pod, line.rstrip("\n"))
        status = process.wait()
        self._cluster.set_pod(pod, phase="Succeeded" if status == 0 else "Failed")
        self._cluster.end_job("Complete" if status == 0 else "Failed", name, "BackoffLimitExceeded")


def refusal_document(refusal: Refusal) -> Document:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": refusal.reason,
        "code": refusal.code,
        "message": refusal.message,
    }


def until(done: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def _field(document: Document, path: str) -> Any:
    found: Any = document
    for part in path.split("."):
        found = (found or {}).get(part)
    return found


def _check_times(body: Document) -> None:
    """Of a Lease: a server reads them with six digits behind the second, and no others."""
    for name in ("acquireTime", "renewTime"):
        time = body.get("spec", {}).get(name)
        if time is not None and not re.fullmatch(r"[0-9-]+T[0-9:]+\.[0-9]{6}Z", time):
            raise Refusal(400, "BadRequest", f"Lease cannot be handled as a Lease: cannot parse {time}")


def _seconds(line: str) -> float:
    return (
        datetime.fromisoformat(line.split(" ", 1)[0].split(".")[0].removesuffix("Z"))
        .replace(tzinfo=UTC)
        .timestamp()
    )
