"""The dials of the synthetic shop, and the presets that set them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from numbers import Real
from pathlib import Path
from typing import Any

from mtlkit.data.places import datasets_folder
from mtlkit.shop.preset_file import read_preset
from mtlkit.shop.probability import at_least_one

EXPOSURES = ("random", "popular", "personal")
TILL_SHARE = 0.5  # of the wished products, those whose visitor goes to the till without a cart


@dataclass(frozen=True)
class Dials:
    """Everything about a shop that can be turned. A value outside its range raises ValueError."""

    # size
    users: int = 2_000  # visitors with an account, at least 20
    items: int = 400  # products, at least 10 times the page size
    sellers: int = 40  # shops that sell the products
    scenarios: int = 3  # places in the shop: search, feed, ads, ... (1 to 100)
    page_size: int = 8  # products on one page (positions 0 .. page_size - 1)
    days: int = 56  # the period the tables cover
    factors: int = 8  # latent dimensions of personal taste, at least 2

    # what decides an outcome
    signal: float = 1.4  # standard deviation of a task's utility, in logits, before any noise
    task_correlation: float = (
        0.5  # correlation of each task's utility with the click utility, -1..1
    )
    scenario_shift: float = 0.3  # 0: one taste everywhere; 1: each scenario has a taste of its own
    scenario_rates: float = 0.3  # standard deviation over scenarios of the base rate, in logits
    scenario_tail: float = 0.8  # traffic of scenario r goes as 1 / (r + 1) ** scenario_tail
    noise: float = 0.3  # standard deviation, in logits, of luck that no feature explains
    seasonality: float = 0.3  # size, in logits, of the daily, weekly and yearly swings
    drift: float = 0.0  # 0: tastes stay; 1: on the last day they have nothing to do with the first

    # how often things happen, as averages over the rows where they can
    click_rate: float = 0.08  # clicks an impression
    cart_rate: float = 0.25  # carts a click
    purchase_rate: float = 0.08  # purchases a click
    return_rate: float = 0.15  # returns a purchase
    label_sparsity: float = 1.0  # divides click_rate and purchase_rate, at least 1
    buy_now: float = (
        0.15  # chance that the buy-now button (no cart needed) is there; 0: strict chain
    )
    wish_rate: float = 0.0  # products put on the wish list a click; 0: the shop has no wish list

    # sessions
    gap_tells: float = 0.0  # how far the time between events tells the intent; 0: there is no clock
    new_users: float = 0.0  # share of users whose first session is in the later half of the days

    # what distorts the log
    position_bias: float = 0.4  # a click loses position_bias * log(1 + position) logits
    selection_bias: float = 0.5  # unobserved appeal, in logits, that moves click and purchase alike
    exposure: str = "popular"  # who chose the page: "random", "popular" or "personal"
    dirt: float = 0.02  # share of rows of a raw frame with a fault (missing, typo, double, ...)

    # what a shop may have besides; at 0 it does not, and everything else stays as it is
    contents: int = 0  # guides and videos about products; 0, or at least 10 times the page size
    content_correlation: float = (
        0.7  # correlation of a content's utility with that of the products it is about, 0..1
    )
    ad_bid: float = 0.0  # mean bid of a promoted item, euro a click; 0: nobody bids
    stock_columns: int = 0  # 1: impressions show sales and stock, and what is sold out stays unsold

    def __post_init__(self) -> None:
        limits = {
            "users": (20, 10**7), "items": (10, 10**6), "sellers": (1, 10**5),
            "scenarios": (1, 100), "page_size": (1, 100), "days": (7, 3650), "factors": (2, 64),
            "signal": (0, 10), "task_correlation": (-1, 1), "scenario_shift": (0, 1),
            "scenario_rates": (0, 3), "scenario_tail": (0, 5), "noise": (0, 5),
            "seasonality": (0, 3), "drift": (0, 1), "click_rate": (1e-4, 0.9),
            "cart_rate": (1e-3, 0.95), "purchase_rate": (1e-4, 0.9), "return_rate": (1e-3, 0.9),
            "label_sparsity": (1, 1000), "buy_now": (0, 1), "wish_rate": (0, 0.9),
            "gap_tells": (0, 5), "new_users": (0, 0.9),
            "position_bias": (0, 5),
            "selection_bias": (0, 5), "dirt": (0, 0.5),
            "contents": (0, 10**5), "content_correlation": (0, 1), "ad_bid": (0, 100),
            "stock_columns": (0, 1),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            value: Any = getattr(self, name)
            real = isinstance(value, Real) and not isinstance(value, bool)
            if not real:
                raise ValueError(f"dial {name}: expected a number, got {value!r}")
            if not low <= value <= high:
                raise ValueError(f"dial {name}: {value!r} is outside {low} to {high}")
            whole = isinstance(low, int) and name in WHOLE
            if whole and int(value) != value:
                raise ValueError(f"dial {name}: expected a whole number, got {value!r}")
            object.__setattr__(self, name, int(value) if name in WHOLE else float(value))
        if not isinstance(self.exposure, str) or self.exposure not in EXPOSURES:
            raise ValueError(f"dial exposure: {self.exposure!r} is not one of {EXPOSURES}")
        if self.items < 10 * self.page_size:
            raise ValueError(
                f"dial items: {self.items} is too few for pages of {self.page_size}; "
                f"use at least {10 * self.page_size}"
            )
        if 0 < self.contents < 10 * self.page_size:
            raise ValueError(
                f"dial contents: {self.contents} is too few for pages of {self.page_size}; "
                f"use 0 for none, or at least {10 * self.page_size}"
            )
        possible = at_least_one((self.cart_rate, self.buy_now, TILL_SHARE * self.wish_rate))
        if self.purchase_rate / self.label_sparsity > 0.9 * possible:
            raise ValueError(
                f"dial purchase_rate: {self.purchase_rate} purchases a click cannot be reached "
                f"when only {possible:.2f} of the clicks reach a till (cart_rate, buy_now, "
                "wish_rate)"
            )


WHOLE = (
    "users", "items", "sellers", "scenarios", "page_size", "days", "factors", "contents",
    "stock_columns",
)  # fmt: skip


def presets(folder: str | Path | None = None) -> list[str]:
    """Names of the presets in `folder` (default: markets in mtlkit's own datasets).

    Raises ValueError where there is no such folder.
    """
    folder = datasets_folder() / "markets" if folder is None else Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder; give one of presets, NAME.yaml each")
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load_dials(preset: str | Path | None, changes: dict | None = None) -> Dials:
    """Dials of a preset, with some changed.

    `preset` is a name in datasets/markets, the path of a YAML file, or None for the defaults of
    `Dials`. Raises ValueError that names the file and the dial.
    """
    values: dict = {}
    if preset is not None:
        if not isinstance(preset, str | Path) or not str(preset).strip():
            raise ValueError(
                f"market preset {preset!r}: give one of {', '.join(presets())}, or the path of a "
                "file of yours."
            )
        path = Path(preset)
        if path.suffix not in (".yaml", ".yml"):
            path = datasets_folder() / "markets" / f"{preset}.yaml"
        if "\0" in str(preset) or not path.is_file():
            raise ValueError(
                f"market preset {str(preset)!r}: no file {path}. Known presets: "
                f"{', '.join(presets()) or 'none'}. Presets live in datasets/markets; the path of "
                "a file of your own works too."
            )
        values = read_preset(path)
        _refuse_unknown(values, str(path))
    _refuse_unknown(changes or {}, "Market(...)")
    try:
        return replace(Dials(), **{**values, **(changes or {})})
    except ValueError as error:
        raise ValueError(f"{preset or 'Market'}: {error}") from None


def _refuse_unknown(values: dict, place: str) -> None:
    known = [field.name for field in fields(Dials)]
    for name in values:
        if name not in known:
            raise ValueError(f"{place}: there is no dial {name!r}; dials are {', '.join(known)}")
