"""The geometry of an evaluation's pictures: numbers from 0 to 1 → SVG paths.

A plot is `WIDTH` by `HEIGHT` units with room for its axes; a bar is 100 units long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 360, 264
LEFT, RIGHT, TOP, FOOT = 40, 348, 12, 224
SHADES = 10


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark of an axis: its place and its text."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """An interval on a line of 100 units: band, the score itself, and what it is measured from."""

    left: float
    width: float
    at: float
    reference: float | None


def x(value: float) -> float:
    """The place of a value of the horizontal axis."""
    return round(LEFT + (RIGHT - LEFT) * min(1.0, max(0.0, value)), 1)


def y(value: float) -> float:
    """The place of a value of the vertical axis."""
    return round(FOOT - (FOOT - TOP) * min(1.0, max(0.0, value)), 1)


def marks_x() -> list[Mark]:
    """The horizontal axis from 0 to 1."""
    return [Mark(x(k / 4), f"{k / 4:g}") for k in range(5)]


def marks_y(low: float = 0.0) -> list[Mark]:
    """The vertical axis from a value to 1."""
    return [Mark(y(k / 4), f"{low + (1 - low) * k / 4:.3g}") for k in range(5)]


def reliability(bins: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The bars of a reliability diagram: what was right, and the gap to the confidence.

    A bar stands for what confidence and accuracy share, the gap above it for what one of them has
    more: confidence where the model is `too_sure`, else accuracy.
    """
    found = []
    for b in bins:
        left, right = x(b["low"]) + 1, x(b["high"]) - 1
        top, sure = y(b["accuracy"]), y(b["confidence"])
        shared = max(top, sure)
        found.append(
            {
                "x": round(left, 1),
                "width": round(right - left, 1),
                "y": shared,
                "height": round(FOOT - shared, 1),
                "gap_y": min(top, sure),
                "gap_height": round(abs(top - sure), 1),
                "too_sure": b["confidence"] > b["accuracy"],
            }
        )
    return found


def line(points: Sequence[tuple[float, float]], low: float = 0.0) -> str:
    """A line through points, whose vertical axis starts at `low`."""
    places = [f"{x(a)} {y((b - low) / (1 - low))}" for a, b in points]
    return "M" + "L".join(places) if places else ""


def foot_of(values: Sequence[float]) -> float:
    """Where a vertical axis may start so that its curves fill it: a multiple of 0.2."""
    least = min(values, default=0.0)
    return max(0.0, min(0.8, int(least * 5) / 5))


def bar(
    score: Mapping[str, Any], reference: float | None = None, low: float = 0.0, high: float = 1.0
) -> Bar | None:
    """A score with its interval, None where there is no score."""
    if score["mean"] is None:
        return None

    def place(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 2)

    at = place(score["mean"])
    left = at if score["low"] is None else place(score["low"])
    right = at if score["high"] is None else place(score["high"])
    return Bar(left, round(right - left, 2), at, None if reference is None else place(reference))


def shade(share: float | None) -> int:
    """The step of shade of a share, 0 to `SHADES`."""
    return 0 if share is None else min(SHADES, max(0, round(SHADES * share)))
