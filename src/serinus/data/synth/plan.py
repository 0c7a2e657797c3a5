"""Where everything on a tile stands, before a pixel is drawn. Coordinates are tile pixels, y down."""

import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from serinus.data.synth.scenery import SCENERY, Disaster, Hazard, stream
from serinus.data.xbd import Subtype

Points = NDArray[np.float64]
"""[N, 2]: x, y."""

MIX = {
    Subtype.NO_DAMAGE: 0.60,
    Subtype.MINOR: 0.14,
    Subtype.MAJOR: 0.12,
    Subtype.DESTROYED: 0.12,
    Subtype.UN_CLASSIFIED: 0.02,
}
BANDS = {Subtype.MINOR: (0.08, 0.20), Subtype.MAJOR: (0.35, 0.60)}
"""Share of the roof that is damaged. The bands do not touch, so that classes can be told apart."""
BASE_SIZE = 256
"""Counts are per tile of this many pixels a side and grow with the side."""


class RoofKind(StrEnum):
    GABLE = "gable"
    HIP = "hip"
    FLAT = "flat"


@dataclass(frozen=True, kw_only=True)
class Lot:
    """A place for a building: a rectangle that touches nothing."""

    x: float
    y: float
    angle: float
    """Radians, of the long side against the x axis."""
    width: float
    depth: float
    door: tuple[float, float]
    """Where its drive meets the road."""

    def outline(self) -> Points:
        """Corners around (0, 0), not turned."""
        w, d = self.width / 2, self.depth / 2
        return np.array([(-w, -d), (w, -d), (w, d), (-w, d)])

    def corners(self) -> Points:
        """Corners in tile pixels."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        turned = self.outline() @ np.array([[cos, sin], [-sin, cos]])
        return np.asarray(turned + np.array((self.x, self.y)))


@dataclass(frozen=True, kw_only=True)
class Building(Lot):
    """A rectangle, or an L: the rectangle without a corner."""

    notch: tuple[float, float]
    """The missing corner, as shares of width and depth; 0, 0 for none."""
    height: float
    """Pixels; gives the length of the shadow."""
    roof: RoofKind
    colour: int
    """Index into the scenery's roofs."""
    damage: Subtype
    extent: float
    """Share of the roof that is damaged, within its class's band."""
    uid: str
    seed: int
    """Of the stream of its texture and damage."""

    def outline(self) -> Points:
        across, down = self.notch
        if not across:
            return super().outline()
        w, d = self.width / 2, self.depth / 2
        inner_x, inner_y = w - across * self.width, d - down * self.depth
        return np.array([(-w, -d), (w, -d), (w, inner_y), (inner_x, inner_y), (inner_x, d), (-w, d)])


@dataclass(frozen=True, kw_only=True)
class Road:
    points: Points
    width: float


@dataclass(frozen=True, kw_only=True)
class Field:
    corners: Points
    colour: int
    angle: float
    furrow: float
    """Distance of the furrows in pixels."""


@dataclass(frozen=True, kw_only=True)
class Tree:
    x: float
    y: float
    radius: float
    tone: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    seed: int
    disaster: Disaster
    tile: int
    size: int
    hazard: Hazard
    roads: tuple[Road, ...]
    fields: tuple[Field, ...]
    buildings: tuple[Building, ...]
    trees: tuple[Tree, ...]


def plan_tile(seed: int, disaster: Disaster, tile: int, size: int) -> Plan:
    """The plan of one tile of `size` x `size` pixels."""
    rng = stream(seed, disaster, tile, "plan")
    hazards = SCENERY[disaster].hazards
    hazard = hazards[int(rng.choice(len(hazards), p=[share for _, share in hazards]))][0]
    heading = float(rng.uniform(-0.45, 0.45))
    roads = _roads(rng, size, heading)
    fields = _fields(rng, disaster, size, heading)
    taken = np.zeros((size, size), np.uint8)
    for road in roads:
        cv2.polylines(taken, [np.rint(road.points).astype(np.int32)], False, 1, round(road.width) + 4)
    buildings = _buildings(rng, disaster, size, roads, taken)
    trees = _trees(rng, disaster, size, taken)
    return Plan(
        seed=seed,
        disaster=disaster,
        tile=tile,
        size=size,
        hazard=hazard,
        roads=roads,
        fields=fields,
        buildings=buildings,
        trees=trees,
    )


def _roads(rng: np.random.Generator, size: int, heading: float) -> tuple[Road, ...]:
    """A grid, turned by `heading`, with jittered distances and a slight swing."""
    reach = size * 0.75
    roads = []
    for turn, spacing in ((heading, rng.uniform(78, 100)), (heading + math.pi / 2, rng.uniform(105, 150))):
        along = np.array([math.cos(turn), math.sin(turn)])
        aside = np.array([-along[1], along[0]])
        at = -reach + rng.uniform(0, spacing)
        while at < reach:
            steps = np.linspace(-reach, reach, 24)
            swing = rng.uniform(0, 5) * np.sin(steps / rng.uniform(60, 140) + rng.uniform(0, 6.3))
            points = size / 2 + steps[:, None] * along + (at + swing)[:, None] * aside
            roads.append(Road(points=points, width=float(rng.uniform(6.5, 9.5))))
            at += spacing * rng.uniform(0.85, 1.2)
    return tuple(roads)


