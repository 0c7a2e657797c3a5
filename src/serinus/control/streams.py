"""Recorded requests in a file, one JSON object a line: read one by one, so that a file may have any size."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from serinus.core.errors import InvalidInput
from serinus.evidence.replay import Row

MOST_BYTES = 1 << 16
"""Of one line."""


def rows(path: Path) -> Iterator[Row]:
    """The requests of a file, in its order; empty lines are skipped.

    Raises InvalidInput, naming the line, for what is no request; OSError when the file cannot be read.
    """
    decode = msgspec.json.Decoder(Row).decode
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MOST_BYTES + 1):
            number += 1
            if len(line) > MOST_BYTES:
                raise InvalidInput(f"{path}, line {number}: longer than {MOST_BYTES} bytes.", remedy=_REMEDY)
            if not line.strip():
                continue
            try:
                yield decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise InvalidInput(f"{path}, line {number}: {error}.", remedy=_REMEDY) from error


_REMEDY = (
    'Each line is one request, such as {"t": 0.1, "arm": "canary", "ok": true, "latency": 0.08, "p": 0.5}; '
    '"stratum" (users, probes) and "unit" (the pinned user) may stand beside them.'
)
