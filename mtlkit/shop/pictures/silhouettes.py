"""The outlines of the shop's ten product categories, as distance fields.

Every outline is a function `(u, v, draws) -> Outline`: u, v (picture, height, width) are the
coordinates of the points, right and down, about -1 to 1; draws (picture, DRAWS) are uniform random
numbers, from which the proportions are taken.
"""

from __future__ import annotations

from collections.abc import Callable

import mtlkit.shop.pictures.clothes as clothes
import mtlkit.shop.pictures.shoes_and_bags as accessories
from mtlkit.shop.pictures.distance_fields import Outline

DRAWS = 12  # uniform numbers an outline may use for its proportions

OUTLINES: dict[str, Callable[..., Outline]] = {
    "t-shirt": clothes.t_shirt,
    "trousers": clothes.trousers,
    "pullover": clothes.pullover,
    "dress": clothes.dress,
    "coat": clothes.coat,
    "sandal": accessories.sandal,
    "shirt": clothes.shirt,
    "sneaker": accessories.sneaker,
    "bag": accessories.bag,
    "boot": accessories.boot,
}
"""Category name -> outline, in the order of the category label."""
