"""Whether widgets can be shown, and the few that the course shares."""

import html
import os
from collections.abc import Callable


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
