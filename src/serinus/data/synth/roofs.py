"""Draws buildings: roofs with sun and shadow, and what a disaster leaves of them.

The bands of damage do not touch (minor 8-20 % of the roof, major 35-60 %, destroyed all of it), and each
shows the same shape whatever did it: patches, a jagged cut, rubble. So the classes can be learned from the
pictures alone.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from serinus.data.synth.land import (
    SCALE,
    Canvas,
    Ground,
    Mask,
    blend,
    darken,
    pixels,
    shadow_offset,
    step,
    value_noise,
)
from serinus.data.synth.plan import Building, RoofKind
from serinus.data.synth.scenery import Colour, Hazard, Sun
from serinus.data.xbd import Subtype

TARP: Colour = (44, 92, 176)
PATCH: dict[Hazard, Colour] = {
    Hazard.WIND: (58, 46, 38),
    Hazard.FLOOD: (74, 60, 42),
    Hazard.FIRE: (30, 26, 24),
}
"""What shows where minor damage took the roof's cover."""
INSIDE: dict[Hazard, Colour] = {
    Hazard.WIND: (96, 80, 64),
    Hazard.FLOOD: (86, 76, 56),
    Hazard.FIRE: (44, 38, 36),
}
"""What shows where the roof is gone: rafters and floors, mud, char."""
RUBBLE: dict[Hazard, tuple[Colour, ...]] = {
    Hazard.WIND: ((190, 178, 158), (120, 100, 80), (226, 220, 208), (86, 74, 64), (150, 124, 98)),
    Hazard.FLOOD: ((140, 124, 96), (98, 84, 62), (176, 164, 140), (70, 62, 50)),
    Hazard.FIRE: ((66, 60, 58), (188, 184, 180), (40, 36, 34), (132, 126, 122), (222, 219, 214)),
}
BED: dict[Hazard, Colour] = {
    Hazard.WIND: (134, 116, 94),
    Hazard.FLOOD: (112, 98, 74),
    Hazard.FIRE: (84, 78, 75),
}
MARGIN = 5
"""Tile pixels around a footprint that its rubble may reach."""


@dataclass(frozen=True)
class _Patch:
    """One building's part of the canvas."""

    area: Canvas
    """A view: drawing on it draws on the canvas."""
    u: Mask
    """Tile pixels from the building's centre along its long side."""
    v: Mask
    """The same across."""
    shape: Mask
    """1 inside the footprint."""
    corner: tuple[int, int]


def shadows(canvas: Canvas, buildings: tuple[Building, ...], sun: Sun, *, post: bool) -> None:
    """Shadows of all buildings. After the disaster destroyed ones cast none, half gone ones a shorter one."""
    dark = np.zeros(canvas.shape[:2], np.uint8)
    for building in buildings:
        height = building.height
        if post and building.damage is Subtype.DESTROYED:
            continue
        if post and building.damage is Subtype.MAJOR:
            height *= 0.6
        dx, dy = shadow_offset(sun, height)
        corners = building.corners()
        for part in np.linspace(0, 1, 7):
            cv2.fillPoly(dark, [pixels(corners + np.array((dx, dy)) * part)], 255)
    darken(canvas, dark, 1.0)


def building(canvas: Canvas, house: Building, colour: Colour, sun: Sun) -> None:
    """The whole building, as before the disaster."""
    patch = _patch(canvas, house)
    _paint(patch, _roof(patch, house, colour, sun))


def damaged(canvas: Canvas, house: Building, colour: Colour, sun: Sun, hazard: Hazard) -> None:
    """The building after the disaster."""
    patch = _patch(canvas, house)
    rng = np.random.Generator(np.random.PCG64(house.seed))
    if house.damage is Subtype.DESTROYED:
        _rubble(patch, house, colour, hazard, rng)
        return
    roof = _roof(patch, house, colour, sun)
    if house.damage is Subtype.MINOR:
        _patches(patch, house, roof, hazard, rng)
    if house.damage is Subtype.MAJOR:
        _cut(patch, house, roof, hazard, rng)
    _paint(patch, roof)


def _paint(patch: _Patch, roof: Ground) -> None:
    np.copyto(patch.area, np.clip(roof, 0, 255).astype(np.uint8), where=patch.shape[..., None] > 0)


def _patch(canvas: Canvas, house: Building) -> _Patch:
    side = canvas.shape[0]
    corners = pixels(house.corners())
    left, top = (int(value) for value in np.maximum(corners.min(axis=0) - MARGIN * SCALE, 0))
    right, bottom = (int(value) for value in np.minimum(corners.max(axis=0) + MARGIN * SCALE, side))
    ys, xs = np.mgrid[top:bottom, left:right].astype(np.float32) / SCALE
    xs, ys = xs - house.x, ys - house.y
    cos, sin = math.cos(house.angle), math.sin(house.angle)
    shape = np.zeros((bottom - top, right - left), np.float32)
    cv2.fillPoly(shape, [corners - (left, top)], 1.0)
    return _Patch(
        canvas[top:bottom, left:right], xs * cos + ys * sin, ys * cos - xs * sin, shape, (left, top)
    )


