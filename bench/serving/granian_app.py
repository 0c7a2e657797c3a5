"""A bare Granian (RSGI) that finds the two files in the body, and a thread pool. No isolation, no checks.

Arguments: port, threads.
"""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor

from pipeline import Pipeline


def parts(body: bytes, boundary: bytes) -> list[bytes]:
    mark = b"\r\n--" + boundary
    found, at = [], body.find(boundary)
    while (start := body.find(b"\r\n\r\n", at)) >= 0:
        end = body.find(mark, start)
        found.append(body[start + 4 : end])
        at = end + len(mark)
    return found


class App:
    def __rsgi_init__(self, _loop: asyncio.AbstractEventLoop) -> None:
        self.run = Pipeline()
        self.threads = ThreadPoolExecutor(int(sys.argv[2]))

    async def __rsgi__(self, scope, protocol) -> None:
        body = await protocol()
        pre, post = parts(body, scope.headers.get("content-type").split("boundary=")[1].encode())
        found = await asyncio.get_running_loop().run_in_executor(self.threads, self.run, pre, post)
        protocol.response_bytes(200, [("content-type", "application/json")], json.dumps(found).encode())


app = App()

if __name__ == "__main__":
    from granian import Granian

    Granian(
        "granian_app:app", address="127.0.0.1", port=int(sys.argv[1]), interface="rsgi", log_enabled=False
    ).serve()
