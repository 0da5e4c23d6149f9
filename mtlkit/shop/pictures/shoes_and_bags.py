"""The outlines of shoes, toe to the left, and of bags; see `silhouettes.py`."""

from __future__ import annotations

import numpy as np

from mtlkit.shop.pictures.distance_fields import (
    Field,
    Outline,
    band,
    between,
    limb,
    line,
    path,
    ring,
)  # fmt: skip


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
