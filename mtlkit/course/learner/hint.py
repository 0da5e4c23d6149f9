"""Hints, one at a time, from a nudge to nearly the answer."""

import sys
from typing import Any

from mtlkit.course.learner import cards, store


def hint(exercise: str) -> None:
    """Print the next hint of an exercise ("2.1"); after the last one, print them all again."""
    number = str(exercise).partition(".")[0]
    known = cards.load(f"{int(number):02d}")["exercises"] if number.isdigit() else {}
    if exercise not in known:
        print(f"there is no exercise {exercise!r}; look at the number on the exercise card.")
        return
    hints = known[exercise]["hints"]
    seen = store.read()["hints"].get(exercise, 0)
    seen = seen if isinstance(seen, int) and seen >= 0 else 0
    if seen >= len(hints):
        print("\n".join(f"Hint {n} of {len(hints)}: {t}" for n, t in enumerate(hints, start=1)))
        print("That was the last hint. The solution copy of this notebook shows one way to do it.")
        return
    importance = known[exercise].get("importance")
    if seen == 0 and importance in cards.IMPORTANCE:
        print(f"Exercise {exercise} is {cards.IMPORTANCE[importance]}.")
    print(f"Hint {seen + 1} of {len(hints)}: {hints[seen]}")
    store.update(lambda record: record["hints"].update({exercise: seen + 1}))


def lay_ready(**names: Any) -> None:
    """Give a notebook these names: cards and sentences speak of them, and few cells import them."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        for name, value in names.items():
            shell.user_ns.setdefault(name, value)
