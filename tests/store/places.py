"""The same store on a disk and in a bucket."""

import time
from pathlib import Path

from serinus.core.ids import Clock
from serinus.store import Address, Store
from tests.store.drafts import new_id


def open_store(
    root: Path, url: str = "", *, clock: Clock = time.time, patience: float = 10.0, **more: object
) -> Store:
    """In the folder `root`, or, with its copies there, in the bucket `url`."""
    bucket = Address(url, patience=patience, allow_http=True) if url else None
    return Store.open(root, clock=clock, new_id=new_id, bucket=bucket, **more)  # type: ignore[arg-type]
