"""The outlines of the shop's ten product categories, as distance fields.

Every outline is a function `(u, v, draws) -> Outline`: u, v (picture, height, width) are the
coordinates of the points, right and down, about -1 to 1; draws (picture, DRAWS) are uniform random
numbers, from which the proportions are taken. Footwear points its toe to the left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtlkit.shop.pictures.distance_fields import (
    Field,
    band,
    between,
    convex,
    ellipse,
    limb,
    line,
    path,
    ring,
    torso,
    without,
)  # fmt: skip

DRAWS = 12  # uniform numbers an outline may use for its proportions


class Outline(NamedTuple):
    """A product's distance field, and marks on it: (distance field, tone).

    A tone multiplies the product's own shade: below 1 is darker, above 1 lighter.
    """

    body: Field
    marks: Sequence[tuple[Field, Any]]


def t_shirt(u: Field, v: Field, draws: np.ndarray) -> Outline:
    """Short sleeves, a round neck."""
    mirrored = np.abs(u)
    width, bottom = between(draws[:, 0], 0.36, 0.50), between(draws[:, 1], 0.60, 0.85)
    trunk = torso(u, v, width, width * between(draws[:, 2], 0.85, 1.02), width, -0.75, bottom)
    elbow_u, elbow_v = (
        between(draws[:, 3], 0.28, 0.42),
        between(draws[:, 4], 0.22, 0.46),
    )
    radius = between(draws[:, 5], 0.14, 0.20)
    start = (width - 0.10, -0.53)
    sleeve = limb(mirrored, v, start, (width + elbow_u, -0.55 + elbow_v), radius, radius * 0.95)
    neck = ellipse(
        u,
        v,
        0.0,
        -0.78,
        between(draws[:, 6], 0.13, 0.21),
        between(draws[:, 7], 0.10, 0.2),
    )
    seam = np.maximum(line(mirrored, width - 0.02, 0.022), band(v, -0.55, -0.2))
    return Outline(without(np.minimum(trunk, sleeve), neck), [(seam, 0.65), (neck - 0.06, 0.7)])


def trousers(u: Field, v: Field, draws: np.ndarray) -> Outline:
    """A waistband and two legs."""
    mirrored = np.abs(u)
    waist, hip = between(draws[:, 0], 0.24, 0.34), between(draws[:, 1], 0.30, 0.42)
    hem, crotch = between(draws[:, 2], 0.28, 0.50), between(draws[:, 3], -0.35, -0.10)
    bottom, gap = between(draws[:, 4], 0.70, 0.92), between(draws[:, 5], 0.05, 0.16)
    outer = path(v, [(-0.85, waist), (-0.45, hip), (bottom, hem)])
    inner = path(v, [(crotch, -0.01), (crotch + 0.12, 0.02), (bottom, gap)])
    legs = np.maximum(mirrored - outer, band(v, -0.85, bottom))
    legs = without(legs, np.maximum(mirrored - inner, crotch - v))
    fly = np.maximum(line(u, 0.0, 0.02), band(v, -0.8, crotch))
    return Outline(legs, [(band(v, -0.85, -0.74), 0.7), (fly, 0.6)])


def pullover(u: Field, v: Field, draws: np.ndarray) -> Outline:
    """Long sleeves, ribbed cuffs and hem, no front line."""
    mirrored = np.abs(u)
    width, bottom = between(draws[:, 0], 0.36, 0.48), between(draws[:, 1], 0.55, 0.80)
    trunk = torso(u, v, width, width, width * between(draws[:, 2], 0.85, 1.0), -0.75, bottom)
    cuff_u, cuff_v = between(draws[:, 3], 0.20, 0.36), between(draws[:, 4], 0.30, 0.68)
    radius = between(draws[:, 5], 0.14, 0.19)
    start, end = (width - 0.10, -0.52), (width + cuff_u, cuff_v)
    sleeve = limb(mirrored, v, start, end, radius, radius * 0.7)
    neck = ellipse(
        u,
        v,
        0.0,
        -0.79,
        between(draws[:, 6], 0.12, 0.18),
        between(draws[:, 7], 0.06, 0.13),
    )
    armpit = np.maximum(line(mirrored, width + 0.01, 0.025), band(v, -0.4, bottom))
    cuffs = np.maximum(mirrored * 0.0 + cuff_v - 0.12 - v, width + 0.03 - mirrored)
    marks = [
        (armpit, 0.45),
        (bottom - 0.12 - v, 0.7),
        (cuffs, 0.7),
        (neck - 0.08, 0.65),
    ]
    return Outline(without(np.minimum(trunk, sleeve), neck), marks)


def dress(u: Field, v: Field, draws: np.ndarray) -> Outline:
    """A narrow waist and a flared skirt; cap sleeves on some."""
    mirrored = np.abs(u)
    bust, waist = between(draws[:, 0], 0.24, 0.34), between(draws[:, 1], 0.15, 0.24)
    hem, waist_v = between(draws[:, 2], 0.36, 0.66), between(draws[:, 3], -0.28, -0.02)
    bottom = between(draws[:, 4], 0.68, 0.93)
    knots = [(-0.88, bust * 0.75), (-0.62, bust), (waist_v, waist), (bottom, hem)]
    body = np.maximum(mirrored - path(v, knots), band(v, -0.88, bottom))
    neck = ellipse(
        u,
        v,
        0.0,
        -0.9,
        between(draws[:, 5], 0.10, 0.17),
        between(draws[:, 6], 0.16, 0.34),
    )
    reach = np.maximum(between(draws[:, 7], -0.25, 0.26), 0.02)
    sleeve = limb(mirrored, v, (bust - 0.1, -0.72), (bust + reach, -0.72 + reach), 0.12, 0.11)
    belt = band(v, waist_v - 0.045, waist_v + 0.045)
    return Outline(without(np.minimum(body, sleeve), neck), [(belt, 0.55)])


def coat(u: Field, v: Field, draws: np.ndarray) -> Outline:
    """Long, with long sleeves, lapels and a front that opens."""
    mirrored = np.abs(u)
    width, bottom = between(draws[:, 0], 0.34, 0.44), between(draws[:, 1], 0.76, 0.94)
    waist = width * between(draws[:, 2], 0.86, 1.0)
    hem = width * between(draws[:, 3], 1.0, 1.25)
    trunk = torso(u, v, width, waist, hem, -0.85, bottom)
    cuff_u, cuff_v = between(draws[:, 4], 0.16, 0.32), between(draws[:, 5], 0.20, 0.50)
    radius = between(draws[:, 6], 0.13, 0.17)
    sleeve = limb(
        mirrored,
        v,
        (width - 0.1, -0.62),
        (width + cuff_u, cuff_v),
        radius,
        radius * 0.8,
    )
    lapel_v = between(draws[:, 7], -0.40, -0.05)
    lapel = np.abs(mirrored - path(v, [(-0.85, 0.24), (lapel_v, 0.0)])) - 0.028
    lapel = np.maximum(lapel, v - lapel_v)
    shirt = np.maximum(mirrored - path(v, [(-0.85, 0.16), (lapel_v, -0.04)]), v - lapel_v)
    slit = path(v, [(lapel_v, 0.022), (bottom, between(draws[:, 8], 0.03, 0.10))])
    front = np.maximum(mirrored - slit, lapel_v - v)
    armpit = np.maximum(line(mirrored, width + 0.01, 0.025), band(v, -0.45, 0.6))
    pocket_v = between(draws[:, 9], 0.18, 0.36)
    pocket = np.maximum(line(mirrored, width * 0.58, 0.11), band(v, pocket_v, pocket_v + 0.05))
    marks = [(armpit, 0.45), (shirt, 0.3), (lapel, 0.5), (front, 0.2), (pocket, 0.5)]
    return Outline(np.minimum(trunk, sleeve), marks)


def sandal(u: Field, v: Field, draws: np.ndarray) -> Outline:
    """A sole with a heel, and broad straps where a shoe would be closed."""
    sole_v, thick = between(draws[:, 0], 0.36, 0.48), between(draws[:, 1], 0.06, 0.10)
    lift = between(draws[:, 2], 0.0, 0.26)  # how far the heel lifts the foot
    top = sole_v - path(u, [(-0.25, 0.0), (0.55, lift)])
    sole = np.maximum(band(v, top, top + 2.0 * thick), np.abs(u) - 0.82)
    heel_front = between(draws[:, 3], 0.30, 0.62)
    heel = np.maximum(band(u, heel_front, 0.82), band(v, top, sole_v + 2.0 * thick))
    base = np.minimum(sole, heel)
    toe, ankle = between(draws[:, 4], 0.28, 0.36), between(draws[:, 5], 0.54, 0.72)
    knots = [(-0.82, 0.12), (-0.58, toe), (-0.20, toe * 1.25), (0.24, ankle), (0.80, ankle)]
    rise = top - path(u, knots)  # the foot's upper edge
    foot = np.maximum(np.maximum(rise - v, v - top), np.abs(u) - 0.78)
    width, lean = between(draws[:, 6], 0.12, 0.19), between(draws[:, 7], -0.5, 0.1)
    front = np.abs(u + 0.42 - lean * (v - top + 0.15)) - width
    instep_u = between(draws[:, 8], 0.04, 0.20)
    instep = np.abs(u - instep_u - lean * (v - top + 0.3)) - 0.7 * width
    front = np.minimum(front, instep)
    round_ankle = np.maximum(v - rise - 0.16, instep_u - 0.05 - u)
    counter = np.maximum(0.48 - u, top - between(draws[:, 9], 0.22, 0.36) - v)
    behind = np.maximum(0.62 - u, v - top)
    straps = np.minimum(np.minimum(front, round_ankle), np.minimum(counter, behind))
    return Outline(np.minimum(base, np.maximum(foot, straps)), [(base, 0.6)])


def shirt(u: Field, v: Field, draws: np.ndarray) -> Outline:
    """Sleeves of any length, a pointed collar and a row of buttons."""
    mirrored = np.abs(u)
    width, bottom = between(draws[:, 0], 0.35, 0.47), between(draws[:, 1], 0.60, 0.86)
    trunk = torso(u, v, width, width * between(draws[:, 2], 0.84, 1.0), width, -0.74, bottom)
    reach = between(draws[:, 3], 0.35, 1.0)  # from half sleeves to long ones
    cuff = (width + 0.34 - 0.08 * reach, -0.55 + 1.05 * reach)
    radius = between(draws[:, 4], 0.14, 0.18)
    sleeve = limb(mirrored, v, (width - 0.1, -0.54), cuff, radius, radius * 0.8)
    spread, drop = between(draws[:, 5], 0.22, 0.30), between(draws[:, 6], 0.20, 0.30)
    corners = [(0.07, -0.85), (spread, -0.74), (spread * 0.75, -0.74 + drop), (0.0, -0.64)]
    collar = convex(mirrored, v, corners)
    neck = np.maximum(mirrored - path(v, [(-0.90, 0.10), (-0.64, 0.0)]), v + 0.64)
    placket = np.maximum(line(mirrored, 0.085, 0.018), band(v, -0.6, bottom))
    step = between(draws[:, 7], 0.20, 0.28)
    button_v = (v + 0.42) - step * np.round((v + 0.42) / step)
    buttons = np.maximum(np.sqrt(u**2 + button_v**2) - 0.045, band(v, -0.5, bottom - 0.06))
    armpit = np.maximum(line(mirrored, width + 0.01, 0.022), band(v, -0.4, -0.55 + 1.05 * reach))
    marks = [(armpit, 0.5), (placket, 0.6), (buttons, 0.25), (collar - 0.05, 0.45), (collar, 1.1)]
    return Outline(without(np.minimum(np.minimum(trunk, sleeve), collar), neck), marks)


def sneaker(u: Field, v: Field, draws: np.ndarray) -> Outline:
    """A low shoe from the side: toe to the left, thick sole, laces."""
    sole_top, thick = between(draws[:, 0], 0.22, 0.34), between(draws[:, 1], 0.12, 0.19)
    toe, tongue = between(draws[:, 2], 0.20, 0.30), between(draws[:, 3], 0.55, 0.76)
    collar_u = between(draws[:, 4], 0.0, 0.16)
    dip, tab = (
        tongue * between(draws[:, 5], 0.68, 0.85),
        tongue * between(draws[:, 6], 0.8, 1.02),
    )
    knots = [(-0.86, toe * 0.4), (-0.72, toe), (-0.42, toe * 1.15), (collar_u, tongue)]
    knots += [
        (collar_u + 0.12, tongue),
        (collar_u + 0.32, dip),
        (0.78, tab),
        (0.86, tab * 0.8),
    ]
    upper = np.maximum(sole_top - path(u, knots) - v, band(v, -1.0, sole_top))
    upper = np.maximum(upper, np.abs(u) - 0.84)
    sole = limb(
        u,
        v,
        (-0.80, sole_top + thick / 2),
        (0.80, sole_top + thick / 2),
        thick / 2,
        thick / 2,
        False,
    )
    slope_u = u - path(v, [(sole_top - tongue, collar_u), (sole_top - toe, -0.4 + 0.0 * toe)])
    lace = np.abs(v * 8.0 - np.round(v * 8.0)) / 8.0 - 0.022
    laces = np.maximum(
        np.maximum(lace, np.abs(slope_u - 0.09) - 0.1), band(v, -0.6, sole_top - toe)
    )
    quarter = np.abs(u - 0.45 + 0.35 * (v - sole_top)) - 0.025
    marks = [(quarter, 0.6), (laces, 0.35), (sole, between(draws[:, 7], 0.5, 1.35))]
    return Outline(np.minimum(upper, sole), marks)


def bag(u: Field, v: Field, draws: np.ndarray) -> Outline:
    """A rounded body and a handle that stands above it."""
    width, top = between(draws[:, 0], 0.50, 0.80), between(draws[:, 1], -0.30, 0.05)
    bottom, taper = between(draws[:, 2], 0.58, 0.82), between(draws[:, 3], 0.75, 1.08)
    half = path(v, [(top, width * taper), (bottom, width)])
    corner = 0.10
    edge_u, edge_v = np.abs(u) - half + corner, band(v, top, bottom) + corner
    outside = np.sqrt(np.maximum(edge_u, 0) ** 2 + np.maximum(edge_v, 0) ** 2)
    body = outside + np.minimum(np.maximum(edge_u, edge_v), 0) - corner
    handle_u = width * between(draws[:, 4], 0.40, 0.75)
    handle_v = between(draws[:, 5], 0.38, 0.62)
    handle = ring(u, v, 0.0, top + 0.03, handle_u, handle_v, between(draws[:, 6], 0.045, 0.08))
    handle = np.maximum(handle, v - top - 0.05)
    flap_v = top + (bottom - top) * between(draws[:, 7], 0.15, 0.5)
    flap = np.abs(v - flap_v) - 0.024
    clasp = np.maximum(np.abs(u), np.abs(v - flap_v)) - 0.07
    return Outline(np.minimum(body, handle), [(flap, 0.5), (clasp, 1.4)])


def boot(u: Field, v: Field, draws: np.ndarray) -> Outline:
    """A tall shaft over a foot with a heel, from the side, toe to the left."""
    floor, top = between(draws[:, 0], 0.70, 0.86), between(draws[:, 1], -0.88, -0.35)
    shaft, back = between(draws[:, 2], 0.40, 0.60), between(draws[:, 3], 0.42, 0.56)
    instep, toe = between(draws[:, 4], 0.40, 0.54), between(draws[:, 5], 0.24, 0.34)
    toe_u = between(draws[:, 6], -0.82, -0.62)
    ankle = floor - instep
    flare = between(draws[:, 7], -0.04, 0.12)
    front = back - path(v, [(top, shaft + flare), (ankle, shaft)])
    leg = np.maximum(np.maximum(front - u, u - back), band(v, top, floor))
    knots = [
        (toe_u, toe * 0.5),
        (toe_u + 0.16, toe),
        (back - shaft, instep),
        (back, instep),
    ]
    foot = np.maximum(
        np.maximum(floor - path(u, knots) - v, v - floor),
        np.maximum(toe_u - u, u - back),
    )
    heel = between(draws[:, 8], 0.05, 0.14)
    block = np.maximum(band(u, back - 0.30, back), band(v, floor - 0.02, floor + heel))
    sole = np.maximum(band(u, toe_u - 0.02, back + 0.02), band(v, floor - 0.05, floor + 0.035))
    cuff = band(v, top + 0.09, top + 0.14)
    zip_line = np.maximum(line(u, back - shaft * 0.5, 0.02), band(v, top + 0.14, ankle + 0.1))
    body = np.minimum(np.minimum(leg, foot), np.minimum(block, sole))
    return Outline(body, [(cuff, 0.55), (zip_line, 0.6), (np.minimum(block, sole), 0.45)])


OUTLINES: dict[str, Callable[..., Outline]] = {
    "t-shirt": t_shirt,
    "trousers": trousers,
    "pullover": pullover,
    "dress": dress,
    "coat": coat,
    "sandal": sandal,
    "shirt": shirt,
    "sneaker": sneaker,
    "bag": bag,
    "boot": boot,
}
"""Category name -> outline, in the order of the category label."""
