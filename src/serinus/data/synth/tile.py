"""One tile: the two pictures and the two label files."""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serinus.data.synth import land, roofs
from serinus.data.synth.plan import Plan, plan_tile
from serinus.data.synth.scenery import HAZE, SCENERY, Hazard, known_disaster, stream
from serinus.data.xbd import BUILDING, Feature, Features, Label, Properties, Subtype
from serinus.imagery.decode import encode_png

DEGREES_PER_PIXEL = 0.5 / 111_320
"""Half a metre of ground a pixel, in degrees of latitude."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    stem: str
    """`<disaster>_<8 digits>`."""
    pre: NDArray[np.uint8]
    """RGB [size, size, 3]."""
    post: NDArray[np.uint8]
    pre_label: bytes
    """xBD JSON."""
    post_label: bytes


def synth_tile(
    seed: int, disaster: str, tile: int, size: int = 256, *, subtypes: tuple[Subtype, ...] | None = None
) -> Tile:
    """Tile number `tile` of a synthetic disaster; equal arguments give equal pixels and equal JSON.

    `subtypes` replaces what the post label says of each building; the pictures stay.
    Raises InvalidInput for an unknown disaster.
    """
    plan = plan_tile(seed, known_disaster(disaster), tile, size)
    pre, post = render(plan)
    written = subtypes if subtypes is not None else tuple(building.damage for building in plan.buildings)
    return Tile(
        stem=f"{disaster}_{tile:08d}",
        pre=pre,
        post=post,
        pre_label=_label(plan, None),
        post_label=_label(plan, written),
    )


def png_pair(
    seed: int,
    disaster: str,
    tile: int,
    size: int = 256,
    *,
    height: int | None = None,
    width: int | None = None,
) -> tuple[bytes, bytes]:
    """pre and post of one tile as PNG, cut to the upper left `height` x `width` pixels where given.

    Raises InvalidInput for an unknown disaster.
    """
    made = synth_tile(seed, disaster, tile, size)
    return encode_png(made.pre[:height, :width]), encode_png(made.post[:height, :width])


def render(plan: Plan) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The pictures of a plan, before and after."""
    scenery = SCENERY[plan.disaster]
    base, heights = land.ground(stream(plan.seed, plan.disaster, plan.tile, "ground"), plan)

    rng = stream(plan.seed, plan.disaster, plan.tile, "pre")
    canvas = land.enlarge(base)
    land.cars(canvas, plan, rng)
    land.trees(canvas, plan, scenery.sun_pre, None, stream(plan.seed, plan.disaster, plan.tile, "trees"))
    roofs.shadows(canvas, plan.buildings, scenery.sun_pre, post=False)
    for house in plan.buildings:
        roofs.building(canvas, house, scenery.roofs[house.colour], scenery.sun_pre)
    pre = land.finish(canvas, plan.disaster, post=False, haze=HAZE[plan.hazard], rng=rng)

    rng = stream(plan.seed, plan.disaster, plan.tile, "post")
    burnt = land.burn(base, plan, rng) if plan.hazard is Hazard.FIRE else None
    if plan.hazard is Hazard.FLOOD:
        land.water(base, heights, rng)
    canvas = land.enlarge(base)
    land.cars(canvas, plan, rng)
    land.trees(canvas, plan, scenery.sun_post, burnt, stream(plan.seed, plan.disaster, plan.tile, "trees"))
    roofs.shadows(canvas, plan.buildings, scenery.sun_post, post=True)
    for house in plan.buildings:
        roofs.damaged(canvas, house, scenery.roofs[house.colour], scenery.sun_post, plan.hazard)
    for house in plan.buildings:
        if house.damage is Subtype.UN_CLASSIFIED:
            land.cloud(canvas, house, rng)
    post = land.finish(canvas, plan.disaster, post=True, haze=HAZE[plan.hazard], rng=rng)
    return pre, post


def _label(plan: Plan, subtypes: tuple[Subtype, ...] | None) -> bytes:
    """The xBD JSON: of the post image with `subtypes`, of the pre image without."""
    pixels, degrees = [], []
    for number, building in enumerate(plan.buildings):
        properties = Properties(
            feature_type=BUILDING,
            subtype=None if subtypes is None else subtypes[number].value,
            uid=building.uid,
        )
        corners = building.corners()
        pixels.append(Feature(properties=properties, wkt=_wkt(corners, 3)))
        degrees.append(Feature(properties=properties, wkt=_wkt(_lng_lat(plan, corners), 9)))
    label = Label(
        features=Features(lng_lat=tuple(degrees), xy=tuple(pixels)),
        metadata=_metadata(plan, post=subtypes is not None),
    )
    return msgspec.json.format(msgspec.json.encode(label), indent=1)


def _wkt(corners: NDArray[np.float64], digits: int) -> str:
    ring = [*corners.tolist(), corners[0].tolist()]
    return "POLYGON ((" + ", ".join(f"{x:.{digits}f} {y:.{digits}f}" for x, y in ring) + "))"


def _lng_lat(plan: Plan, corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """A made-up affine: north is up, tiles lie side by side in rows of 100."""
    west, north = SCENERY[plan.disaster].origin
    column, row = plan.tile % 100, plan.tile // 100
    offset = np.array((column, row)) * plan.size
    return np.asarray((corners + offset) * (DEGREES_PER_PIXEL, -DEGREES_PER_PIXEL) + (west, north))


def _metadata(plan: Plan, *, post: bool) -> dict[str, Any]:
    when = "post" if post else "pre"
    sun = SCENERY[plan.disaster].sun_post if post else SCENERY[plan.disaster].sun_pre
    name = f"{plan.disaster}_{plan.tile:08d}_{when}_disaster.png"
    return {
        "sensor": "SYNTHETIC",
        "provider_asset_type": "SYNTHETIC",
        "gsd": 0.5,
        "capture_date": f"2024-09-{20 if post else 10}T10:30:00.000Z",
        "off_nadir_angle": 0.0,
        "pan_resolution": 0.5,
        "sun_azimuth": sun.azimuth,
        "sun_elevation": sun.elevation,
        "target_azimuth": 0.0,
        "disaster": plan.disaster.value,
        "disaster_type": plan.hazard.value,
        "catalog_id": f"SYNTHETIC-{plan.seed}",
        "original_width": plan.size,
        "original_height": plan.size,
        "width": plan.size,
        "height": plan.size,
        "id": f"SYNTHETIC-{plan.seed}-{plan.tile}-{when}",
        "img_name": name,
    }
