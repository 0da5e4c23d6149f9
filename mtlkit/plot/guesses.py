"""The learner's guess beside the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mtlkit.plot.sheet import redrawn
from mtlkit.plot.style import (
    COLOURS,
    GREY,
    INK,
    Picture,
    canvas,
    ink,
    listed,
    say,
    sentence,
    style,
    with_unit,
)


@redrawn
def guess_against_truth(
    guess: Any,
    truth: Any,
    label: str,
    *,
    unit: str = "",
    title: str = "Your guess and the truth",
    limits: tuple[float, float] | None = None,
) -> Picture:
    """Draw a guess beside the truth; a guess of None draws the truth alone.

    - ``truth`` a number: the guess is a number.
    - ``truth`` {name: number}: the guess is {name: number}, the name you chose as the largest (a
      string), or a ranking (a list of names, largest first).
    - ``truth`` a list of names, best first: the guess is such a list.

    ``limits``, for a single number: the axis covers at least these, say (0, 100) for per cent.
    Raises ``ValueError`` for limits beside another kind of truth.
    """
    if limits is not None and isinstance(truth, (Mapping, Sequence)):
        raise ValueError("limits belong to a truth that is a single number.")
    if isinstance(truth, Mapping):
        return _amounts(guess, truth, label, unit, title)
    if isinstance(truth, Sequence) and not isinstance(truth, str):
        return _ranking(guess, [str(name) for name in truth], label, title)
    return _one_number(guess, float(truth), label, unit, title, limits or ())


def _one_number(
    guess: Any, truth: float, label: str, unit: str, title: str, limits: Sequence[float]
) -> Picture:
    answers = {"truth": truth} if guess is None else {"your guess": float(guess), "truth": truth}
    figure, ((axes,),) = canvas(title, height=1.35 + 0.36 * len(answers))
    with style():
        for y, (name, value) in enumerate(answers.items()):
            i = 0 if name == "truth" else 1
            axes.plot(value, y, color=COLOURS[i], marker="os"[i], markersize=9)
            axes.annotate(f"{say(value)} {unit}".rstrip(), (value, y), xytext=(10, 0), va="center",
                          textcoords="offset points", color=ink(COLOURS[i]))  # fmt: skip
        if limits:
            low, high = min([*answers.values(), *limits]), max([*answers.values(), *limits])
            near = max(answers.values()) > low + 0.75 * (high - low)  # its label needs room
            axes.set_xlim(low - 0.03 * (high - low), high + (0.22 if near else 0.03) * (high - low))
        else:
            _readable_range(axes, list(answers.values()))
        axes.set_yticks(range(len(answers)), list(answers))
        axes.set_ylim(len(answers) - 0.4, -0.6)
        axes.set(xlabel=with_unit(label, unit), ylabel="answer")
        axes.grid(axis="y", visible=False)
    alt = f"{sentence(title)} {with_unit(label, unit)}: the truth is {say(truth)}"
    if guess is None:
        return Picture(figure, f"{alt}. No guess was given.")
    off = _off(float(guess), truth)
    return Picture(figure, f"{alt}, your guess was {say(float(guess))}: {off}.")


def _readable_range(axes: Any, values: Sequence[float]) -> None:
    """Room for the labels at the right, and 0 in view unless the values lie far from it."""
    low, high = min(values), max(values)
    if low > 0 and (high > 1.5 * low or len(values) == 1):
        low = 0.0
    elif high < 0 and (low < 1.5 * high or len(values) == 1):
        high = 0.0
    span = (high - low) or abs(high) or 1.0
    axes.set_xlim(low - 0.03 * span, high + 0.22 * span)


def _amounts(guess: Any, truth: Mapping[str, float], label: str, unit: str, title: str) -> Picture:
    if isinstance(guess, (list, tuple)):
        order = sorted(truth, key=lambda name: -truth[name])
        return _ranking(guess, order, label, title, truth, unit)
    chosen = guess if isinstance(guess, str) else None
    guessed: Mapping[str, float] = guess if isinstance(guess, Mapping) else {}
    unknown = sorted((set(guessed) | ({chosen} if chosen else set())) - set(truth))
    if unknown:
        raise ValueError(f"The guess names {unknown[0]!r}; the truth has {listed(truth)}.")
    figure, ((axes,),) = canvas(title, height=1.45 + 0.45 * len(truth))
    told = []
    with style():
        for y, (name, value) in enumerate(truth.items()):
            mine = guessed.get(name)
            if mine is not None:
                axes.plot([mine, value], [y, y], color=GREY, linewidth=1.4, marker="")
                axes.plot(mine, y, color=COLOURS[1], marker="s", markersize=8, linestyle="")
            axes.plot(value, y, color=COLOURS[0], marker="o", markersize=9, linestyle="")
            _names(axes, y, mine, float(value))
            text = f"{name} {say(float(value))}"
            if mine is not None:
                text += f" (your guess {say(float(mine))}, {_off(float(mine), float(value))})"
            told.append(text)
        names = [f"{name}  ◀ your choice" if name == chosen else name for name in truth]
        axes.set_yticks(range(len(truth)), names)
        axes.set_ylim(len(truth) - 0.4, -0.6)
        axes.set(xlabel=with_unit(label, unit), ylabel="case")
        axes.margins(x=0.18)
        axes.grid(axis="y", visible=False)
    alt = f"{sentence(title)} {with_unit(label, unit)}: {', '.join(told)}."
    if guess is None:
        alt += " No guess was given."
    if chosen is not None:
        best = max(truth, key=lambda name: truth[name])
        verdict = "which is the largest" if chosen == best else f"but {best} is the largest"
        alt += f" You chose {chosen}, {verdict}."
    return Picture(figure, alt)


def _names(axes: Any, y: int, mine: float | None, value: float) -> None:
    entries = [(value, say(value) if mine is None else f"truth {say(value)}", COLOURS[0])]
    if mine is not None:
        entries.append((float(mine), f"guess {say(float(mine))}", COLOURS[1]))
    entries.sort()
    for place, (x, text, colour) in enumerate(entries):
        left = len(entries) == 2 and place == 0
        axes.annotate(text, (x, y), xytext=(-9 if left else 9, 0), fontsize=9, va="center",
                      ha="right" if left else "left", textcoords="offset points",
                      color=ink(colour))  # fmt: skip


def _off(guess: float, truth: float) -> str:
    if guess == truth:
        return "exactly right"
    if truth and guess / truth > 0 and math.isfinite(guess / truth):
        ratio = guess / truth
        if ratio >= 2 or ratio <= 0.5:
            times = ratio if ratio > 1 else 1 / ratio
            return f"{say(times, 2)} times too {'high' if ratio > 1 else 'low'}"
    return f"{say(abs(guess - truth))} too {'high' if guess > truth else 'low'}"


def _ranking(
    guess: Any,
    order: Sequence[str],
    label: str,
    title: str,
    values: Mapping[str, float] | None = None,
    unit: str = "",
) -> Picture:
    mine = None if guess is None else [str(name) for name in guess]
    if mine is not None and sorted(mine) != sorted(order):
        raise ValueError(
            f"The guess must rank {listed(order)}, each once; it ranks {listed(mine)}."
        )
    figure, ((axes,),) = canvas(title, height=1.3 + 0.36 * len(order))
    rights = []
    with style():
        for place, name in enumerate(order):
            amount = f"  {say(float(values[name]))} {unit}".rstrip() if values else ""
            rights.append(f"{place + 1}. {name}{amount}")
            axes.annotate(rights[-1], (1, place), xytext=(9, 0), textcoords="offset points",
                          va="center", fontsize=9.5)  # fmt: skip
            axes.plot(1, place, color=COLOURS[0], marker="o", markersize=8)
            if mine is not None:
                own = mine.index(name)
                hit = own == place
                axes.plot([0, 1], [own, place], color=COLOURS[2] if hit else GREY, marker="",
                          linewidth=2.2 if hit else 1.2)  # fmt: skip
                axes.plot(0, own, color=COLOURS[1], marker="s", markersize=7)
                axes.annotate(f"{own + 1}. {name}", (0, own), xytext=(-9, 0), va="center",
                              textcoords="offset points", ha="right", fontsize=9.5)  # fmt: skip
        # Room for the names, in inches, on axes about 6.6 inches wide: the rest joins the orders.
        right = 0.3 + 0.085 * max(len(text) for text in rights)
        left = 0.3 + 0.085 * (3 + max(len(name) for name in order)) if mine is not None else 0.4
        between = max(1.0, 6.6 - left - right)
        axes.set_xlim(-left / between if mine is not None else 0.6, 1 + right / between)
        axes.set_ylim(len(order) - 0.4, -0.6)
        ends = ([0, 1], ["your order", "true order"]) if mine is not None else ([1], ["true order"])
        axes.set_xticks(*ends)
        axes.set_yticks([])
        axes.set(xlabel=label, ylabel="place")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.xaxis.label.set_color(INK)
    alt = f"{sentence(title)} {label}, true order: {', '.join(order)}."
    if values:
        alt += " Values: " + ", ".join(f"{n} {say(float(values[n]))}" for n in order) + "."
    if mine is None:
        alt += " No guess was given."
    else:
        hits = sum(a == b for a, b in zip(mine, order, strict=True))
        alt += f" Your order: {', '.join(mine)}; {hits} of {len(order)} places are right."
    return Picture(figure, alt)
