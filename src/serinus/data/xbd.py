"""The xBD label format: subtypes, class ids, and the JSON as frozen values."""

from enum import StrEnum
from typing import Any

import msgspec


class Subtype(StrEnum):
    """Damage of one building in the post image, as written in the label files."""

    NO_DAMAGE = "no-damage"
    MINOR = "minor-damage"
    MAJOR = "major-damage"
    DESTROYED = "destroyed"
    UN_CLASSIFIED = "un-classified"


CLASSES = (Subtype.NO_DAMAGE, Subtype.MINOR, Subtype.MAJOR, Subtype.DESTROYED)
"""Class id -> subtype. un-classified is no class."""

CLASS_IDS: dict[str, int] = {str(subtype): number for number, subtype in enumerate(CLASSES)}

BUILDING = "building"


class Properties(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    feature_type: str | None = None
    subtype: str | None = None
    """Only in post files."""
    uid: str | None = None


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    properties: Properties
    wkt: str
    """`POLYGON ((x y, ...))`, in pixels in `xy`, in degrees in `lng_lat`."""


class Features(msgspec.Struct, frozen=True, kw_only=True):
    xy: tuple[Feature, ...]
    lng_lat: tuple[Feature, ...] = ()


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """One label file. `metadata` is told apart only where it is used: real files differ in it."""

    features: Features
    metadata: dict[str, Any] = {}
