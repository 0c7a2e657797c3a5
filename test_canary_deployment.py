#!/usr/bin/env python3
"""Walks the documented path against a running Serinus and says whether every promise held.

    python test_canary_deployment.py --ui-url http://localhost:8080 --infer-url http://localhost:9000

1. status before; 2. upload a data set and train (5 epochs, batch 4); 3. watch the canary appear;
4. send requests and test the split with a binomial bound; 5. wait for the promotion; 6. check the final
state. Exits with 0 when all held, 1 when a check failed, 2 when nothing answers (and says what to start).
Needs only `httpx`; without `--dataset` it makes a synthetic data set with the `serinus` command.
"""

import argparse
import math
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    import httpx
except ImportError:
    sys.exit("This script needs httpx: run it with .venv/bin/python, or `pip install httpx`.")

UI_URL = "http://localhost:8080"
INFER_URL = "http://localhost:9000"
POLL_SECONDS = 1.0


class CheckFailed(Exception):
    """A promise did not hold."""


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def check(held: bool, what: str) -> None:
    if not held:
        raise CheckFailed(what)
    say(f"ok: {what}")


def binomial_tail(hits: int, n: int, p: float) -> float:
    """Two-sided probability of a count at least as far from n*p as `hits`."""
    distance = abs(hits - n * p)
    return sum(
        math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) * p**k * (1 - p) ** (n - k)
        for k in range(n + 1)
        if abs(k - n * p) >= distance - 1e-9
    )


class Deployment:
    """The two services, by their documented endpoints."""

    def __init__(self, ui: str, infer: str) -> None:
        self.ui, self.infer = ui.rstrip("/"), infer.rstrip("/")
        self.client = httpx.Client(timeout=120.0)

    def answers(self) -> list[str]:
        """The services that do not answer."""
        silent = []
        for name, url in (("the dashboard (ui)", self.ui), ("the inference service (infer)", self.infer)):
            try:
                ok = self.client.get(f"{url}/healthz").json() == {"ok": True}
            except (httpx.HTTPError, ValueError):
                ok = False
            if not ok:
                silent.append(f"{name} at {url}")
        return silent

    def status(self) -> dict[str, Any]:
        return dict(self.client.get(f"{self.infer}/model-status").raise_for_status().json())

    def train(self, archive: Path, epochs: int, batch: int) -> None:
        with archive.open("rb") as data:
            upload = self.client.post(f"{self.ui}/upload-dataset", files={"file": (archive.name, data)})
        check(upload.status_code == 200 and upload.json()["status"] == "ok", "the data set is uploaded")
        reply = self.client.post(f"{self.ui}/trigger-train", data={"epochs": epochs, "batch": batch})
        check(reply.status_code == 202, "the training is accepted")
        config = reply.json()["config"]
        check(
            (config["epochs"], config["batch"]) == (epochs, batch),
            f"with the configuration asked for: {config}",
        )

    def job(self) -> dict[str, Any]:
        return dict(self.client.get(f"{self.ui}/job-status/train").raise_for_status().json())

    def logs(self) -> dict[str, Any]:
        return dict(self.client.get(f"{self.ui}/job-logs/train").raise_for_status().json())

    def predict(self, before: Path, after: Path) -> dict[str, Any]:
        with before.open("rb") as pre, after.open("rb") as post:
            reply = self.client.post(
                f"{self.infer}/predict", files={"pre_disaster": pre, "post_disaster": post}
            )
        check_quietly(
            reply.status_code == 200, f"a prediction failed with {reply.status_code}: {reply.text[:300]}"
        )
        return dict(reply.json())


def check_quietly(held: bool, what: str) -> None:
    if not held:
        raise CheckFailed(what)


def wait(done: Callable[[], bool], minutes: float, what: str, tell: Callable[[], str]) -> None:
    until, told = time.monotonic() + minutes * 60, ""
    while not done():
        if time.monotonic() > until:
            raise CheckFailed(f"{what} did not happen within {minutes:g} minutes; last seen: {tell()}")
        now = tell()
        if now != told:
            say(now)
            told = now
        time.sleep(POLL_SECONDS)
    say(f"ok: {what}")


def synthetic(folder: Path) -> Path:
    """A synthetic archive, made with the `serinus` command beside this Python."""
    archive = folder / "synthetic.zip"
    program = Path(sys.executable).with_name("serinus")
    command = [
        str(program) if program.exists() else "serinus",
        "data",
        "synth",
        "--pairs",
        "96",
        "--seed",
        "11",
    ]
    subprocess.run([*command, "--out", str(archive)], check=True, stderr=subprocess.DEVNULL)
    return archive


