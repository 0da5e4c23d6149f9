"""A report and its parts, and how they are shown one below the other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from mtlkit.plot.style import Picture
from mtlkit.report.tables import table_html

WIDE: dict[str, Any] = {"tbl_rows": 60, "tbl_cols": 20, "fmt_str_lengths": 120}
WIDE |= {"tbl_width_chars": 160}
BARE: dict[str, Any] = {"tbl_hide_dataframe_shape": True, "tbl_hide_column_data_types": True}


@dataclass(frozen=True, repr=False)
class Report:
    """A result as ``picture``, ``table`` and ``sentence``; a part that there is not is None or "".

    In a notebook it shows its parts in this order, numbers of the table with ``digits`` decimals;
    the table itself keeps them whole. ``gaps``: {candidate: its difference}, of ``against``.
    """

    table: pl.DataFrame | None = None
    sentence: str = ""
    picture: Picture | None = None
    digits: int = 3
    gaps: Mapping[str, Any] = field(default_factory=dict)

    def _ipython_display_(self) -> None:
        show(self)

    def __repr__(self) -> str:
        return "\n".join(_text(piece, self.digits) for piece in self._pieces())

    def _pieces(self) -> list[Any]:
        parts = (self.picture, self.table, self.sentence or None)
        return [part for part in parts if part is not None]


def show(*parts: Any, digits: int = 3) -> None:
    """Show reports, pictures, polars tables and Markdown texts one below the other.

    Numbers of tables have ``digits`` decimals, those of a report its own. Outside a notebook the
    parts are printed. Raises ``TypeError`` for a part of another kind, before any is shown.
    """
    pieces: list[tuple[Any, int]] = []
    for part in parts:
        if isinstance(part, Report):
            pieces += [(piece, part.digits) for piece in part._pieces()]
        elif isinstance(part, pl.DataFrame | str | Picture):
            pieces.append((part, digits))
        else:
            raise TypeError(
                f"show takes reports, pictures, polars tables and texts, not {type(part).__name__}."
            )
    for piece, decimals in pieces:
        _show(piece, decimals)


def _show(piece: Any, digits: int) -> None:
    ipython = sys.modules.get("IPython")  # loaded already where there is a notebook
    if ipython is None or ipython.get_ipython() is None:
        print(_text(piece, digits))
        return
    shown = importlib.import_module("IPython.display")
    if isinstance(piece, pl.DataFrame):
        with pl.Config(**WIDE, **BARE, float_precision=digits):
            both = {"text/html": table_html(piece), "text/plain": str(piece)}
        shown.display(both, raw=True)
    else:
        shown.display(shown.Markdown(piece) if isinstance(piece, str) else piece)


def _text(piece: Any, digits: int) -> str:
    with pl.Config(**WIDE, **BARE, float_precision=digits):
        return str(piece)
