"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): real product pictures, as multi-task tables.

``pictures``: one picture a row; its category, whether it is footwear or upper-body wear, and the
aspect ratio of its silhouette. ``overlay``: two pictures laid over each other, the categories of
the left and the right one as two tasks (the shape of MultiMNIST: Sabour, Frosst and Hinton 2017;
as a multi-task benchmark, Sener and Koltun 2018, section 5.1).

The pictures' schema matches the drawn ones of ``mtlkit.shop.pictures``: a dense field ``pixel`` of
784 greys 0..1, and the same ten categories in the same order.
"""

from __future__ import annotations

import gzip

import numpy as np

from mtlkit.data.real.public import find, locate
from mtlkit.data.splits import Split, fit_units
from mtlkit.data.table import Table
from mtlkit.schema import Dense, Schema, Task

# The ten kinds of clothing, in the order of their labels.
CATEGORIES = (
    "t-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "boot",
)
FOOTWEAR = ("sandal", "sneaker", "boot")
UPPER_BODY = ("t-shirt", "pullover", "coat", "shirt")
SILHOUETTE = 25  # a pixel brighter than this grey (of 255) belongs to the product
SMALL = ("fashion_mnist_1061.npz", "fashion_mnist_sprite900.npz")
_OFFICIAL = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")

PICTURE_SCHEMA = Schema(
    tasks=(
        Task("category", "multiclass", classes=len(CATEGORIES)),
        Task("footwear"),
        Task("upper_body"),
        Task("aspect", "regression", unit="height / width"),
    ),
    dense=(Dense("pixel", 784),),
)
OVERLAY_SCHEMA = Schema(
    tasks=(
        Task("left", "multiclass", classes=len(CATEGORIES)),
        Task("right", "multiclass", classes=len(CATEGORIES)),
    ),
    dense=(Dense("pixel", 784),),
)


def fashion_available(source: str = "small") -> bool:
    """True if the files of a source are there, without a download."""
    return all(find("fashion_mnist", file) is not None for file in _files(source))


def _files(source: str) -> tuple[str, ...]:
    files = {"small": SMALL, "official": _OFFICIAL}
    if source not in files:
        raise ValueError(f'source must be "small" or "official", not {source!r}.')
    return files[source]


def fashion_pictures(source: str = "small") -> tuple[np.ndarray, np.ndarray]:
    """Return pictures uint8 (picture, 28, 28) and categories int64 (picture,), each picture once.

    source: "small" (1,960 pictures, not published) or "official" (the 10,000 official test
    pictures, downloaded if need be: 4.4 MB). Raises ``DataMissingError`` or ``DataCorruptError``.
    """
    paths = [locate("fashion_mnist", file) for file in _files(source)]
    if source == "official":
        with gzip.open(paths[0]) as images, gzip.open(paths[1]) as labels:
            x = np.frombuffer(images.read(), np.uint8, offset=16)  # idx: 16 bytes of header
            y = np.frombuffer(labels.read(), np.uint8, offset=8)
    else:
        parts = [np.load(path, allow_pickle=False) for path in paths]
        x = np.concatenate([part["x"] for part in parts])
        y = np.concatenate([part["y"] for part in parts])
    x = x.reshape(-1, 784)
    first = _first_of_each(x)
    return x[first].reshape(-1, 28, 28), y[first].astype(np.int64)


def _first_of_each(x: np.ndarray, distance: float = 50.0) -> np.ndarray:
    """Rows (picture, 784) without those nearly equal to an earlier one, as row numbers.

    One picture is in both small samples, with a grey level of difference; different pictures are
    over 300 apart. Only rows with nearly the same sum can be that near, so few are compared.
    """
    sums = x.sum(axis=1, dtype=np.int64)
    order = np.argsort(sums, kind="stable")
    reach = np.searchsorted(sums[order], sums[order] + 28 * distance, side="right")
    repeated = np.zeros(len(x), dtype=bool)
    for place, row in enumerate(order):
        near = order[place + 1 : reach[place]]
        gaps = x[near].astype(np.float32) - x[row]
        for other in near[(gaps**2).sum(axis=1) < distance**2]:
            repeated[max(row, other)] = True
    return np.flatnonzero(~repeated)


def silhouette_aspect(pictures: np.ndarray) -> np.ndarray:
    """Height over width of the box around each silhouette, float32 (picture,)."""
    inside = np.greater(pictures, SILHOUETTE)  # (picture, 28, 28)
    return (_extent(inside.max(axis=2)) / _extent(inside.max(axis=1))).astype(np.float32)


def _extent(covered: np.ndarray) -> np.ndarray:
    """Pixels from the first covered line to the last, (picture, line) -> (picture,)."""
    last = covered.shape[1] - covered[:, ::-1].argmax(axis=1)
    return last - covered.argmax(axis=1)


def overlay_pictures(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Lay pairs of pictures over each other, float32 (pair, 28, 28), greys 0..1.

    The left picture fills the upper left and the right one the lower right 28 x 28 corner of a
    36 x 36 canvas; where they meet the brighter pixel stays; the canvas is then averaged down to
    28 x 28.
    """
    canvas = np.zeros((len(left), 36, 36), dtype=np.float32)
    canvas[:, :28, :28] = left / np.float32(255)
    canvas[:, 8:, 8:] = np.maximum(canvas[:, 8:, 8:], right / np.float32(255))
    edges = np.linspace(0, 36, 29)
    line = np.arange(36)
    cover = np.minimum(edges[1:, None], line + 1) - np.maximum(edges[:-1, None], line)
    weights = (np.maximum(cover, 0) * 28 / 36).astype(np.float32)  # (28, 36), rows sum to 1
    return weights @ canvas @ weights.T


