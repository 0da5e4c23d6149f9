"""The synthetic shop: one generator, many tables, known truth.

The names below are loaded when they are first used, so that importing the package stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "Market": "market",
    "best_predictions": "oracle",
    "clean_impressions": "impression_frame",
    "content_encoder": "content_frame",
    "frame_truth": "impression_frame",
    "impression_encoder": "impression_frame",
}

__all__ = [
    "Market",
    "best_predictions",
    "clean_impressions",
    "content_encoder",
    "frame_truth",
    "impression_encoder",
]

if TYPE_CHECKING:
    from mtlkit.shop.content_frame import content_encoder
    from mtlkit.shop.impression_frame import clean_impressions, frame_truth, impression_encoder
    from mtlkit.shop.market import Market
    from mtlkit.shop.oracle import best_predictions


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mtlkit.shop' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"mtlkit.shop.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
