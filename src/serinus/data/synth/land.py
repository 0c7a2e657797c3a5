"""Draws what is not a building: terrain, fields, roads, yards, trees, cars, water, burn scars, clouds.

The ground is float32 RGB [size, size, 3], 0 to 255. What has edges is drawn on a canvas of uint8 RGB, `SCALE`
times the tile's size, which is scaled down in the end: that smooths the edges.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from serinus.data.synth.plan import Building, Field, Plan, Points
from serinus.data.synth.scenery import SCENERY, Colour, Disaster, Scenery, Sun
from serinus.data.xbd import Subtype

SCALE = 2
Canvas = NDArray[np.uint8]
Ground = NDArray[np.float32]
Mask = NDArray[np.float32]
"""[S, S], 0 to 1."""

CARS: tuple[Colour, ...] = ((232, 232, 230), (40, 42, 46), (150, 30, 30), (60, 84, 130), (176, 178, 180))
SHADE = 0.52
"""How much of the light a full shadow takes."""
_LIGHT = np.asarray(255 - SHADE * np.arange(256), np.uint8)


def pixels(points: Points) -> NDArray[np.int32]:
    return np.rint(points * SCALE).astype(np.int32)


def value_noise(rng: np.random.Generator, side: int, cells: float, octaves: int = 4) -> Mask:
    """Value noise of `octaves` octaves, `cells` of the coarsest across; spread to 0 to 1."""
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        grid = rng.random((math.ceil(cells * 2**octave) + 3,) * 2).astype(np.float32)
        total += cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC) * 0.5**octave
    low, high = float(total.min()), float(total.max())
    return np.asarray((total - low) / max(high - low, 1e-6), np.float32)


def blend(ground: Ground, colour: Colour | Ground, share: NDArray[np.floating]) -> None:
    """Mixes `colour` into `ground` in place, by `share` per pixel."""
    target = np.asarray(colour, np.float32) - ground
    target *= share[..., None]
    ground += target


def darken(canvas: Canvas, shadow: NDArray[np.uint8], sigma: float) -> None:
    """Takes light away in place where `shadow` (255 inside, blurred here) lies."""
    light = cv2.LUT(cv2.GaussianBlur(shadow, (0, 0), sigma), _LIGHT)
    cv2.multiply(canvas, cv2.merge([light] * 3), dst=canvas, scale=1 / 255)


def step(values: Mask, low: float, high: float) -> Mask:
    """0 below `low`, 1 above `high`, straight between."""
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), np.float32)


def shadow_offset(sun: Sun, height: float) -> tuple[float, float]:
    """Where the shadow of a point `height` pixels high falls, in tile pixels; north is up."""
    reach = height / math.tan(math.radians(sun.elevation))
    turn = math.radians(sun.azimuth)
    return -math.sin(turn) * reach, math.cos(turn) * reach


def ground(rng: np.random.Generator, plan: Plan) -> tuple[Ground, Mask]:
    """Terrain, fields, yards and roads, and the heights that water follows. The same before and after."""
    scenery = SCENERY[plan.disaster]
    heights = value_noise(rng, plan.size, plan.size / 85)
    low, middle, high = (np.asarray(colour, np.float32) for colour in scenery.ground)
    canvas = np.empty((*heights.shape, 3), np.float32)
    canvas[:] = low
    blend(canvas, middle, step(heights, 0.0, 0.5))
    blend(canvas, high, step(heights, 0.5, 1.0))
    for field in plan.fields:
        _field(canvas, scenery, field)
    _yards(rng, canvas, plan, scenery)
    canvas *= (0.86 + 0.28 * value_noise(rng, plan.size, plan.size / 9, 3))[..., None]
    _roads(canvas, plan, scenery)
    return canvas, heights


def enlarge(ground: Ground) -> Canvas:
    """The ground as a canvas to draw on."""
    small = np.clip(ground, 0, 255).astype(np.uint8)
    side = ground.shape[0] * SCALE
    return np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)


def _field(canvas: Ground, scenery: Scenery, field: Field) -> None:
    corners = np.rint(field.corners).astype(np.int32)
    left, top = np.maximum(corners.min(axis=0) - 3, 0)
    right, bottom = np.minimum(corners.max(axis=0) + 3, canvas.shape[0])
    if right - left < 4 or bottom - top < 4:
        return
    share = np.zeros((bottom - top, right - left), np.float32)
    cv2.fillPoly(share, [corners - (left, top)], 1.0)
    share = np.asarray(cv2.GaussianBlur(share, (0, 0), 0.8), np.float32)
    ys, xs = np.mgrid[top:bottom, left:right].astype(np.float32)
    lines = np.sin((xs * math.sin(field.angle) - ys * math.cos(field.angle)) * (2 * math.pi / field.furrow))
    area = canvas[top:bottom, left:right]
    blend(area, scenery.fields[field.colour], share * 0.8)
    area *= (1 + 0.07 * lines * share)[..., None]


def _yards(rng: np.random.Generator, canvas: Ground, plan: Plan, scenery: Scenery) -> None:
    """Mown ground around each house and a drive to the road."""
    lawn, drive = (np.zeros(canvas.shape[:2], np.float32) for _ in range(2))
    for building in plan.buildings:
        centre = (building.x, building.y)
        grown = (building.corners() - centre) * rng.uniform(1.35, 1.8) + centre
        cv2.fillPoly(lawn, [np.rint(grown).astype(np.int32)], float(rng.uniform(0.35, 0.75)))
        if math.dist(building.door, centre) < 45:
            ends = np.rint(np.array([building.door, centre])).astype(np.int32)
            cv2.polylines(drive, [ends], False, 0.8, 3)
    blend(canvas, scenery.yard, np.asarray(cv2.GaussianBlur(lawn, (0, 0), 1.3), np.float32))
    blend(canvas, (166, 160, 150), np.asarray(cv2.GaussianBlur(drive, (0, 0), 0.5), np.float32))


def _roads(canvas: Ground, plan: Plan, scenery: Scenery) -> None:
    side = plan.size * SCALE
    verge, tarmac, line = (np.zeros((side, side), np.uint8) for _ in range(3))
    for road in plan.roads:
        points = [pixels(road.points)]
        cv2.polylines(verge, points, False, 150, round((road.width + 3) * SCALE))
        cv2.polylines(tarmac, points, False, 240, round(road.width * SCALE))
        cv2.polylines(line, points, False, 150, 1)
    red, green, blue = (min(255, value + 42) for value in scenery.road)
    for mask, colour in ((verge, (red, green, blue)), (tarmac, scenery.road), (line, (214, 208, 180))):
        small = cv2.resize(mask, canvas.shape[:2], interpolation=cv2.INTER_AREA)
        blend(canvas, colour, np.asarray(small, np.float32) / 255)


def water(ground: Ground, heights: Mask, rng: np.random.Generator) -> None:
    """Muddy water over the low third of a flooded tile; shallow and dark at its edge, with a little glint."""
    size = ground.shape[0]
    level = float(np.quantile(heights, rng.uniform(0.25, 0.42)))
    depth = 1 - step(heights, level - 0.07, level)
    glint = value_noise(rng, size, size / 10, 3)[..., None]
    mud = np.asarray((98, 98, 88), np.float32) + np.asarray((34, 38, 44), np.float32) * (glint - 0.4)
    blend(ground, (78, 74, 58), (1 - step(heights, level, level + 0.05)) * 0.7)
    blend(ground, mud, depth * 0.95)


def burn(ground: Ground, plan: Plan, rng: np.random.Generator) -> Mask:
    """Scorches the ground, always around houses that burnt; gives the burnt share per pixel."""
    share = step(value_noise(rng, plan.size, plan.size / 110), 0.58, 0.68) * 0.85
    for building in plan.buildings:
        if building.damage in {Subtype.MAJOR, Subtype.DESTROYED}:
            spot = np.zeros_like(share)
            cv2.circle(spot, (round(building.x), round(building.y)), round(building.width * 0.8), 0.9, -1)
            share = np.maximum(share, spot)
    share = np.asarray(cv2.GaussianBlur(share, (0, 0), 3.5), np.float32)
    mottle = value_noise(rng, plan.size, plan.size / 6, 3)
    share *= step(mottle, 0.1, 0.45)
    blend(ground, np.asarray((54, 47, 42), np.float32) + 30 * (mottle[..., None] - 0.5), share * 0.9)
    return share


def trees(canvas: Canvas, plan: Plan, sun: Sun, burnt: Mask | None, rng: np.random.Generator) -> None:
    """Crowns with shadows; where `burnt` says so, black skeletons."""
    scenery = SCENERY[plan.disaster]
    dark = np.zeros(canvas.shape[:2], np.uint8)
    for tree in plan.trees:
        dx, dy = shadow_offset(sun, tree.radius * 1.1)
        centre = (round((tree.x + dx) * SCALE), round((tree.y + dy) * SCALE))
        cv2.circle(dark, centre, round(tree.radius * SCALE), 255, -1)
    darken(canvas, dark, 1.2)
    lit = shadow_offset(sun, 1.0)
    norm = math.hypot(*lit)
    for tree in plan.trees:
        x, y = round(tree.x * SCALE), round(tree.y * SCALE)
        base = np.asarray(scenery.trees[tree.tone], float) * rng.uniform(0.85, 1.2)
        radius = tree.radius * SCALE
        if burnt is not None and burnt[int(tree.y), int(tree.x)] > 0.25:
            base, radius = np.array((38.0, 33.0, 30.0)), radius * 0.55
        cv2.circle(canvas, (x, y), max(1, round(radius)), base.tolist(), -1)
        for factor, reach in ((1.25, 0.62), (1.5, 0.3)):
            shift = (radius * (1 - reach) * 0.8) / norm
            spot = (round(x - lit[0] * shift), round(y - lit[1] * shift))
            cv2.circle(canvas, spot, max(1, round(radius * reach)), (base * factor).tolist(), -1)


def cars(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """A few cars on the roads; other ones before and after, so that they teach nothing."""
    for _ in range(int(rng.integers(3, 10)) * plan.size // 256):
        road = plan.roads[int(rng.integers(len(plan.roads)))]
        at = int(rng.integers(len(road.points) - 1))
        start, end = road.points[at], road.points[at + 1]
        turn = math.atan2(end[1] - start[1], end[0] - start[0])
        lane = np.array([-math.sin(turn), math.cos(turn)]) * road.width * 0.22
        centre = (start + rng.random() * (end - start) + lane * (1 if rng.random() < 0.5 else -1)) * SCALE
        colour = CARS[int(rng.integers(len(CARS)))]
        half = np.array([2.9, 1.4]) * SCALE
        along, aside = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
        for factor, tone in ((1.0, colour), (0.5, tuple(value * 0.6 for value in colour))):
            corners = [
                centre + along * sx * half[0] * factor + aside * sy * half[1] * (0.5 + factor / 2)
                for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))
            ]
            cv2.fillPoly(canvas, [np.rint(corners).astype(np.int32)], [float(value) for value in tone])


def cloud(canvas: Canvas, building: Building, rng: np.random.Generator) -> None:
    """A small cloud that hides one building: why it is un-classified."""
    reach = round(building.width * 0.9)
    left, top = max(0, int(building.x) - reach), max(0, int(building.y) - reach)
    area = canvas[top * SCALE : (top + 2 * reach) * SCALE, left * SCALE : (left + 2 * reach) * SCALE]
    ys, xs = np.mgrid[0 : area.shape[0], 0 : area.shape[1]].astype(np.float32) / SCALE
    distance = np.hypot(xs + left - building.x, ys + top - building.y) / (building.width * 0.62)
    side = 2 * reach * SCALE
    ragged = distance + 0.5 * (
        value_noise(rng, side, side / SCALE / 14, 3)[: area.shape[0], : area.shape[1]] - 0.5
    )
    mixed = area.astype(np.float32)
    blend(mixed, (240, 241, 243), 0.97 * (1 - step(np.asarray(ragged, np.float32), 0.75, 1.1)))
    area[:] = mixed.astype(np.uint8)


def finish(
    canvas: Canvas, disaster: Disaster, *, post: bool, haze: tuple[Colour, float], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Down to the tile's size, with the sensor's blur and noise, gain and haze.

    Post images are off by up to a pixel.
    """
    side = canvas.shape[0]
    if post:
        dx, dy = (float(value) * SCALE for value in rng.uniform(-1, 1, 2))
        shift = np.asarray([[1, 0, dx], [0, 1, dy]], np.float32)
        canvas = np.asarray(
            cv2.warpAffine(canvas, shift, (side, side), borderMode=cv2.BORDER_REFLECT), np.uint8
        )
    size = (side // SCALE, side // SCALE)
    blurred = cv2.GaussianBlur(canvas, (0, 0), 0.45 * SCALE)
    image = np.asarray(cv2.resize(blurred, size, interpolation=cv2.INTER_AREA), np.float32)
    if post:
        image *= np.asarray(SCENERY[disaster].post_tint, np.float32)
        blend(image, haze[0], np.full(size, haze[1], np.float32))
    image = (image - 118) * 1.12 + 118
    image *= float(rng.uniform(0.95, 1.05))
    image += 2.2 * rng.standard_normal(image.shape, np.float32)
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)