def _roof(patch: _Patch, house: Building, colour: Colour, sun: Sun) -> Ground:
    """The whole roof's colours: two-tone by the sun, rows of tiles, a dark edge, a light ridge."""
    half_u, half_v = house.width / 2, house.depth / 2
    across, down = house.notch
    u, v = patch.u, patch.v
    gap_u, gap_v = half_u - np.abs(u), half_v - np.abs(v)
    if across:  # the wing that is left beside the notch carries its own ridge, at a right angle
        wing_half = half_u * (1 - across)
        wing = v > half_v - down * house.depth
        gap_u = np.where(wing, wing_half - np.abs(u + half_u - wing_half), gap_u)
        main_half = half_v * (1 - down)
        gap_v = np.where(wing, half_v * 2, main_half - np.abs(v + half_v - main_half))
        sides = (np.sign(u + half_u - wing_half), np.sign(v + half_v - main_half))
    else:
        wing = np.zeros(u.shape, bool)
        sides = (np.sign(u), np.sign(v))
    shade = _shade(house, sun, wing, (gap_u, gap_v), sides)
    rng = np.random.Generator(np.random.PCG64(house.seed + 1))
    grain = 0.025 * rng.standard_normal(u.shape, np.float32)
    rows = 0.035 * np.sin(np.where(wing, u, v) * (2 * math.pi / 2.6))
    edge = np.minimum(gap_u, gap_v)
    if house.roof is RoofKind.FLAT:
        rows = np.zeros_like(rows)
        shade = shade + 0.20 * (edge < 1.4) - 0.16 * ((edge >= 1.4) & (edge < 2.2))
        for _ in range(int(rng.integers(1, 4))):
            spot = rng.uniform(-0.55, 0.55, 2) * (half_u, half_v * 0.6)
            near = np.maximum(np.abs(u - spot[0]), np.abs(v - spot[1]))
            shade = shade + 0.30 * (near < 1.5) - 0.22 * ((near >= 1.5) & (near < 2.3))
    else:
        shade = shade - 0.22 * (edge < 0.9)
    tone = (shade + grain + rows)[..., None] * np.asarray(colour, np.float32)
    return np.asarray(tone, np.float32)


def _shade(
    house: Building,
    sun: Sun,
    wing: NDArray[np.bool_],
    gaps: tuple[NDArray[np.floating], NDArray[np.floating]],
    sides: tuple[NDArray[np.floating], NDArray[np.floating]],
) -> NDArray[np.floating]:
    """Light per pixel: roof faces towards the sun are bright, those away from it dark."""
    if house.roof is RoofKind.FLAT:
        return np.ones_like(gaps[0])
    away = shadow_offset(sun, 1.0)
    norm = math.hypot(*away)
    to_sun = (-away[0] / norm, -away[1] / norm)
    cos, sin = math.cos(house.angle), math.sin(house.angle)
    light_u, light_v = to_sun[0] * cos + to_sun[1] * sin, to_sun[1] * cos - to_sun[0] * sin
    faces_u = wing if house.roof is RoofKind.GABLE else gaps[0] < gaps[1]
    facing = np.where(faces_u, sides[0] * light_u, sides[1] * light_v)
    steep = 0.20 + 0.10 / math.tan(math.radians(sun.elevation))
    inner = np.where(faces_u, gaps[0], gaps[1])
    ridge = 0.10 * (np.abs(inner - np.where(faces_u, house.width, house.depth) / 2) < 0.6)
    return 0.98 + steep * facing + ridge


def _worst(field: Mask, shape: Mask, share: float) -> NDArray[np.bool_]:
    """The `share` of the footprint's pixels where `field` is highest: exactly that share."""
    inside = shape > 0
    return inside & (field > np.quantile(field[inside], 1 - share))


def _patches(patch: _Patch, house: Building, roof: Ground, hazard: Hazard, rng: np.random.Generator) -> None:
    """Minor: some patches of the cover are gone; after wind, some lie under a blue tarpaulin."""
    side = max(patch.shape.shape)
    spots = value_noise(rng, side, side / SCALE / 7, 2)[: patch.shape.shape[0], : patch.shape.shape[1]]
    gone = _worst(spots, patch.shape, house.extent)
    tone = rng.normal(1, 0.12, gone.shape)[..., None] * np.asarray(PATCH[hazard], np.float32)
    if hazard is Hazard.WIND and rng.random() < 0.5:
        stripes = 1 + 0.06 * np.sin(patch.u * 2.2)
        tone = stripes[..., None] * np.asarray(TARP, np.float32)
    roof[gone] = tone[gone]
    rim = np.asarray(cv2.dilate(gone.astype(np.uint8), np.ones((3, 3), np.uint8)), bool) & ~gone
    roof[rim] *= 0.72


