"""Product pictures drawn by code: 28 x 28 grey pixels with known labels.

A picture is a silhouette (`silhouettes.py`) with random proportions, pose, shade, edge softness
and noise, filled with one of four styles. Background 0, product bright, as in Fashion-MNIST (Xiao,
Rasul and Vollgraf 2017), whose ten categories the shop also sells. Every drawing is made on a grid
twice as fine and averaged down.

The same seed gives the same bytes; between platforms a grey level may differ by 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mtlkit.shop.pictures.distance_fields import between
from mtlkit.shop.pictures.prints import FINE, STYLES, fine_grid, pattern
from mtlkit.shop.pictures.silhouettes import DRAWS, OUTLINES

CATEGORIES = tuple(OUTLINES)
SHAPES = ("slim", "regular", "wide")

_CHUNK = 64  # pictures drawn at once: a chunk's fields fit into a processor's cache
_POSE_DRAWS = 19


class Drawing(NamedTuple):
    """Pictures with what the drawing knows about them."""

    pictures: np.ndarray  # uint8 (picture, size, size)
    silhouettes: np.ndarray  # float32 (picture, size, size): share of the pixel that is product
    aspect: np.ndarray  # float32 (picture,): height over width of the silhouette
    brightness: np.ndarray  # float32 (picture,): mean grey of the product, 0..1


def _index(values: ArrayLike, names: tuple[str, ...], argument: str) -> np.ndarray:
    """Names or integers as checked integer labels."""
    values = np.atleast_1d(np.asarray(values))
    if values.dtype.kind in "UO":
        unknown = [value for value in values.tolist() if value not in names]
        if unknown:
            raise ValueError(f"{argument} {unknown[0]!r} is not one of {', '.join(names)}")
        return np.array([names.index(value) for value in values.tolist()])
    if values.dtype.kind not in "iu":
        raise ValueError(f"{argument} must hold names or integers, not {values.dtype}")
    if len(values) and (values.min() < 0 or values.max() >= len(names)):
        row = int(np.flatnonzero((values < 0) | (values >= len(names)))[0])
        raise ValueError(
            f"{argument}[{row}] is {values[row]}; use 0 to {len(names) - 1} ({', '.join(names)})"
        )
    return values.astype(np.int64)


def _points(draws: np.ndarray, widen: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each fine grid point lies on the product, (picture, fine, fine): the inverse pose."""
    grid = fine_grid(size)
    angle = between(draws[:, 0], -0.22, 0.22)  # radians: about 13 degrees either way
    scale = between(draws[:, 1], 0.72, 1.0)
    stretch = between(draws[:, 2], 0.95, 1.05) * widen.astype(np.float32)[:, None, None]
    u = grid[None, None, :] - between(draws[:, 3], -0.14, 0.14)
    v = grid[None, :, None] - between(draws[:, 4], -0.14, 0.14)
    cosine, sine = np.cos(angle), np.sin(angle)
    turned_u = (cosine * u + sine * v) / (scale * stretch)
    turned_v = (cosine * v - sine * u) / (scale / stretch)
    mirror = np.where(between(draws[:, 5], 0.0, 1.0) < 0.5, np.float32(-1), np.float32(1))
    return turned_u * mirror, turned_v


