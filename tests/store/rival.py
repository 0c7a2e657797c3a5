"""A process of its own that wants documents to be its own.

python -m tests.store.rival ROOT URL NAME KEY...     says `won` or `lost` and what lies there then
"""

import sys
from pathlib import Path

from tests.store.places import open_store


def main(root: Path, url: str, name: str, keys: list[str]) -> None:
    backend = open_store(root, url).backend
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for key in keys:
        won = backend.put_if_absent(key, name.encode())
        lies = backend.read(key)
        sys.stdout.write(f"{key} {'won' if won else 'lost'} {(lies or b'nothing').decode()}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
