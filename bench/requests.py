"""What Serinus asks of a bucket, a second: python bench/requests.py [--seconds 60]

A real S3 server (SeaweedFS) behind two counting proxies: one for a replica, one for the controller, both with
default settings. Counted at rest, and during a rollout with a few requests of users a second. The baseline is
what the settings alone imply: a replica looks every POLL_SECONDS, the controller every TICK_SECONDS.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import track
from rich.table import Table

from serinus.bootstrap.edge import new_id, now
from serinus.store import Address, Store

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.processes.installation import eventually, free_port, pair  # noqa: E402
from tests.store.proxy import Proxy  # noqa: E402
from tests.store.s3server import BUCKET, S3Server  # noqa: E402

METHODS = ("GET", "HEAD", "LIST", "PUT", "DELETE")


def kind(method: str, path: str) -> str:
    """As S3 bills it."""
    if method == "GET" and "list-type=" in path:
        return "LIST"
    return "DELETE" if method == "POST" and "delete" in path else method


@contextmanager
def running(name: str, folder: Path, env: dict[str, str]) -> Iterator[None]:
    log = (folder / f"{name}.log").open("ab")
    process = subprocess.Popen([sys.executable, "-m", "serinus", name], env=env, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)
        log.close()


Rates = dict[str, float]


def count(proxies: list[Proxy], seconds: float, words: str, ask: str = "") -> list[Rates]:
    """Requests a second of each proxy's clients; meanwhile `ask` gets at most two pictures a second."""
    before, began = [len(proxy.passed) for proxy in proxies], time.monotonic()
    pre, post = pair(1)
    for _ in track(range(int(2 * seconds)), words, console=Console(stderr=True)):
        if ask:
            httpx.post(f"{ask}/predict", files={"pre_disaster": pre, "post_disaster": post}, timeout=30)
        time.sleep(0.5)
    took = time.monotonic() - began
    counts = [
        Counter(kind(one.method, one.path) for one in proxy.passed[start:])
        for proxy, start in zip(proxies, before, strict=True)
    ]
    return [{method: each[method] / took for method in METHODS} for each in counts]


def measure(folder: Path, seconds: float) -> dict[str, Rates]:
    server = S3Server(folder / "s3")
    server.start()
    os.environ.update(server.environment)
    near, far = Proxy(server.port), Proxy(server.port)
    bucket, base = f"s3://{BUCKET}/requests", ROOT / "src/serinus/base"
    store = Store.open(
        folder / "observer", clock=now, new_id=new_id, bucket=Address(bucket, patience=30.0, allow_http=True)
    )
    store.publish(base, note="base", actor="bench", initial=True)
    port = free_port()
    infer = f"http://127.0.0.1:{port}"

    def env(name: str, proxy: Proxy) -> dict[str, str]:
        own = {"MODEL_DIR": str(folder / name), "DATA_DIR": str(folder / "data"), "STORE_URL": bucket}
        own |= {"AWS_ENDPOINT_URL": proxy.endpoint, "INFER_PORT": str(port), "INFER_URL": infer}
        return os.environ | own

    try:
        with (
            running("infer", folder, env("replica", near)),
            running("controller", folder, env("controller", far)),
        ):
            eventually(lambda: _ready(infer), "infer is ready")
            time.sleep(10)
            replica, controller = count([near, far], seconds, "at rest")
            store.publish(base, note="the same again", actor="bench")
            eventually(lambda: _canary(infer), "the canary serves")
            asked = count([near, far], seconds, "during a rollout", infer)
            if store.state().rollout is None:
                raise SystemExit("The rollout ended within the measurement: measure fewer seconds.")
            during = {method: sum(each[method] for each in asked) for method in METHODS}
    finally:
        server.stop()
    return {
        "one replica at rest": replica,
        "the controller at rest": controller,
        "one replica and the controller during a rollout": during,
    }


def _ready(infer: str) -> bool:
    try:
        return httpx.get(f"{infer}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _canary(infer: str) -> bool:
    return bool(httpx.get(f"{infer}/model-status", timeout=5).json()["deployment_mode"] == "canary")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each measurement (default 60)")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), seconds)
    table = Table(title=f"requests a second, counted for at least {seconds:g} s")
    for column in ("", *METHODS):
        table.add_column(column, justify="right" if column else "left")
    for words, counted in found.items():
        table.add_row(words, *(f"{counted[method]:.1f}" for method in METHODS))
    table.add_row("looks: a replica, the controller", "2.0 + 1.0", *("" for _ in METHODS[1:]))
    Console().print(table)


if __name__ == "__main__":
    main()