def _draw_chunk(
    category: int, style: np.ndarray, widen: np.ndarray, draws: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """One category's pictures before noise: (grey 0..1, silhouette), (picture, size, size)."""
    pose, shape = draws[:, :_POSE_DRAWS], draws[:, _POSE_DRAWS:]
    u, v = _points(pose, widen, size)
    outline = list(OUTLINES.values())[category](u, v, shape)
    soft = between(pose[:, 6], 0.03, 0.10)
    body = np.clip(0.5 - outline.body / soft, 0.0, 1.0)
    shade = between(pose[:, 7], 0.40, 0.95)
    light = 1.0 + between(pose[:, 8], -0.14, 0.14) * u + between(pose[:, 9], -0.10, 0.10) * v
    print_ = np.empty_like(u)
    for number in np.unique(style):
        rows = style == number
        print_[rows] = pattern(number, size, pose[rows, 10:15])
    reverse = between(pose[:, 16], 0.0, 1.0) < 0.25
    patterned = (style > 0)[:, None, None]
    print_ = np.where(reverse & patterned, 1.0 - print_, print_)
    grey = shade * light * (1.0 - between(pose[:, 17], 0.30, 0.65) * print_)
    for distance, tone in outline.marks:
        cover = np.clip(0.5 - distance / soft, 0.0, 1.0)
        grey = grey + cover * (shade * light * tone - grey)
    fine = (len(u), size, FINE, size, FINE)
    grey = (np.clip(grey, 0.0, 1.0) * body).reshape(fine).mean(axis=(2, 4), dtype=np.float32)
    return grey, body.reshape(fine).mean(axis=(2, 4), dtype=np.float32)


def draw_with_details(
    category: ArrayLike,
    style: ArrayLike,
    seed: int | np.random.Generator,
    size: int = 28,
    shape: ArrayLike | None = None,
) -> Drawing:
    """Draw products and keep their silhouettes, aspect and brightness.

    `category`, `style`, `shape` (picture,): labels or names from CATEGORIES, STYLES and SHAPES;
    without `shape` each product gets a width of its own. The first rows of a longer request are the
    pictures of a shorter one. Raises ValueError for an unknown label and for unequal lengths.
    """
    category = _index(category, CATEGORIES, "category")
    style = _index(style, STYLES, "style")
    rows = len(category)
    if len(style) != rows:
        raise ValueError(f"{rows} categories but {len(style)} styles: give one each a row")
    if size < 8:
        raise ValueError(f"size is {size}; a product needs at least 8 pixels a side")
    shape_rng, noise_rng = _generators(seed)
    draws = shape_rng.random((rows, _POSE_DRAWS + DRAWS))
    if shape is None:
        widen = 0.95 + 0.10 * draws[:, 15]
    else:
        shape = _index(shape, SHAPES, "shape")
        if len(shape) != rows:
            raise ValueError(f"{rows} categories but {len(shape)} shapes: give one each a row")
        widen = np.array([0.90, 1.0, 1.10])[shape]
    grey = np.empty((rows, size, size), dtype=np.float32)
    silhouettes = np.empty_like(grey)
    for number in range(len(CATEGORIES)):
        members = np.flatnonzero(category == number)
        for start in range(0, len(members), _CHUNK):
            chosen = members[start : start + _CHUNK]
            grey[chosen], silhouettes[chosen] = _draw_chunk(
                number, style[chosen], widen[chosen], draws[chosen], size
            )
    pictures = np.empty(grey.shape, dtype=np.uint8)
    for start in range(0, rows, 1024):  # noise in pieces, so that memory stays small
        part = slice(start, start + 1024)
        noise = noise_rng.standard_normal(grey[part].shape, dtype=np.float32)
        level = (0.01 + 0.04 * draws[part, 18, None, None]) * (0.2 + 0.8 * silhouettes[part])
        noisy = np.clip(grey[part] + level.astype(np.float32) * noise, 0.0, 1.0)
        pictures[part] = np.round(noisy * 255.0).astype(np.uint8)
    return Drawing(pictures, silhouettes, _aspect(silhouettes), _brightness(grey, silhouettes))


def _generators(seed: int | np.random.Generator) -> tuple[np.random.Generator, np.random.Generator]:
    """One generator for shapes and one for noise, so that prefixes agree."""
    if isinstance(seed, np.random.Generator):
        seed = int(seed.integers(2**62))
    first, second = np.random.SeedSequence(int(seed)).spawn(2)
    return np.random.default_rng(first), np.random.default_rng(second)


def _extent(covered: Any) -> np.ndarray:
    """Pixels from the first to the last covered one, (picture, size) -> (picture,)."""
    size = covered.shape[1]
    return size - covered.argmax(axis=1) - covered[:, ::-1].argmax(axis=1)


def _aspect(silhouettes: np.ndarray) -> np.ndarray:
    """Height over width of the box around the silhouette."""
    inside = silhouettes > 0.5
    height, width = _extent(inside.any(axis=2)), _extent(inside.any(axis=1))
    return (height / width).astype(np.float32)


def _brightness(grey: np.ndarray, silhouettes: np.ndarray) -> np.ndarray:
    """Mean grey over the silhouette, before noise."""
    return grey.sum(axis=(1, 2)) / np.maximum(silhouettes.sum(axis=(1, 2)), 1e-6)


def draw_many(
    category: ArrayLike,
    style: ArrayLike,
    seed: int | np.random.Generator,
    size: int = 28,
    shape: ArrayLike | None = None,
) -> np.ndarray:
    """Pictures of products, uint8 (picture, size, size); see `draw_with_details`."""
    return draw_with_details(category, style, seed, size, shape).pictures


def draw(
    category: int | str, style: int | str, seed: int | np.random.Generator, size: int = 28
) -> np.ndarray:
    """One product's picture, uint8 (size, size); category and style by label or name."""
    return draw_many([category], [style], seed, size)[0]


def pixels(pictures: np.ndarray) -> np.ndarray:
    """Pictures uint8 (picture, size, size) as float32 rows (picture, size * size) in 0..1."""
    return pictures.reshape(len(pictures), -1).astype(np.float32) / np.float32(255.0)
