"""What a foreign trainer says about its model: `version.json`, and metrics under their documented names.

Nothing here is believed for a decision: the claims are shown, and kept as the version's lineage.
"""

import math
from typing import Any

import msgspec

from serinus.core.errors import InvalidInput

VERSION_JSON = "version.json"
MOST_BYTES = 1 << 20
_OURS = {"final_map": "map50", "final_precision": "precision", "final_recall": "recall"}
_KNOWN = ("map50", "map50_95", "precision", "recall", "train_epochs")
_LONGEST_NOTE = 300
_MOST_CLASSES = 1000


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What was said, sorted into the manifest's words."""

    metrics: dict[str, float] = {}
    """Under our names."""
    config: dict[str, Any] = {}
    """Everything else, for the lineage."""
    note: str = ""
    classes: tuple[str, ...] = ()
    """Empty when it does not say."""
    size: int | None = None
    """Longest side of the pictures it was trained on, pixels."""


def read_object(data: bytes, name: str) -> dict[str, Any]:
    """The JSON object in `data`. Raises InvalidInput that names the file."""
    if len(data) > MOST_BYTES:
        raise InvalidInput(f"{name} has {len(data):,} bytes.", remedy="A megabyte is the most.")
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            f"{name} is no JSON object: {error}.", remedy="Write it again as JSON, in one go."
        ) from error


def read_metrics(said: dict[str, Any], name: str) -> dict[str, float]:
    """Metrics by our names; the documented ones (`final_map` ...) are translated, others are left out.

    Raises InvalidInput when a known one is no finite number; null means not measured.
    """
    found: dict[str, float] = {}
    for given, value in said.items():
        ours = _OURS.get(given, given)
        if (ours not in _KNOWN and not ours.startswith("map50/")) or value is None:
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise InvalidInput(
                f"{name}: the metric {given} is {value!r}, not a number.",
                remedy="Leave out what was not measured.",
            )
        found[ours] = float(value)
    return found


def read_claims(data: bytes, name: str = VERSION_JSON) -> Claims:
    """Raises InvalidInput when it is no JSON object or a metric is no number."""
    document = read_object(data, name)
    metrics = document.get("metrics")
    said = metrics if isinstance(metrics, dict) else {}
    config = {key: value for key, value in document.items() if key != "metrics"}
    others = {key: value for key, value in said.items() if not read_metrics({key: value}, name)}
    return Claims(
        metrics=read_metrics(said, name),
        config=config | ({"metrics": others} if others else {}),
        note=_note(document),
        classes=_classes(document.get("classes", document.get("names"))),
        size=_size(document.get("img_size", document.get("imgsz"))),
    )


def _note(document: dict[str, Any]) -> str:
    said = document.get("note") or document.get("notes")
    if isinstance(said, str) and said.strip():
        return " ".join(said.split())[:_LONGEST_NOTE]
    version, time = document.get("version"), document.get("timestamp")
    words = f"version {version} of another trainer" if version is not None else "of another trainer"
    return (words + (f", {time}" if isinstance(time, str) else ""))[:_LONGEST_NOTE]


def _classes(said: Any) -> tuple[str, ...]:
    """A list of names, or an object from number to name as Ultralytics writes it."""
    if isinstance(said, dict):
        said = [said.get(str(number)) for number in range(len(said))]
    names = isinstance(said, list) and len(said) <= _MOST_CLASSES and all(isinstance(n, str) for n in said)
    return tuple(said) if names else ()


def _size(said: Any) -> int | None:
    return said if isinstance(said, int) and not isinstance(said, bool) and 32 <= said <= 16_384 else None
