"""What the two synthetic disasters look like: colours, sun, and what the damage is made of."""

import hashlib
from enum import StrEnum

import msgspec
import numpy as np

from serinus.core.errors import InvalidInput

Colour = tuple[int, int, int]
"""RGB, 0 to 255."""


class Disaster(StrEnum):
    HURRICANE = "synth-hurricane"
    WILDFIRE = "synth-wildfire"


def known_disaster(name: str) -> Disaster:
    """Raises InvalidInput for a name that is none."""
    try:
        return Disaster(name)
    except ValueError as error:
        raise InvalidInput(
            f"There is no synthetic disaster {name!r}.", remedy=f"Choose one of {', '.join(Disaster)}."
        ) from error


class Hazard(StrEnum):
    """What did the damage on one tile: the bands of damage are the same, the material is not."""

    WIND = "wind"
    FLOOD = "flooding"
    FIRE = "fire"


class Sun(msgspec.Struct, frozen=True, kw_only=True):
    azimuth: float
    """Degrees clockwise from north (up), where the sun stands."""
    elevation: float
    """Degrees over the horizon."""


class Scenery(msgspec.Struct, frozen=True, kw_only=True):
    ground: tuple[Colour, Colour, Colour]
    """Colours of the terrain from its lowest to its highest noise value."""
    fields: tuple[Colour, ...]
    yard: Colour
    trees: tuple[Colour, ...]
    road: Colour
    roofs: tuple[Colour, ...]
    sun_pre: Sun
    sun_post: Sun
    hazards: tuple[tuple[Hazard, float], ...]
    """Which hazards a tile may show, with their probabilities."""
    post_tint: tuple[float, float, float]
    """Gain per channel of the post image: another day, another haze."""
    origin: tuple[float, float]
    """Made-up longitude and latitude of tile 0's upper left corner, in degrees."""


SCENERY: dict[Disaster, Scenery] = {
    Disaster.HURRICANE: Scenery(
        ground=((84, 104, 62), (112, 128, 80), (158, 152, 116)),
        fields=((126, 142, 78), (150, 148, 98), (98, 122, 66), (172, 160, 120)),
        yard=(110, 138, 78),
        trees=((48, 76, 38), (58, 88, 44), (40, 66, 40)),
        road=(128, 128, 126),
        roofs=(
            (196, 192, 184),
            (172, 108, 84),
            (148, 150, 154),
            (222, 216, 204),
            (132, 120, 110),
            (182, 148, 118),
        ),
        sun_pre=Sun(azimuth=142, elevation=56),
        sun_post=Sun(azimuth=162, elevation=48),
        hazards=((Hazard.WIND, 0.65), (Hazard.FLOOD, 0.35)),
        post_tint=(0.97, 0.98, 0.95),
        origin=(-85.62, 30.18),
    ),
    Disaster.WILDFIRE: Scenery(
        ground=((122, 104, 70), (166, 144, 98), (196, 178, 132)),
        fields=((184, 164, 110), (150, 132, 86), (204, 188, 144)),
        yard=(138, 132, 84),
        trees=((44, 58, 40), (56, 66, 42), (36, 52, 40)),
        road=(116, 110, 104),
        roofs=(
            (118, 84, 66),
            (152, 96, 70),
            (98, 88, 82),
            (170, 132, 100),
            (134, 126, 118),
            (188, 172, 150),
        ),
        sun_pre=Sun(azimuth=232, elevation=36),
        sun_post=Sun(azimuth=246, elevation=29),
        hazards=((Hazard.FIRE, 1.0),),
        post_tint=(1.03, 0.97, 0.90),
        origin=(-121.61, 39.76),
    ),
}

HAZE: dict[Hazard, tuple[Colour, float]] = {
    Hazard.WIND: ((205, 212, 220), 0.04),
    Hazard.FLOOD: ((200, 205, 205), 0.06),
    Hazard.FIRE: ((196, 176, 150), 0.10),
}
"""Colour and share of the haze over a post image."""


def stream(seed: int, disaster: Disaster, tile: int, purpose: str) -> np.random.Generator:
    """The random stream of one purpose in one tile: any tile can be made without the others."""
    digest = hashlib.sha256(f"{seed}|{disaster}|{tile}|{purpose}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
