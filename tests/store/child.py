"""A process of its own that writes to a store and says each thing only after the store has confirmed it.

python -m tests.store.child ROOT DRAFT NAME COUNT WORK     WORK: append | publish | both | views
"""

import sys
import time
from pathlib import Path

from serinus.rollout.events import ShareChanged
from serinus.store import Store
from tests.store.drafts import new_id


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main(root: Path, draft: Path, name: str, count: int, work: str) -> None:
    store = Store.open(root, clock=time.time, new_id=new_id)
    say("ready")
    sys.stdin.readline()
    for n in range(count):
        if work in ("append", "both"):
            event = store.append(
                ShareChanged(rollout=1, share=(n % 9 + 1) / 10), actor=name, reason=f"{name} {n}"
            )
            say("appended", event.seq, event.id)
        if work in ("publish", "both"):
            version = store.publish(draft, note=f"{name} {n}", actor=name)
            say("published", version, store.state().versions[version].digest)
        if work in ("views", "both"):
            store.refresh_views()
            say("viewed", n)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
