"""Distance fields: for every point of a picture, how far it lies outside a shape (negative inside).

Fields combine simply: `numpy.minimum` joins two shapes, `numpy.maximum` keeps what they share.
A field is (picture, height, width); `u` and `v` are the coordinates of its points, right and down,
about -1 to 1. A length is a number, or one a picture, (picture, 1, 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Field: TypeAlias = np.ndarray
Length: TypeAlias = Any  # a float or an array (picture, 1, 1)
Point: TypeAlias = tuple[Length, Length]


class Outline(NamedTuple):
    """A product's distance field, and marks on it: (distance field, tone).

    A tone multiplies the product's own shade: below 1 is darker, above 1 lighter.
    """

    body: Field
    marks: Sequence[tuple[Field, Any]]


def between(draw: np.ndarray, low: float, high: float) -> np.ndarray:
    """A uniform number moved to low..high, shaped (picture, 1, 1) to broadcast over points."""
    return (low + (high - low) * draw).astype(np.float32)[:, None, None]


def path(v: Field, knots: Sequence[tuple[Length, Length]]) -> Field:
    """A piecewise linear function of v through `knots`, a list of (position, value) pairs."""
    total = np.zeros_like(v) + knots[0][1]
    for (start, from_value), (end, to_value) in pairwise(knots):
        slope = (to_value - from_value) / (end - start)
        total = total + slope * (np.clip(v, start, end) - start)
    return total


def limb(
    u: Field,
    v: Field,
    start: Point,
    end: Point,
    start_radius: Length,
    end_radius: Length,
    flat: bool = True,
) -> Field:
    """Distance to a tapering limb from `start` to `end` (points); `flat` cuts the far end off."""
    along_u, along_v = end[0] - start[0], end[1] - start[1]
    length = np.sqrt(along_u**2 + along_v**2)
    position = ((u - start[0]) * along_u + (v - start[1]) * along_v) / length**2
    inside = np.clip(position, 0.0, 1.0)
    gap = np.sqrt((u - start[0] - inside * along_u) ** 2 + (v - start[1] - inside * along_v) ** 2)
    distance = gap - (start_radius + inside * (end_radius - start_radius))
    return np.maximum(distance, (position - 1.0) * length) if flat else distance


def ellipse(
    u: Field, v: Field, centre_u: Length, centre_v: Length, radius_u: Length, radius_v: Length
) -> Field:
    """Distance to an ellipse, exact on its edge and on the shorter axis."""
    ratio = np.sqrt(((u - centre_u) / radius_u) ** 2 + ((v - centre_v) / radius_v) ** 2)
    return (ratio - 1.0) * np.minimum(radius_u, radius_v)


def ring(
    u: Field,
    v: Field,
    centre_u: Length,
    centre_v: Length,
    radius_u: Length,
    radius_v: Length,
    half_width: Length,
) -> Field:
    """Distance to a band along an ellipse."""
    return np.abs(ellipse(u, v, centre_u, centre_v, radius_u, radius_v)) - half_width


def convex(u: Field, v: Field, corners: Sequence[Point]) -> Field:
    """Distance to a convex shape whose corners go clockwise on the screen."""
    distance = np.full_like(u, -9.0)
    for start, end in pairwise([*corners, corners[0]]):
        along_u, along_v = end[0] - start[0], end[1] - start[1]
        length = np.sqrt(along_u**2 + along_v**2)
        outward = ((u - start[0]) * along_v - (v - start[1]) * along_u) / length
        distance = np.maximum(distance, outward)
    return distance


def band(v: Field, top: Length, bottom: Length) -> Field:
    """Distance to the horizontal strip between `top` and `bottom`."""
    return np.maximum(top - v, v - bottom)


def line(u: Field, centre: Length, half_width: Length) -> Field:
    """Distance to a vertical line."""
    return np.abs(u - centre) - half_width


def torso(
    u: Field, v: Field, shoulder: Length, waist: Length, hem: Length, top: Length, bottom: Length
) -> Field:
    """A mirrored trunk: half-widths at shoulder, waist and hem, with sloping shoulders."""
    middle = 0.45 * top + 0.55 * bottom
    knots = [
        (top, 0.45 * shoulder),
        (top + 0.16, shoulder),
        (middle, waist),
        (bottom, hem),
    ]
    return np.maximum(np.abs(u) - path(v, knots), band(v, top, bottom))


def without(body: Field, hole: Field) -> Field:
    """The body with a hole cut out."""
    return np.maximum(body, -hole)
