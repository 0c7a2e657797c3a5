"""The client: `concurrency` connections that ask as soon as they are answered.

Arguments: port, file of the body, its content type, path, concurrency, requests. Prints JSON: wall seconds,
and each request's milliseconds. Ends with 1 on any answer but 200.
"""

import http.client
import json
import sys
import threading
import time
from pathlib import Path


def main(arguments: list[str]) -> int:
    port, file, kind, path, concurrency, requests = arguments
    body = Path(file).read_bytes()
    left = threading.Semaphore(int(requests))
    took: list[float] = []
    failed: list[str] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=120)
        while not failed and left.acquire(blocking=False):
            begun = time.perf_counter()
            connection.request("POST", path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                failed.append(f"{answer.status} {text[:300]!r}")
            took.append(1000 * (time.perf_counter() - begun))

    threads = [threading.Thread(target=work) for _ in range(int(concurrency))]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump({"seconds": time.perf_counter() - begun, "ms": took, "failed": failed}, sys.stdout)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
