"""Whether widgets can be shown, and the few that the course shares."""

import html
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


def live() -> bool:
    """True where widgets can be shown: in a notebook kernel with ipywidgets, unless MTLKIT_PLAIN=1.

    Headless runs (the builder, the tests) set MTLKIT_PLAIN=1, so that stored outputs are plain text
    which every viewer shows.
    """
    if os.environ.get("MTLKIT_PLAIN") == "1":
        return False
    try:
        import ipywidgets  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


def form(parts: list, button: str, answer: Callable[[], str]) -> None:
    """Show widgets above a button; a press shows the text that `answer()` returns below it."""
    import ipywidgets
    from IPython.display import display

    press = ipywidgets.Button(description=button, button_style="primary")
    reply = ipywidgets.HTML()

    def pressed(_: object) -> None:
        reply.value = "<br>".join(html.escape(row) for row in answer().split("\n"))

    press.on_click(pressed)
    display(ipywidgets.VBox([*parts, press, reply]))


def label(text: str) -> object:
    """A text widget, escaped."""
    import ipywidgets

    return ipywidgets.HTML(f"<b>{html.escape(text)}</b>")


def plain_tables(**options: Any) -> "pl.Config":
    """From here on show polars tables as one would write them on paper.

    No quotes around text, a dash where a value is missing, no types and no shape. ``options`` are
    those of ``polars.Config`` (``tbl_rows=20``, ``float_precision=3``); returns that Config.
    """
    import polars as pl
    from IPython import get_ipython

    from mtlkit.report.tables import table_html

    shell = get_ipython()
    if shell is not None:
        shell.display_formatter.formatters["text/html"].for_type(pl.DataFrame, table_html)
    bare = {"tbl_hide_dataframe_shape": True, "tbl_hide_column_data_types": True}
    return pl.Config(**{**bare, **options})
