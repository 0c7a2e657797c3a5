"""From an xBD post label to boxes and classes. Pure."""

import re
from collections import Counter
from typing import NamedTuple

import msgspec
import shapely
from shapely.geometry.base import BaseGeometry

from serinus.data.report import IssueCode
from serinus.data.xbd import BUILDING, CLASS_IDS, Label, Subtype

RULES = 2
"""Edition of how an archive becomes pairs: one that was imported under other rules is imported again."""
MIN_AREA = 16.0
"""Square pixels; a smaller building is left out."""
MIN_SIDE = 3.0
"""Pixels, of the box's short side."""
_EDGE = 0.01
"""Pixels a polygon may reach over the edge by rounding alone."""
_FAR = 1e6
"""Pixels; what reaches further is no polygon on a picture. Not-a-number is not below it either."""
_POLYGON = re.compile(r"\s*(MULTI)?POLYGON\b", re.IGNORECASE)

Box = tuple[float, float, float, float]


class UnparsableLabel(Exception):
    """The label file is not the JSON it should be."""


class Converted(NamedTuple):
    boxes: tuple[Box, ...]
    """x1, y1, x2, y2 in pixels."""
    classes: tuple[int, ...]
    oddities: Counter[IssueCode]
    """How many polygons were odd, by kind."""
    declared: tuple[object, object]
    """Width and height that the metadata claim; None where they say nothing."""


def parse_label(data: bytes) -> Label:
    """Raises UnparsableLabel."""
    try:
        return msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=Label)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnparsableLabel(str(error)) from error


def convert(label: Label, *, width: int, height: int) -> Converted:
    """The buildings of a post label on a picture of `width` x `height` pixels (its real size).

    Polygons are cut at the picture's edge; what is then smaller than MIN_AREA or MIN_SIDE is left out, and
    so is what has none of the four classes.
    """
    boxes: list[Box] = []
    classes: list[int] = []
    oddities: Counter[IssueCode] = Counter()
    frame = shapely.box(0, 0, width, height)
    for feature in label.features.xy:
        if (feature.properties.feature_type or "").lower() != BUILDING:
            continue
        subtype = (feature.properties.subtype or "").lower()
        if subtype not in CLASS_IDS:
            known = subtype == Subtype.UN_CLASSIFIED
            oddities[IssueCode.UN_CLASSIFIED if known else IssueCode.UNKNOWN_SUBTYPE] += 1
            continue
        try:
            box = _box(feature.wkt, frame, oddities)
        except shapely.errors.GEOSException:  # numbers so large that the geometry overflows
            oddities[IssueCode.POLYGON_INVALID] += 1
            continue
        if box is not None:
            boxes.append(box)
            classes.append(CLASS_IDS[subtype])
    declared = (label.metadata.get("width"), label.metadata.get("height"))
    return Converted(tuple(boxes), tuple(classes), oddities, declared)


def _box(wkt: str, frame: BaseGeometry, oddities: Counter[IssueCode]) -> Box | None:
    shape = _shape(wkt, oddities)
    if shape is None:
        return None
    x1, y1, x2, y2 = shape.bounds
    width, height = frame.bounds[2:]
    if x1 < -_EDGE or y1 < -_EDGE or x2 > width + _EDGE or y2 > height + _EDGE:
        shape = shape.intersection(frame)
        if shape.area == 0:
            oddities[IssueCode.POLYGON_OUTSIDE] += 1
            return None
        oddities[IssueCode.POLYGON_CLIPPED] += 1
        x1, y1, x2, y2 = _solid(shape).bounds
    x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)
    if shape.area < MIN_AREA or min(x2 - x1, y2 - y1) < MIN_SIDE:
        oddities[IssueCode.POLYGON_TINY] += 1
        return None
    return round(x1, 3), round(y1, 3), round(x2, 3), round(y2, 3)


def _shape(wkt: str, oddities: Counter[IssueCode]) -> BaseGeometry | None:
    """A valid polygon without holes, or several as one; None if the text is none."""
    # Only polygons reach the parser: it recurses into nested collections without end.
    if not _POLYGON.match(wkt):
        oddities[IssueCode.POLYGON_INVALID] += 1
        return None
    try:
        shape = shapely.from_wkt(wkt)
    except (shapely.errors.GEOSException, ValueError):
        shape = None
    if shape is None or shape.is_empty or not all(abs(edge) < _FAR for edge in shape.bounds):
        oddities[IssueCode.POLYGON_INVALID] += 1
        return None
    if shape.geom_type == "MultiPolygon":
        oddities[IssueCode.POLYGON_MULTI] += 1
    if shapely.get_num_interior_rings(shapely.get_parts(shape)).any():
        oddities[IssueCode.POLYGON_HOLES] += 1
    if not shape.is_valid:
        oddities[IssueCode.POLYGON_INVALID] += 1
        shape = _solid(shapely.make_valid(shape))
    return None if shape.is_empty else shape


def _solid(shape: BaseGeometry) -> BaseGeometry:
    """The parts that have an area; repairs and cuts leave lines and points beside them."""
    parts = shapely.get_parts(shapely.get_parts(shape))
    return shapely.MultiPolygon([part for part in parts if part.geom_type == "Polygon"])