def _fields(rng: np.random.Generator, disaster: Disaster, size: int, heading: float) -> tuple[Field, ...]:
    fields = []
    for _ in range(int(rng.integers(2, 5)) * size // BASE_SIZE):
        centre = rng.uniform(0, size, 2)
        half = rng.uniform(22, 62, 2)
        turn = heading + rng.normal(0, 0.08)
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half + rng.normal(0, 5, (4, 2))
        rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        fields.append(
            Field(
                corners=corners @ rotation + centre,
                colour=int(rng.integers(len(SCENERY[disaster].fields))),
                angle=float(turn + rng.choice([0, math.pi / 2])),
                furrow=float(rng.uniform(3.0, 5.5)),
            )
        )
    return tuple(fields)


def _buildings(
    rng: np.random.Generator, disaster: Disaster, size: int, roads: tuple[Road, ...], taken: NDArray[np.uint8]
) -> tuple[Building, ...]:
    """8 to 18 buildings (at 256 px) beside the roads, none touching another or a road.

    Marks them in `taken`.
    """
    wanted = int(rng.integers(8, 19)) * size // BASE_SIZE
    stretches = [
        (road.width, *start.tolist(), *end.tolist())
        for road in roads
        for start, end in pairwise(road.points)
        if start.min() >= 0 and start.max() <= size
    ]
    found: list[Building] = []
    for attempt in range(wanted * 80):
        if len(found) == wanted:
            break
        # Room beside the roads may run out; the last attempts go anywhere.
        lot = _lot(rng, size, stretches, beside=attempt < wanted * 40)
        reach = math.hypot(lot.width, lot.depth) / 2
        if min(lot.x, lot.y) < reach + 3 or max(lot.x, lot.y) > size - reach - 4:
            continue
        if taken[int(lot.y), int(lot.x)]:
            continue
        area = np.s_[
            int(lot.y - reach - 4) : int(lot.y + reach + 5), int(lot.x - reach - 4) : int(lot.x + reach + 5)
        ]
        corner = (int(lot.x - reach - 4), int(lot.y - reach - 4))
        shape = np.zeros_like(taken[area])
        cv2.fillPoly(shape, [np.rint(lot.corners() - corner).astype(np.int32)], 1)
        shape = np.asarray(cv2.dilate(shape, np.ones((7, 7), np.uint8)), np.uint8)
        if not np.any(taken[area] & shape):
            taken[area] |= shape
            found.append(_build(rng, disaster, lot))
    return tuple(found)


def _lot(
    rng: np.random.Generator,
    size: int,
    stretches: list[tuple[float, float, float, float, float]],
    *,
    beside: bool,
) -> Lot:
    """A place beside one of `stretches` (road width, x and y of its start and of its end), or anywhere."""
    chance = rng.random(10).tolist()
    road_width, x1, y1, x2, y2 = stretches[int(chance[9] * len(stretches))]
    long = 19 + 21 * chance[0]
    short = max(14.0, long * (0.5 + 0.35 * chance[1]))
    door = (x1 + chance[2] * (x2 - x1), y1 + chance[2] * (y2 - y1))
    turn = math.atan2(y2 - y1, x2 - x1)
    deep = chance[3] < 0.3
    away = road_width / 2 + 4 + 6 * chance[4] + (long if deep else short) / 2
    away *= 1 if chance[5] < 0.5 else -1
    centre = (door[0] - away * math.sin(turn), door[1] + away * math.cos(turn))
    if not beside:
        centre = (size * chance[6], size * chance[7])
    return Lot(
        x=centre[0],
        y=centre[1],
        angle=turn + (math.pi / 2 if deep else 0.0) + 0.16 * (chance[8] - 0.5),
        width=long,
        depth=short,
        door=door,
    )


def _build(rng: np.random.Generator, disaster: Disaster, lot: Lot) -> Building:
    corner = rng.random() < 0.35
    damages = tuple(MIX)
    damage = damages[int(rng.choice(len(damages), p=list(MIX.values())))]
    low, high = BANDS.get(damage, (0.0, 0.0))
    return Building(
        x=lot.x,
        y=lot.y,
        angle=lot.angle,
        width=lot.width,
        depth=lot.depth,
        door=lot.door,
        notch=(float(rng.uniform(0.3, 0.5)), float(rng.uniform(0.3, 0.5))) if corner else (0.0, 0.0),
        height=float(rng.uniform(4.0, 8.0)),
        roof=tuple(RoofKind)[int(rng.choice(3, p=(0.45, 0.35, 0.20)))],
        colour=int(rng.integers(len(SCENERY[disaster].roofs))),
        damage=damage,
        extent=float(rng.uniform(low, high)),
        uid=rng.bytes(16).hex(),
        seed=int(rng.integers(2**31)),
    )


def _trees(
    rng: np.random.Generator, disaster: Disaster, size: int, taken: NDArray[np.uint8]
) -> tuple[Tree, ...]:
    """Groves and single trees where nothing else stands."""
    area = (size / BASE_SIZE) ** 2
    groves = rng.uniform(0, size, (max(1, int(rng.integers(3, 7) * area)), 2))
    trees = []
    for _ in range(int(rng.integers(70, 150) * area)):
        if rng.random() < 0.7:
            spot = groves[int(rng.integers(len(groves)))] + rng.normal(0, 16, 2)
        else:
            spot = rng.uniform(0, size, 2)
        radius = float(rng.uniform(1.8, 4.6))
        column, row = (int(value) for value in spot)
        if 0 <= column < size and 0 <= row < size and not taken[row, column]:
            tone = int(rng.integers(len(SCENERY[disaster].trees)))
            trees.append(Tree(x=float(spot[0]), y=float(spot[1]), radius=radius, tone=tone))
    return tuple(trees)