def load_fashion(
    variant: str = "pictures",
    *,
    source: str = "small",
    seed: int = 0,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
    pairs: int = 4,
) -> Split:
    """Return training, validation and test tables of real product pictures.

    variant: "pictures" (tasks category, footwear, upper_body, aspect) or "overlay" (tasks left and
    right). source: see ``fashion_pictures``. The split is at random by ``seed``, within each
    category. An overlay table has ``pairs`` times as many rows as its part has pictures, and pairs
    only pictures of the same part. Keys: picture, the row in ``fashion_pictures`` (of an overlay:
    left_picture and right_picture).
    """
    if variant not in ("pictures", "overlay"):
        raise ValueError(f'variant must be "pictures" or "overlay", not {variant!r}.')
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions must be three numbers above 0 that sum to 1, not {fractions}.")
    if pairs < 1:
        raise ValueError(f"pairs must be 1 or more, not {pairs}.")
    pictures, category = fashion_pictures(source)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(category))
    order = order[np.argsort(category[order], kind="stable")]  # shuffled within each category
    sizes = np.bincount(category, minlength=len(CATEGORIES))
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    share = (place + 0.5) / np.repeat(sizes, sizes)  # 0..1 along each category
    part = np.digitize(share, np.cumsum(fractions)[:2])
    tables, next_id = [], 0
    for number in range(3):
        members = np.sort(order[part == number])
        if variant == "pictures":
            table = _picture_table(pictures, category, members)
        else:
            table = _overlay_table(pictures, category, members, pairs, generator, next_id)
        next_id += len(table)
        tables.append(table)
    return fit_units(Split(*tables))


def _picture_table(pictures: np.ndarray, category: np.ndarray, rows: np.ndarray) -> Table:
    kinds = category[rows]
    columns = {
        "pixel": pictures[rows].reshape(-1, 784) / np.float32(255),
        "category": kinds,
        "footwear": np.isin(kinds, [CATEGORIES.index(name) for name in FOOTWEAR]),
        "upper_body": np.isin(kinds, [CATEGORIES.index(name) for name in UPPER_BODY]),
        "aspect": silhouette_aspect(pictures[rows]),
        "picture": rows,
    }
    return Table.from_columns(PICTURE_SCHEMA, columns, keys=("picture",), row_id=rows)


def _overlay_table(
    pictures: np.ndarray,
    category: np.ndarray,
    rows: np.ndarray,
    pairs: int,
    generator: np.random.Generator,
    next_id: int,
) -> Table:
    left = np.tile(rows, pairs)
    right = np.concatenate([generator.permutation(rows) for _ in range(pairs)])
    columns = {
        "pixel": overlay_pictures(pictures[left], pictures[right]).reshape(-1, 784),
        "left": category[left],
        "right": category[right],
        "left_picture": left,
        "right_picture": right,
    }
    row_id = np.arange(next_id, next_id + len(left))
    return Table.from_columns(
        OVERLAY_SCHEMA, columns, keys=("left_picture", "right_picture"), row_id=row_id
    )
