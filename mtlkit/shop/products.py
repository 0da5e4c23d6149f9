"""The shop's products as a table: a title, a picture; which category, style and price band?

`truth` holds P(label | attributes), exact by Bayes' rule from the title and the weight. For the
price band this is the best any model can do (a picture says nothing about price); for category and
style a model that also sees the picture may do better.

The price itself is no input: with the category it decides the price band.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from scipy.stats import norm

import mtlkit.shop.product_words as words
from mtlkit.data.table import Table
from mtlkit.schema import Categorical, Dense, Schema, SchemaError, Sequence, Task
from mtlkit.shop.entities import TYPICAL_WEIGHT
from mtlkit.shop.pictures.drawing import draw_many, pixels
from mtlkit.shop.world import World

# how the shop draws these labels (entities.make_items); a test holds the two together
CATEGORY_PRIOR = np.full(10, 0.1)
STYLE_PRIOR = np.array([0.40, 0.25, 0.15, 0.20])
BAND_PRIOR = np.diff(norm.cdf([-np.inf, -0.75, 0.0, 0.75, 1.5, np.inf]))
WEIGHT_SPREAD = 0.25  # standard deviation of log(weight) inside a category
TITLE_WORDS = 5
PICTURE_SIZE = 28


def _listings(world: World, listings: int) -> dict[str, np.ndarray]:
    """Columns (row,), and `words` (row, 5), of every listing; row = item * listings + listing."""
    if isinstance(listings, bool) or not isinstance(listings, (int, np.integer)) or listings < 1:
        raise ValueError(f"listings is {listings!r}; give a whole number of 1 or more")
    count = len(world.items["category"])
    item = np.repeat(np.arange(count), listings)
    listing = np.tile(np.arange(listings), count)
    # one generator a listing number: the first listing does not depend on how many there are
    draws = np.stack([world.rng("titles", k).random((count, 4)) for k in range(listings)], axis=1)
    columns = {"item": item, "listing": listing}
    for name in ("category", "style", "shape", "price_band", "seller", "warehouse"):
        columns[name] = world.items[name][item]
    for name in ("price", "weight_kg", "past_clicks", "past_rating"):
        columns[name] = world.items[name][item].astype(np.float64)
    columns["words"] = words.titles(
        columns["category"], columns["style"], columns["price_band"], columns["seller"],
        draws.reshape(-1, 4),
    )  # fmt: skip
    return columns


def product_pictures(world: World, listings: int = 1) -> np.ndarray:
    """One picture a listing, uint8 (item * listings, 28, 28), in the order of the table's rows."""
    items = world.items
    drawn = [
        draw_many(items["category"], items["style"], world.rng("pictures", k), shape=items["shape"])
        for k in range(listings)
    ]
    return np.stack(drawn, axis=1).reshape(-1, PICTURE_SIZE, PICTURE_SIZE)


def products_frame(world: World, listings: int = 1) -> pl.DataFrame:
    """Products in words: one row a listing (item, category, style, ..., euro, kg, title).

    `listings` offers of each product, each worded (and photographed) anew.
    """
    columns = _listings(world, listings)
    names = {
        "category": world.categories, "style": world.styles, "shape": world.shapes,
        "price_band": world.price_bands, "warehouse": world.warehouses,
    }  # fmt: skip
    readable = {
        name: np.array(names[name])[value] if name in names else value
        for name, value in columns.items()
        if name != "words"
    }
    vocabulary = np.array(words.VOCABULARY)
    readable["title"] = [" ".join(row) for row in vocabulary[columns["words"]].tolist()]
    return pl.DataFrame(readable)


def _truth(columns: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """P(label | title, weight) for each label, float32 (row, label)."""
    starts = np.cumsum([1, len(words.NOUNS), len(words.MATERIALS), len(words.PRINTS)])
    noun, material, print_, promise = (columns["words"][:, :4] - starts).T
    away = np.log(columns["weight_kg"])[:, None] - np.log(TYPICAL_WEIGHT)  # (row, category)
    category = (
        np.log(words.NOUN_GIVEN_CATEGORY.T[noun])
        + np.log(words.MATERIAL_GIVEN_CATEGORY.T[material])
        - 0.5 * (away / WEIGHT_SPREAD) ** 2
    )
    truth = {
        "category": words.posterior(CATEGORY_PRIOR, category),
        "style": words.posterior(STYLE_PRIOR, np.log(words.PRINT_GIVEN_STYLE.T[print_])),
        "price_band": words.posterior(BAND_PRIOR, np.log(words.PROMISE_GIVEN_BAND.T[promise])),
    }
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in truth.items()}


def products_table(
    world: World, listings: int = 1, attributes: bool = True, pictures: bool = True
) -> Table:
    """Products as a table, one row a listing.

    Inputs: with `attributes` the seller, weight and title (sequence "title" of word ids); with
    `pictures` the dense field "pixel" (784, 0..1). Tasks: category (10), style (4), price_band (5).
    Keys: item (as in every table of the shop), listing, seller, price_cents. Split by item when
    there are several listings. Raises SchemaError when both inputs are left out.
    """
    if not (attributes or pictures):
        raise SchemaError("a table needs inputs: leave attributes or pictures on")
    columns = _listings(world, listings)
    schema = Schema(
        (
            Task("category", "multiclass", classes=len(world.categories)),
            Task("style", "multiclass", classes=len(world.styles)),
            Task("price_band", "multiclass", classes=len(world.price_bands)),
        ),
        categorical=(Categorical("seller", world.dials.sellers + 1),) if attributes else (),
        dense=(
            *((Dense("log_weight", unit="log kg"),) if attributes else ()),
            *((Dense("pixel", PICTURE_SIZE**2, "grey, 0 to 1"),) if pictures else ()),
        ),
        sequences=(Sequence("title", len(words.VOCABULARY), max_length=TITLE_WORDS),)
        if attributes
        else (),
    )
    rows = len(columns["item"])
    ids = columns["seller"][:, None] + 1 if attributes else np.zeros((rows, 0), dtype=np.int64)
    blocks = [np.log(columns["weight_kg"])[:, None]] if attributes else []
    if pictures:
        blocks.append(pixels(product_pictures(world, listings)))
    labels = np.stack([columns[task.name] for task in schema.tasks], axis=1)
    offsets = torch.arange(rows + 1) * TITLE_WORDS
    title = torch.from_numpy(columns["words"].reshape(-1))
    keys = {name: columns[name] for name in ("item", "listing", "seller")}
    keys["price_cents"] = np.round(columns["price"] * 100)
    return Table(
        schema,
        torch.from_numpy(ids.astype(np.int64)),
        torch.from_numpy(np.concatenate(blocks, axis=1).astype(np.float32)),
        {"title": (title, offsets)} if attributes else {},
        torch.from_numpy(labels.astype(np.float32)),
        torch.ones(rows, schema.num_tasks, dtype=torch.bool),
        torch.zeros(rows, dtype=torch.int64),
        truth=_truth(columns),
        keys={name: torch.from_numpy(value.astype(np.int64)) for name, value in keys.items()},
    )
