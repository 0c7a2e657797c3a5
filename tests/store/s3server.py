"""A real S3 server for tests: SeaweedFS on free loopback ports, its data in a folder of the test."""

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from obstore import list_with_delimiter
from obstore.exceptions import BaseError
from obstore.store import S3Store

KEY, SECRET = "serinus-tests", "loopback-only"
BUCKET = "serinus-store"
_SERVICES = ("master", "volume", "filer", "s3", "admin")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


class S3Server:
    """`start`, `stop`, `kill`; the data outlive them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        ports = free_ports(2 * len(_SERVICES))
        self.port = ports[2 * _SERVICES.index("s3")]
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        program = Path(sys.executable).with_name("weed")
        self._command = [
            str(program if program.exists() else shutil.which("weed")),
            "mini",
            f"-dir={folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-bucket={BUCKET}",
            f"-s3.config={folder / 's3.json'}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-admin.ui=false",
            "-webdav=false",
        ]
        for index, service in enumerate(_SERVICES):
            self._command += [
                f"-{service}.port={ports[2 * index]}",
                f"-{service}.port.grpc={ports[2 * index + 1]}",
            ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The usual variables."""
        return environment(f"http://127.0.0.1:{self.port}")

    def start(self) -> None:
        """Returns when the bucket can be asked for."""
        log = (self._folder / "log").open("ab")
        self._process = subprocess.Popen(
            self._command, stdout=log, stderr=log, cwd=self._folder, start_new_session=True
        )
        log.close()
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            if self._answers():
                return
            time.sleep(0.1)
        raise AssertionError((self._folder / "log").read_text()[-3000:])

    def _answers(self) -> bool:
        """Whether the bucket is there: the server makes it some time after it listens."""
        client = S3Store(
            BUCKET,
            access_key_id=KEY,
            secret_access_key=SECRET,
            region="us-east-1",
            endpoint=f"http://127.0.0.1:{self.port}",
            client_options={"allow_http": True, "timeout": "2s"},
            retry_config={"max_retries": 0},
        )
        try:
            list_with_delimiter(client)
        except (BaseError, OSError):
            return False
        return True

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self.kill()


def environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }
