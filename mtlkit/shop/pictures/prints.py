"""Prints: what stands on a product, plain, striped, dotted or checked."""

from __future__ import annotations

import numpy as np

from mtlkit.shop.pictures.distance_fields import between

STYLES = ("plain", "striped", "dotted", "checked")
FINE = 2  # sub-pixels along each side of a pixel


def fine_grid(size: int) -> np.ndarray:
    """Centres of the fine grid along one side, -1 to 1."""
    return ((np.arange(size * FINE) + 0.5) * (2.0 / (size * FINE)) - 1.0).astype(np.float32)


def _wave(position: np.ndarray, share: np.ndarray) -> np.ndarray:
    """A soft square wave of period 1: 1 on about `share` of it, else 0."""
    from_middle = np.abs(position - np.round(position))
    return np.clip((share * 0.5 - from_middle) * 8.0 + 0.5, 0.0, 1.0)


def pattern(style: int, size: int, draws: np.ndarray) -> np.ndarray:
    """The style's print, 0..1 at each fine point, (picture, fine, fine).

    The print is placed in the picture, not on the product: a print that followed the product's pose
    proved unlearnable for a plain network with 2,000 pictures.
    """
    grid = fine_grid(size)
    if style == 0:
        return np.zeros((len(draws), len(grid), len(grid)), dtype=np.float32)
    u, v = grid[None, None, :], grid[None, :, None]
    turn = between(draws[:, 0], -0.12, 0.12)
    period = between(draws[:, 1], 0.40, 0.46)  # 5.6 to 6.4 pixels of 28
    along = (u + turn * v) / period + between(draws[:, 2], -0.1, 0.1)
    down = (v - turn * u) / period + between(draws[:, 3], -0.1, 0.1)
    share = between(draws[:, 4], 0.35, 0.55)
    if style == 1:
        return _wave(down, share)  # horizontal stripes
    if style == 2:
        down = down * 1.1
        along = along + 0.5 * (np.round(down) % 2)  # every other row is moved by half a period
        away = np.sqrt((along - np.round(along)) ** 2 + (down - np.round(down)) ** 2)
        return np.clip((share * 0.62 - away) * 8.0 + 0.5, 0.0, 1.0)
    return 0.5 * (_wave(along, share) + _wave(down, share))
