"""What a cell shows, held back while it runs and put in its place later. Needs IPython."""

import ast
import io
import sys
from typing import Any

from IPython.core.displayhook import CapturingDisplayHook
from IPython.core.displaypub import CapturingDisplayPublisher

Shown = dict[str, Any]  # {"data": {MIME type: content}, "metadata": ...}


class Capture:
    """Collects what is printed and displayed in `shown`, in order; errors and stderr pass."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.shown: list[Shown] = []
        self._usual = (shell.display_pub, shell.display_trap.hook, sys.stdout)

    def start(self) -> None:
        """From here on hold back."""
        publisher = CapturingDisplayPublisher()
        publisher.outputs = self.shown
        self._set(publisher, CapturingDisplayHook(self.shell, self.shown), _Printed(self.shown))

    def stop(self) -> None:
        """Let everything pass again."""
        self._set(*self._usual)

    def _set(self, publisher: Any, hook: Any, stdout: Any) -> None:
        self.shell.display_pub, self.shell.display_trap.hook = publisher, hook
        sys.stdout = stdout


class _Printed(io.TextIOBase):
    """A stdout that adds what is printed to a list; neighbouring pieces become one."""

    def __init__(self, shown: list[Shown]) -> None:
        self.shown = shown

    def write(self, text: str) -> int:
        if self.shown and self.shown[-1].get("printed"):
            self.shown[-1]["data"]["text/plain"] += text
        elif text:
            self.shown.append({"data": {"text/plain": text}, "printed": True})
        return len(text)


class Places:
    """The outputs of one cell: a sentence now, later what is shown in its place.

    A notebook updates displays where they stand; a terminal cannot, and shows them anew.
    """

    def __init__(self, shell: Any, name: str, sentence: str) -> None:
        self.shell, self.name, self.count = shell, name, 1
        self.updates = getattr(shell, "kernel", None) is not None
        self._publish(0, {"data": {"text/plain": sentence}}, update=False)

    def reserve(self, count: int) -> None:
        """Empty places for so many outputs; the first is where the sentence stands."""
        while self.updates and self.count < count:
            self._publish(self.count, {"data": {"text/plain": ""}}, update=False)
            self.count += 1

    def fill(self, shown: list[Shown]) -> None:
        """Show these outputs; more than there are places follow where this is called."""
        for place in range(max(len(shown), self.count if self.updates else 0)):
            what = shown[place] if place < len(shown) else {"data": {"text/plain": ""}}
            self._publish(place, what, update=self.updates and place < self.count)

    def _publish(self, place: int, what: Shown, *, update: bool) -> None:
        data = dict(what["data"])
        if what.get("printed"):
            data["text/plain"] = data["text/plain"].rstrip("\n")
        self.shell.display_pub.publish(
            data,
            what.get("metadata") or {},
            transient={"display_id": f"{self.name}-{place}"},
            update=update,
        )


def run_again(shell: Any, source: str, names: dict[str, Any]) -> list[Shown]:
    """What a cell shows when it is run in `names`, apart from the notebook's own names.

    Raises whatever the cell raises.
    """
    tree = ast.parse(shell.transform_cell(source))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    capture = Capture(shell)
    capture.start()
    try:
        exec(compile(tree, "<answer>", "exec"), names)
        if isinstance(last, ast.Expr):
            shell.display_trap.hook(
                eval(compile(ast.Expression(last.value), "<answer>", "eval"), names)
            )
    finally:
        capture.stop()
    return capture.shown
