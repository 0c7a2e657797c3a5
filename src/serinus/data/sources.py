"""From which archives the data sets came; imports no array or picture code, so that servers may ask."""

from contextlib import suppress
from pathlib import Path

import msgspec


class _Source(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a manifest that is asked for often; the pairs are skipped."""

    id: str = ""
    source_sha256: str = ""
    recipe: str = ""


def imported(datasets_dir: Path) -> frozenset[str]:
    """The sha256 of every archive that became a data set. What cannot be read is left out."""
    found = set()
    for manifest in datasets_dir.glob("ds-*/manifest.json"):
        with suppress(OSError, msgspec.MsgspecError):
            found.add(msgspec.json.decode(manifest.read_bytes(), type=_Source).source_sha256)
    return frozenset(found - {""})


def made_of(datasets_dir: Path, source_sha256: str, recipe: str) -> str | None:
    """The id of a data set that was made of this archive by this recipe; None when there is none."""
    for manifest in sorted(datasets_dir.glob("ds-*/manifest.json")):
        with suppress(OSError, msgspec.MsgspecError):
            source = msgspec.json.decode(manifest.read_bytes(), type=_Source)
            if (source.source_sha256, source.recipe) == (source_sha256, recipe):
                return source.id
    return None
