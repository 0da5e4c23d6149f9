"""The outlines of what is worn on the body; see `silhouettes.py`."""

from __future__ import annotations

import numpy as np

from mtlkit.shop.pictures.distance_fields import (
    Field,
    Outline,
    band,
    between,
    convex,
    ellipse,
    limb,
    line,
    path,
    torso,
    without,
)  # fmt: skip


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
