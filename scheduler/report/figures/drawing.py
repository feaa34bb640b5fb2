"""A picture as a list of rectangles, lines and words, and how it becomes SVG."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Final, Literal

Anchor = Literal["start", "middle", "end"]
FONT: Final = "Helvetica, Arial, sans-serif"
INK: Final = "#16202c"
SOFT: Final = "#4d5a69"
GRID: Final = "#dde2e8"


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle; lengths in points, y downwards."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Path:
    """A line through points."""

    points: Sequence[tuple[float, float]]
    stroke: str
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Words:
    """A line of text; `y` is its base line."""

    x: float
    y: float
    text: str
    anchor: Anchor = "start"
    size: float = 8.0
    fill: str = INK


@dataclass(slots=True)
class Drawing:
    """A picture of a size in points (1/72 inch).

    Parameters
    ----------
    width, height : float
        Size.
    title : str
        What it shows, for those who cannot see it.
    shapes : list
        Drawn in order.
    """

    width: float
    height: float
    title: str
    shapes: list[Box | Path | Words] = field(default_factory=list)

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, opacity: float = 1.0
    ) -> None:
        """Add a rectangle."""
        self.shapes.append(Box(x, y, width, height, fill, opacity))

    def path(self, points: Sequence[tuple[float, float]], stroke: str, width: float = 1.0) -> None:
        """Add a line."""
        self.shapes.append(Path(tuple(points), stroke, width))

    def words(
        self,
        x: float,
        y: float,
        text: str,
        anchor: Anchor = "start",
        size: float = 8.0,
        fill: str = INK,
    ) -> None:
        """Add text."""
        self.shapes.append(Words(x, y, text, anchor, size, fill))

    def svg(self) -> str:
        """Return the picture as SVG; text stays text."""
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}pt" height="{self.height:g}pt" role="img" '
            f'font-family="{FONT}">',
            f"<title>{html.escape(self.title)}</title>",
            f'<rect width="{self.width:g}" height="{self.height:g}" fill="#ffffff"/>',
        ]
        out += [_svg(shape) for shape in self.shapes]
        return "\n".join([*out, "</svg>"]) + "\n"


def _svg(shape: Box | Path | Words) -> str:
    if isinstance(shape, Box):
        faint = f' fill-opacity="{shape.opacity:.3f}"' if shape.opacity < 1 else ""
        return (
            f'<rect x="{shape.x:.2f}" y="{shape.y:.2f}" width="{max(0.0, shape.width):.2f}" '
            f'height="{max(0.0, shape.height):.2f}" fill="{shape.fill}"{faint}/>'
        )
    if isinstance(shape, Path):
        points = " ".join(f"{x:.2f},{y:.2f}" for x, y in shape.points)
        return (
            f'<polyline points="{points}" fill="none" stroke="{shape.stroke}" '
            f'stroke-width="{shape.width:g}"/>'
        )
    return (
        f'<text x="{shape.x:.2f}" y="{shape.y:.2f}" font-size="{shape.size:g}" '
        f'text-anchor="{shape.anchor}" fill="{shape.fill}">{html.escape(shape.text)}</text>'
    )


@cache
def colours() -> Mapping[str, str]:
    """Return the colours of the page's light theme by name."""
    css = files("scheduler.report.page").joinpath("assets", "page.css").read_text(encoding="utf-8")
    return dict(re.findall(r"--([a-z0-9_-]+):\s*(#[0-9a-f]{6})", css[: css.index("}")]))
