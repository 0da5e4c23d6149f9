"""Product pictures drawn by code; the names below are loaded when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {"draw": "drawing", "draw_many": "drawing", "pixels": "drawing", "picture_table": "tables"}

__all__ = ["draw", "draw_many", "picture_table", "pixels"]

if TYPE_CHECKING:
    from mtlkit.shop.pictures.drawing import draw, draw_many, pixels
    from mtlkit.shop.pictures.tables import picture_table


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mtlkit.shop.pictures' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"mtlkit.shop.pictures.{_HOME[name]}"), name)
    globals()[name] = value
    return value
