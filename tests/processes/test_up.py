"""`serinus up` as an operator meets it: ports, locks, signals, orphans."""

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.processes.installation import Installation, eventually, free_port

pytestmark = pytest.mark.processes


def start_and_fail(place: Installation) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "serinus", "up"],
        env=place.env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return done.stderr


def test_a_second_up_on_the_same_store_is_refused(place: Installation) -> None:
    said = start_and_fail(place)
    assert place.process is not None
    assert "already up" in said and str(place.process.pid) in said
    assert "Traceback" not in said
    assert place.ready(), "the first one goes on"


def test_a_port_in_use_is_refused_in_one_line(tmp_path: Path) -> None:
    place = Installation(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", place.infer_port))
        taken.listen()
        said = start_and_fail(place)
    assert str(place.infer_port) in said and "--infer-port" in said and "Traceback" not in said


def test_one_port_for_both_is_refused(tmp_path: Path) -> None:
    port = free_port()
    said = start_and_fail(Installation(tmp_path, infer_port=port, ui_port=port))
    assert str(port) in said and "--ui-port" in said


def test_killed_up_leaves_nobody_on_its_ports(tmp_path: Path) -> None:
    place = Installation(tmp_path)
    place.up()
    tree = place.tree()
    assert place.kill("up")
    eventually(
        lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in tree), "all end"
    )
    place.up()
    place.down()


def test_what_dies_is_started_again(place: Installation) -> None:
    for name in ("infer", "ui", "controller"):
        before = place.process_of(name)
        assert before is not None and place.kill(name)

        def back(name: str = name, old: int = before.pid) -> bool:
            found = place.process_of(name)
            return found is not None and found.pid != old

        eventually(back, f"{name} is back", tell=place.log)
    eventually(place.ready, "ready again", tell=place.log)


def test_open_dashboards_do_not_keep_it_from_stopping(tmp_path: Path) -> None:
    place = Installation(tmp_path)
    place.up()
    with httpx.stream("GET", f"{place.ui}/api/events", timeout=30) as stream:
        assert stream.status_code == 200
        lines = stream.iter_lines()
        next(lines)
        place.down()
        for _ in lines:
            pass
