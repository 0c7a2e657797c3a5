"""A node for a real API server: a scheduler and a kubelet in one, which runs containers as processes of this
machine and hands out their logs over TLS, as a kubelet does.
"""

import datetime as dt
import ipaddress
import os
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from lightkube import ApiError, Client, KubeConfig
from lightkube.models.core_v1 import ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Node, NodeStatus, Pod, PodBinding, PodStatus
from lightkube.types import PatchType

NAME = "a-node"


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "node.crt", folder / "node.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, private


def _stamp() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class RealNode:
    """Takes every pod that there is, in all namespaces, until it is stopped or `lost`."""

    def __init__(self, config: KubeConfig, env: dict[str, str], folder: Path) -> None:
        self._client = Client(config=config)
        self._env = env
        self.logs: dict[str, list[str]] = {}
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._stop = threading.Event()
        self._server = self._kubelet(*_certificate(folder))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _kubelet(self, certificate: Path, key: Path) -> ThreadingHTTPServer:
        node = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                return

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                pod = parts.path.split("/")[3]
                since = parse_qs(parts.query).get("sinceSeconds")
                lines = node.logs.get(pod, [])
                if since is not None:
                    after = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=int(since[0]))
                    lines = [line for line in lines if dt.datetime.fromisoformat(line.split(" ")[0]) >= after]
                data = "".join(f"{line}\n" for line in lines).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        return server

    def __enter__(self) -> Self:
        status: dict[str, Any] = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._server.server_address[1]}},
            "conditions": [self._ready()],
        }
        self._client.create(Node.from_dict({"metadata": {"name": NAME}, "status": status}))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.lost()
        for process in self._processes.values():
            process.kill()

    def lost(self) -> None:
        """Nobody answers there any more."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            self._server.shutdown()
            self._server.server_close()

    def _ready(self) -> dict[str, str]:
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}

    def _run(self) -> None:
        turn = 0
        while not self._stop.wait(0.2):
            turn += 1
            if turn % 25 == 0:
                status = {"status": {"conditions": [self._ready()]}}
                self._client.patch(NodeStatus, NAME, status, patch_type=PatchType.STRATEGIC)
            for pod in self._client.list(Pod, namespace="*"):
                self._look(pod)

    def _look(self, pod: Pod) -> None:
        assert pod.metadata is not None and pod.status is not None
        name, space = pod.metadata.name, pod.metadata.namespace
        assert name is not None and space is not None
        if pod.metadata.deletionTimestamp is not None:
            process = self._processes.get(name)
            if process is not None and process.poll() is None:
                process.terminate()
                return
            self._gone(name, space)
        elif pod.status.phase == "Pending" and name not in self._processes:
            self._begin(pod, name, space)

    def _gone(self, name: str, space: str) -> None:
        try:
            self._client.delete(Pod, name, namespace=space, grace_period=0)
        except ApiError as error:
            if error.status.code != 404:
                raise

    def _begin(self, pod: Pod, name: str, space: str) -> None:
        target = ObjectReference(kind="Node", name=NAME)
        bound = PodBinding(metadata=ObjectMeta(name=name, namespace=space), target=target)
        with suppress(msgspec.ValidationError):  # a server answers with no Binding
            self._client.create(bound, name, namespace=space)
        assert pod.spec is not None
        container = pod.spec.containers[0]
        env = {each.name: each.value or "" for each in container.env or []}
        self._processes[name] = process = subprocess.Popen(
            [sys.executable, "-m", "serinus", *(container.args or [])],
            env={**os.environ, **self._env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._tell(name, space, container.name, "Running", {"running": {}})
        threading.Thread(
            target=self._follow, args=(process, name, space, container.name), daemon=True
        ).start()

    def _follow(self, process: subprocess.Popen[str], name: str, space: str, container: str) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.logs.setdefault(name, []).append(f"{_stamp()} {line.rstrip()}")
        code = process.wait()
        ended = {"terminated": {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}}
        if not self._stop.is_set():
            self._tell(name, space, container, "Succeeded" if code == 0 else "Failed", ended)

    def _tell(self, name: str, space: str, container: str, phase: str, state: dict[str, Any]) -> None:
        of = {"name": container, "image": "", "imageID": "", "ready": True, "restartCount": 0, "state": state}
        running = "True" if phase == "Running" else "False"
        conditions = [{"type": each, "status": running} for each in ("Ready", "ContainersReady")]
        status = {"status": {"phase": phase, "containerStatuses": [of], "conditions": conditions}}
        try:
            self._client.patch(PodStatus, name, status, namespace=space, patch_type=PatchType.STRATEGIC)
        except ApiError as error:
            if error.status.code != 404:  # it was deleted meanwhile
                raise
