"""A Serinus of many processes on this machine, as a cluster runs it: each replica, each controller and the
dashboard is a process of its own with a MODEL_DIR of its own, and users ask through nginx.

The replicas meet in a shared directory (each through a mount of its own, here a link that can be taken away)
or in a bucket: each goes through a proxy of its own that can refuse, or is in a network namespace of its own,
whose cable to the store can be cut.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from serinus.bootstrap import edge
from serinus.rollout.events import (
    Event,
    Promoted,
    Rejected,
    RolledBack,
    RolloutStarted,
    Verified,
)
from serinus.rollout.state import State
from serinus.store import Address, Store
from tests import models
from tests.processes import namespaces
from tests.processes.installation import eventually, free_port
from tests.store.proxy import Proxy

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
NO_NGINX = "nginx is not installed (apt-get install nginx): no load balancer to ask through"

_NGINX_CONF = """
daemon off;
{user}
worker_processes 1;
pid {root}/nginx.pid;
error_log {root}/nginx.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {root}/body;
  proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi;
  scgi_temp_path {root}/scgi;
  client_max_body_size 64m;
  upstream infer {{
{servers}
    keepalive 16;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://infer;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_connect_timeout 2s;
      proxy_read_timeout 60s;
      # A prediction changes nothing, so whoever dies with one in hand costs a moment and no answer.
      proxy_next_upstream error timeout http_503 non_idempotent;
    }}
  }}
}}
"""


class Bucket(NamedTuple):
    """A store in a bucket, and the server that it is on."""

    url: str
    port: int


class Machine:
    """What runs one process: its folder, its way to the store, its port."""

    def __init__(self, root: Path, store: Path | Bucket, host: namespaces.Host | None = None) -> None:
        self.root = root
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._store = store
        self._host = host
        self._proxy: Proxy | None = None
        root.mkdir()
        if isinstance(store, Path):
            self.models.symlink_to(store)
        else:
            self._proxy = Proxy(store.port) if host is None else Proxy(store.port, host.store)

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def env(self) -> dict[str, str]:
        found = {"MODEL_DIR": str(self.models), "INFER_PORT": str(self.port), "UI_PORT": str(self.port)}
        if isinstance(self._store, Bucket) and self._proxy is not None:
            found |= {"STORE_URL": self._store.url, "AWS_ENDPOINT_URL": self._proxy.endpoint}
        if self._host is not None:
            found |= {"INFER_HOST": "0.0.0.0", "ALLOWED_HOSTS": self._host.address}
        return found

    @property
    def command(self) -> tuple[str, ...]:
        """What stands before a command that runs here."""
        return () if self._host is None else self._host.command

    @property
    def address(self) -> str:
        """Host and port for users."""
        return f"{'127.0.0.1' if self._host is None else self._host.address}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def cut(self) -> None:
        """From now on this machine, and no other, does not reach the store."""
        if self._host is not None:
            self._host.cut()
        elif self._proxy is None:
            self.models.unlink()
        else:
            self._proxy.refuse()

    def heal(self) -> None:
        if self._host is not None:
            self._host.heal()
        elif self._proxy is not None:
            self._proxy.listen()
        elif isinstance(self._store, Path):
            # Who was writing at that moment may have made a folder in the mount's place; a mount covers it.
            shutil.rmtree(self.models, ignore_errors=True)
            self.models.symlink_to(self._store)

    def close(self) -> None:
        if self._proxy is not None:
            self._proxy.refuse()
        if self._host is not None:
            self._host.close()

    def get(self, path: str) -> dict[str, Any]:
        """Empty when nobody answers."""
        try:
            return dict(httpx.get(f"{self.url}{path}", timeout=10).json())
        except (httpx.HTTPError, ValueError):
            return {}

    @property
    def status(self) -> dict[str, Any]:
        return self.get("/model-status")

    @property
    def lives(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def log(self) -> str:
        return (self.root / "log").read_text(errors="replace")


class Cluster:
    """`replicas` are numbered; a number keeps its port for ever, as a load balancer's list wants it. If they
    are `apart` each has a network namespace, which is for a bucket.
    """

    def __init__(
        self, root: Path, most: int, bucket: Bucket | None = None, *, apart: bool = False, **settings: str
    ) -> None:
        self.root = root
        self._settings = settings
        shared = root / "shared"
        shared.mkdir()
        place: Path | Bucket = bucket or shared
        self.base = models.healthy(root / "base", seed=0)
        self.store = Store.open(
            shared,
            clock=edge.now,
            new_id=edge.new_id,
            bucket=None if bucket is None else Address(bucket.url, patience=20.0, allow_http=True),
        )
        self.replicas = [
            Machine(root / f"infer-{n}", place, namespaces.Host() if apart else None) for n in range(most)
        ]
        self.controllers = [Machine(root / f"controller-{n}", place) for n in range(2)]
        self.ui = Machine(root / "ui", place)
        self.port = free_port()
        self._balancer: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of the load balancer."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, machine: Machine, command: str) -> None:
        assert not machine.lives
        with (machine.root / "log").open("ab") as log:
            machine.process = subprocess.Popen(
                [*machine.command, sys.executable, "-m", "serinus", command],
                cwd=machine.root,
                env={
                    **os.environ,
                    "DATA_DIR": str(self.root / "data"),
                    "BASE_WEIGHTS": str(self.base),
                    "INFER_URL": self.url,
                    "INFER_WORKERS": "1",
                    "BATCH_WAIT_SECONDS": "0",
                    "WINDOW_SECONDS": "4",
                    "TICK_SECONDS": "0.5",
                    "POLL_SECONDS": "0.25",
                    "SLICE_SECONDS": "0.5",
                    "JUDGE_LATENCY": "false",  # two busy cores: no comparison
                    "PROBES": "false",
                    "OMP_NUM_THREADS": "1",
                    "ALLOWED_HOSTS": "127.0.0.1",
                    **machine.env,
                    **self._settings,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def balance(self) -> None:
        """Starts nginx before all replicas, those that do not run among them."""
        assert NGINX is not None
        servers = [f"    server {each.address} max_fails=1 fail_timeout=1s;" for each in self.replicas]
        conf = self.root / "nginx.conf"
        conf.write_text(
            _NGINX_CONF.format(
                user="user root;" if os.geteuid() == 0 else "",
                root=self.root,
                servers="\n".join(servers),
                port=self.port,
            )
        )
        with (self.root / "nginx.out").open("wb") as log:
            self._balancer = subprocess.Popen(
                [NGINX, "-c", str(conf), "-e", str(self.root / "nginx.log"), "-p", str(self.root)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def up(self, replicas: int) -> None:
        self.balance()
        self.scale(replicas)
        for each in self.controllers:
            self.start(each, "controller")
        self.start(self.ui, "ui")
        eventually(lambda: self.ui.get("/healthz").get("ok"), "the dashboard answers", tell=self.tell)

    def scale(self, replicas: int) -> None:
        """So many run: more are started and waited for, surplus ones told to end and waited for."""
        for each in self.replicas[:replicas]:
            if not each.lives:
                self.start(each, "infer")
        for each in self.replicas[replicas:]:
            if each.process is not None and each.lives:
                each.process.terminate()
        self.settled(replicas)
        for each in self.replicas[replicas:]:
            if each.process is not None:
                assert each.process.wait(60) in (0, -signal.SIGTERM), each.log()[-3000:]

    def settled(self, replicas: int) -> None:
        """Waits until so many replicas are ready."""
        for each in self.replicas[:replicas]:
            eventually(
                lambda one=each: one.get("/readyz").get("ready"), f"{each.root.name} is ready", tell=self.tell
            )

    def kill(self, machine: Machine, command: str) -> None:
        """kill -9, and a new one in its place, as a Deployment does it."""
        assert machine.process is not None
        machine.process.kill()
        machine.process.wait()
        self.start(machine, command)

    @property
    def running(self) -> list[Machine]:
        """The replicas that live."""
        return [each for each in self.replicas if each.lives]

    @property
    def state(self) -> State:
        return self.store.state()

    def obeyed(self) -> bool:
        """Whether every replica that lives has read the journal to its end."""
        seq = self.state.seq
        return all(each.status.get("journal_seq") == seq for each in self.running)

    def down(self) -> None:
        """SIGTERM to all; each must end by itself, and leave no process behind."""
        machines = [*self.replicas, *self.controllers, self.ui]
        alive = [each for each in machines if each.process is not None and each.lives]
        for each in alive:
            each.process.terminate()  # type: ignore[union-attr]
        codes = {each.root.name: self._end(each) for each in alive}
        for each in machines:
            each.close()
        if self._balancer is not None:
            self._balancer.terminate()
            self._balancer.wait(30)
        assert set(codes.values()) <= {0, -signal.SIGTERM}, codes

    @staticmethod
    def _end(machine: Machine) -> int | None:
        assert machine.process is not None
        try:
            return machine.process.wait(60)
        except subprocess.TimeoutExpired:
            machine.process.kill()
            return None

    def tell(self) -> str:
        logs = [f"--- {each.root.name}\n{each.log()[-1500:]}" for each in (*self.running, *self.controllers)]
        balancer = ""
        with suppress(FileNotFoundError):
            balancer = (self.root / "nginx.log").read_text()[-1500:]
        return "\n".join([str(self.state.rollout), *logs, balancer])


def one_history(events: list[Event]) -> None:
    """Each number once, each rollout started, verified and ended once."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len({event.id for event in events}) == len(events)
    bodies = [event.body for event in events]
    started = [body.rollout for body in bodies if isinstance(body, RolloutStarted)]
    assert started == list(range(1, len(started) + 1))
    for kinds in ((Verified,), (Promoted, RolledBack, Rejected)):
        often = Counter(body.rollout for body in bodies if isinstance(body, kinds))
        assert set(often.values()) <= {1}, (kinds, often)
