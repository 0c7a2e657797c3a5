"""A picture as a list of shapes, and two ways to paint it: SVG, which follows the reader's light or dark
theme, and PNG (light, with Pillow). Units are pixels at normal size, y grows downwards.
"""

import io
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from xml.sax.saxutils import escape

from serinus.core.errors import Misconfigured

if TYPE_CHECKING:
    pass

Points: TypeAlias = Sequence[tuple[float, float]]
_OVERSAMPLED = 4
_PNG_SCALE = 2


class Ink(StrEnum):
    """What a colour stands for. The hues are Okabe and Ito's: told apart by colour-blind people too."""

    PAPER = "paper"
    TEXT = "text"
    MUTED = "muted"
    GRID = "grid"
    CANARY = "canary"
    CURRENT = "current"
    HARM = "harm"
    GOOD = "good"
    SLOW = "slow"


LIGHT = {
    Ink.PAPER: "#ffffff",
    Ink.TEXT: "#1f2328",
    Ink.MUTED: "#59636e",
    Ink.GRID: "#e4e7eb",
    Ink.CANARY: "#c77800",
    Ink.CURRENT: "#0072b2",
    Ink.HARM: "#c43e00",
    Ink.GOOD: "#00805d",
    Ink.SLOW: "#8a4fa3",
}
DARK = {
    Ink.PAPER: "#0d1117",
    Ink.TEXT: "#e6edf3",
    Ink.MUTED: "#9198a1",
    Ink.GRID: "#262c36",
    Ink.CANARY: "#f0a630",
    Ink.CURRENT: "#56b4e9",
    Ink.HARM: "#ff7f50",
    Ink.GOOD: "#3ccf9f",
    Ink.SLOW: "#cc99e0",
}


class Line(NamedTuple):
    points: Points
    ink: Ink
    width: float = 1.0
    dashed: bool = False


class Area(NamedTuple):
    points: Points
    ink: Ink
    opacity: float


class Text(NamedTuple):
    x: float
    y: float
    """Of the middle of the line."""
    text: str
    ink: Ink = Ink.TEXT
    size: float = 12.0
    anchor: str = "start"
    """`start`, `middle` or `end`."""
    bold: bool = False


Shape: TypeAlias = Line | Area | Text


class Picture(NamedTuple):
    width: int
    height: int
    title: str
    """For people who do not see it."""
    shapes: Sequence[Shape]


def svg(picture: Picture) -> bytes:
    """Paints it as SVG that needs nothing else."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {picture.width} {picture.height}" '
        f'width="{picture.width}" height="{picture.height}" role="img" '
        'font-family="system-ui, sans-serif">',
        f"<title>{escape(picture.title)}</title>",
        f"<style>{_style()}</style>",
        '<rect class="f-paper" width="100%" height="100%"/>',
        *(_element(shape) for shape in picture.shapes),
        "</svg>",
    ]
    return "\n".join(parts).encode()


def _style() -> str:
    def variables(palette: dict[Ink, str]) -> str:
        return "".join(f"--{ink}:{colour};" for ink, colour in palette.items())

    uses = "".join(f".f-{ink}{{fill:var(--{ink})}}.s-{ink}{{stroke:var(--{ink});fill:none}}" for ink in Ink)
    return (
        f"svg{{{variables(LIGHT)}}}"
        f"@media (prefers-color-scheme:dark){{svg{{{variables(DARK)}}}}}"
        f"{uses}text{{dominant-baseline:central}}"
    )


def _element(shape: Shape) -> str:
    match shape:
        case Line(points, ink, width, dashed):
            dash = ' stroke-dasharray="5 4"' if dashed else ""
            return (
                f'<polyline class="s-{ink}" stroke-width="{width:g}" stroke-linejoin="round"{dash} '
                f'points="{_coordinates(points)}"/>'
            )
        case Area(points, ink, opacity):
            return f'<polygon class="f-{ink}" opacity="{opacity:g}" points="{_coordinates(points)}"/>'
        case Text(x, y, text, ink, size, anchor, bold):
            weight = ' font-weight="600"' if bold else ""
            return (
                f'<text class="f-{ink}" x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" '
                f'text-anchor="{anchor}"{weight}>{escape(text)}</text>'
            )


def _coordinates(points: Points) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def png(picture: Picture) -> bytes:
    """Paints it as PNG, twice the normal size. Raises Misconfigured where Pillow is not installed."""
    try:
        from PIL import Image, ImageColor, ImageDraw, ImageFont
    except ImportError as error:
        raise Misconfigured(
            "A PNG needs the package pillow.", remedy="Install it, or write an .svg, which needs nothing."
        ) from error
    scale = _OVERSAMPLED

    def at(points: Points) -> list[tuple[float, float]]:
        return [(x * scale, y * scale) for x, y in points]

    image: Image.Image = Image.new("RGB", (picture.width * scale, picture.height * scale), LIGHT[Ink.PAPER])
    for shape in picture.shapes:
        draw = ImageDraw.Draw(image)
        match shape:
            case Line(points, ink, width, dashed):
                for piece in _dashes(points) if dashed else [points]:
                    draw.line(at(piece), fill=LIGHT[ink], width=round(width * scale), joint="curve")
            case Area(points, ink, opacity):
                mask = Image.new("L", image.size, 0)
                ImageDraw.Draw(mask).polygon(at(points), fill=round(255 * opacity))
                image.paste(Image.new("RGB", image.size, ImageColor.getrgb(LIGHT[ink])), mask=mask)
            case Text(x, y, text, ink, size, anchor, bold):
                draw.text(
                    (x * scale, y * scale),
                    text,
                    fill=LIGHT[ink],
                    font=ImageFont.load_default(size * scale),
                    anchor={"start": "l", "middle": "m", "end": "r"}[anchor] + "m",
                    stroke_width=scale // 4 if bold else 0,
                    stroke_fill=LIGHT[ink],
                )
    small = image.resize((picture.width * _PNG_SCALE, picture.height * _PNG_SCALE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "PNG", optimize=True)
    return out.getvalue()


def _dashes(points: Points, on: float = 5.0, off: float = 4.0) -> list[Points]:
    """A line of straight pieces, cut into dashes."""
    found: list[Points] = []
    for (x0, y0), (x1, y1) in pairwise(points):
        length = max(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 1e-9)
        start = 0.0
        while start < length:
            end = min(start + on, length)
            ends = [(x0 + (x1 - x0) * part / length, y0 + (y1 - y0) * part / length) for part in (start, end)]
            found.append(ends)
            start = end + off
    return found
