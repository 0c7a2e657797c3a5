"""The workers of one version, without a model."""

import threading

from serinus.core.errors import Unavailable
from serinus.core.ids import Version
from serinus.serving.pool import Pool
from serinus.serving.worker_handle import WorkerSpec
from tests.serving.house import WAIT_SECONDS


def test_a_version_that_is_still_being_fetched_keeps_nobody_waiting_who_unloads_it() -> None:
    asked, over = threading.Event(), threading.Event()

    def fetch() -> WorkerSpec:
        asked.set()
        over.wait()
        raise Unavailable("The store hangs.")

    pool = Pool(Version(1), fetch, workers=2, queue_size=1, start_limit=1)
    assert asked.wait(WAIT_SECONDS)
    closing = threading.Thread(target=pool.close, daemon=True)
    closing.start()
    closing.join(WAIT_SECONDS)
    closed = not closing.is_alive()
    over.set()
    assert closed
