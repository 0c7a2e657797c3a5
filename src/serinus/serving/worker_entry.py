"""`python -m serinus.serving.worker_entry`: imports what a worker needs as nicely as it loads, then runs it.

On Linux niceness is a thread's, and only root may take it back: so a thread of its own imports. A version
whose workers crash is started again and again, and who serves meanwhile should not feel it.
"""

import os
import sys
import threading
from importlib import import_module


def main(arguments: list[str]) -> int:
    """Arguments: the niceness while loading; the worker's orders. Returns the worker's exit code."""
    nice, orders = int(arguments[0]), arguments[1:]

    def load() -> None:
        os.nice(nice)  # of this thread alone
        import_module("serinus.serving.worker")

    importing = threading.Thread(target=load, name="importing")
    importing.start()
    importing.join()
    return int(import_module("serinus.serving.worker").main(orders))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