def _cut(patch: _Patch, house: Building, roof: Ground, hazard: Hazard, rng: np.random.Generator) -> None:
    """Major: 35-60 % of the roof is gone along a jagged cut; rafters and rooms show."""
    turn = rng.uniform(0, 2 * math.pi)
    slope = patch.u / house.width * math.cos(turn) + patch.v / house.depth * math.sin(turn)
    side = max(patch.shape.shape)
    jagged = value_noise(rng, side, side / SCALE / 5, 2)[: patch.shape.shape[0], : patch.shape.shape[1]]
    gone = _worst(np.asarray(slope + 0.35 * jagged, np.float32), patch.shape, house.extent)
    rafters = (np.abs(np.sin(patch.u * (math.pi / 3.4))) < 0.22) | (np.abs(patch.v) < 0.7)
    litter = value_noise(rng, side, side / SCALE / 3, 2)[: gone.shape[0], : gone.shape[1]]
    inside = (0.6 + 0.8 * litter)[..., None] * np.asarray(INSIDE[hazard], np.float32)
    inside[rafters] *= 1.5 if hazard is not Hazard.FIRE else 0.55
    roof[gone] = inside[gone]
    rim = np.asarray(cv2.dilate(gone.astype(np.uint8), np.ones((3, 3), np.uint8)), bool) & ~gone
    roof[rim] = roof[rim] * 0.5 + 20
    # The part of the hole that lies under the remaining roof is in its shadow.
    kept = np.asarray(cv2.erode(gone.astype(np.uint8), np.ones((7, 7), np.uint8)), bool)
    roof[gone & ~kept] *= 0.7


def _rubble(patch: _Patch, house: Building, colour: Colour, hazard: Hazard, rng: np.random.Generator) -> None:
    """Destroyed: no roof, no shadow; broken pieces over the footprint and a little beyond."""
    spread = np.asarray(cv2.GaussianBlur(patch.shape, (0, 0), 2.5 * SCALE), np.float32)
    side = max(patch.shape.shape)
    ragged = value_noise(rng, side, side / SCALE / 6, 3)[: patch.shape.shape[0], : patch.shape.shape[1]]
    bed = step(np.asarray(spread + 0.35 * (ragged - 0.5), np.float32), 0.32, 0.5)
    floor = (0.75 + 0.5 * ragged)[..., None] * np.asarray(BED[hazard], np.float32)
    mixed = patch.area.astype(np.float32)
    blend(mixed, np.asarray(floor, np.float32), bed * 0.92)
    patch.area[:] = np.clip(mixed, 0, 255).astype(np.uint8)
    _pieces(patch, house, _tones(colour, hazard), rng)


def _tones(colour: Colour, hazard: Hazard) -> NDArray[np.float64]:
    """Colours of the rubble, [N, 3]; fire leaves nothing of the roof's own."""
    return np.array(RUBBLE[hazard] if hazard is Hazard.FIRE else (*RUBBLE[hazard], colour), float)


def _pieces(patch: _Patch, house: Building, tones: NDArray[np.float64], rng: np.random.Generator) -> None:
    """Beams and sheets in all directions, each with a dark rim; thickest in the middle."""
    count = int(house.width * house.depth / 4)
    spots = rng.normal(0, 0.33, (count, 2)) * (house.width, house.depth)
    beyond = np.abs(spots) - np.array((house.width, house.depth)) / 2
    spots = spots[beyond.max(axis=1) <= 3]
    count = len(spots)
    cos, sin = math.cos(house.angle), math.sin(house.angle)
    centres = (spots @ np.array(((cos, sin), (-sin, cos))) + (house.x, house.y)) * SCALE - patch.corner
    turns = rng.uniform(0, math.pi, count)
    along = np.column_stack((np.cos(turns), np.sin(turns))) * rng.uniform(1.0, 3.6, (count, 1)) * SCALE / 2
    aside = np.column_stack((-np.sin(turns), np.cos(turns))) * rng.uniform(0.6, 1.6, (count, 1)) * SCALE / 2
    corners = np.stack((-along - aside, along - aside, along + aside, -along), axis=1) + centres[:, None]
    shapes = np.rint(corners).astype(np.int32)
    paints = tones[rng.integers(len(tones), size=count)] * rng.uniform(0.8, 1.15, (count, 1))
    for shape, paint, rim in zip(shapes, paints.tolist(), (paints * 0.35).tolist(), strict=True):
        cv2.fillPoly(patch.area, [shape + 1], rim)
        cv2.fillPoly(patch.area, [shape], paint)