def pictures(folder: Path | None, archive: Path, scratch: Path) -> list[tuple[Path, Path]]:
    """Pairs to predict: from `folder`, else from the archive."""
    if folder is None:
        with zipfile.ZipFile(archive) as source:
            for name in [n for n in source.namelist() if n.endswith("_disaster.png")][:24]:
                (scratch / Path(name).name).write_bytes(source.read(name))
        folder = scratch
    found = []
    for before in sorted(folder.glob("*_pre_disaster.*")):
        after = before.with_name(before.name.replace("_pre_disaster", "_post_disaster"))
        if after.exists():
            found.append((before, after))
    if not found:
        raise CheckFailed(f"No pair *_pre_disaster.* / *_post_disaster.* in {folder}.")
    return found


def walk(options: argparse.Namespace, scratch: Path) -> None:
    serinus = Deployment(options.ui_url, options.infer_url)
    silent = serinus.answers()
    if silent:
        print(f"Nothing answers: {' and '.join(silent)}.", file=sys.stderr)
        print(
            "On one machine: `serinus up`. On Kubernetes: `make deploy-cpu`, then in two terminals",
            file=sys.stderr,
        )
        print("  kubectl port-forward svc/ui 8080:80 -n xview", file=sys.stderr)
        print("  kubectl port-forward svc/infer 9000:9000 -n xview", file=sys.stderr)
        raise SystemExit(2)

    before = serinus.status()
    say(f"status: {before}")
    check(before["deployment_mode"] == "production", "no rollout is under way")
    check(before["current_model"] is True and before["canary_model"] is False, "only a current model serves")

    archive = options.dataset or synthetic(scratch)
    pairs = pictures(options.test_images, archive, scratch)
    first = serinus.predict(*pairs[0])
    check(first["model_used"] == "current", "predictions come from current")
    base = first["model"]["version"]

    serinus.train(archive, options.epochs, options.batch)
    wait(
        lambda: not serinus.job()["active"] and bool(serinus.job()["succeeded"] or serinus.job()["failed"]),
        options.wait_minutes,
        "the training ended",
        lambda: f"training: {serinus.job()}",
    )
    check(bool(serinus.job()["succeeded"]), "the training succeeded")
    summary = serinus.logs()["training_summary"]
    check(
        summary["epochs_completed"] == options.epochs, f"all epochs ran; metrics {summary['final_metrics']}"
    )

    wait(
        lambda: serinus.status()["deployment_mode"] == "canary",
        options.wait_minutes,
        "the canary is deployed",
        lambda: f"mode: {serinus.status()['deployment_mode']}",
    )
    seen = split(serinus, pairs, options.requests)
    status = serinus.status()
    if status["deployment_mode"] == "canary":
        fields = ("canary_elapsed_minutes", "ready_for_promotion", "canary_version")
        check(all(name in status for name in fields), "the canary's fields are there")
        check({"version", "timestamp"} <= status["canary_version"].keys(), "the canary's version is told")
    check(seen["canary"] > 0 and seen["current"] > 0, f"both models answered: {dict(seen)}")

    wait(
        lambda: serinus.status()["deployment_mode"] == "production",
        options.wait_minutes,
        "the rollout ended",
        lambda: f"minutes: {serinus.status().get('canary_elapsed_minutes')}",
    )
    after = serinus.status()
    check(after["ready_for_promotion"] is True, "it ended with a promotion")
    last = serinus.predict(*pairs[0])
    check(last["model_used"] == "current", "predictions come from current again")
    check(last["model"]["version"] > base, f"and current is the new version {last['model']['version']}")


def split(serinus: Deployment, pairs: list[tuple[Path, Path]], requests: int) -> Counter[str]:
    """Send requests while the canary is there, and test the split with a binomial bound."""
    weight = 0.5
    seen: Counter[str] = Counter()
    for number in range(requests):
        reply = serinus.predict(*pairs[number % len(pairs)])
        seen[reply["model_used"]] += 1
        if number % 20 == 19 and serinus.status()["deployment_mode"] != "canary":
            break
    total = sum(seen.values())
    chance = binomial_tail(seen["canary"], total, weight)
    say(f"{seen['canary']} of {total} requests went to the canary (two-sided p = {chance:.3g})")
    check(chance > 1e-4, f"the split is {weight:.0%}, by a binomial test")
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ui-url", default=UI_URL)
    parser.add_argument("--infer-url", default=INFER_URL)
    parser.add_argument(
        "--test-images", type=Path, help="folder with *_pre_disaster.* and *_post_disaster.* pictures"
    )
    parser.add_argument(
        "--dataset", type=Path, help="archive to upload and train on (default: a synthetic one)"
    )
    parser.add_argument(
        "--requests", type=int, default=100, help="requests that test the split (default 100)"
    )
    parser.add_argument(
        "--wait-minutes", type=float, default=15.0, help="longest wait for each step (default 15)"
    )
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="canary-test-") as scratch:
        try:
            walk(options, Path(scratch))
        except CheckFailed as failed:
            print(f"FAILED: {failed}", file=sys.stderr)
            return 1
        except (httpx.HTTPError, KeyError) as error:
            print(
                f"FAILED: an answer was not as documented: {type(error).__name__}: {error}", file=sys.stderr
            )
            return 1
    say("All promises held.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
