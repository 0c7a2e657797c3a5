"""The limit: the pipeline in a loop, no HTTP. Arguments: folder of the pair, threads, requests.

Prints CPU milliseconds and wall milliseconds a request.
"""

import os
import sys
import threading
import time
from pathlib import Path

from pipeline import Pipeline


def main(folder: Path, threads: int, requests: int) -> None:
    pre, post = ((folder / name).read_bytes() for name in ("pre", "post"))
    run = Pipeline()
    for _ in range(3):
        run(pre, post)
    each = -(-requests // threads)

    def work() -> None:
        for _ in range(each):
            run(pre, post)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    cpu, wall = time.process_time(), time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    sys.stdout.write(f"{1000 * cpu / (each * threads)} {1000 * wall / (each * threads)}")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    os._exit(0)
