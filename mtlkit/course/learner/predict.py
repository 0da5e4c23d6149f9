"""Guessing before looking: a guess that is written down makes the surprise stronger."""

import math
from typing import Any

from mtlkit.course.learner import answers, display, numerals, store
from mtlkit.course.learner.questions import Prediction, prediction


def predict(identifier: str, *guessed: Any) -> None:
    """Ask for a guess ("2.p1"), or give it in plain text: `predict("2.p1", 40)`.

    A number may have a decimal comma ("12,5"); one that can be read in two ways ("1,234") is asked
    for again. A ranking is given best first, as several values or one list. In JupyterLab an input
    appears. The cells that show the answer wait for the guess, or for `skip("2.p1")`.
    """
    try:
        question = prediction(identifier)
    except KeyError as missing:
        print(missing.args[0])
        return
    if guessed:
        print(reply(question, guessed[0] if len(guessed) == 1 else list(guessed)))
    elif display.live():
        _show(question)
    else:
        print(as_text(question))


def skip(identifier: str) -> None:
    """Show the answer to a question ("2.p1") without a guess; `progress` counts it apart."""
    try:
        question = prediction(identifier)
    except KeyError as missing:
        print(missing.args[0])
        return
    given = guess(identifier)
    if given is not None:
        print(f"You have guessed already: {said(question, given)}.")
        return
    store.update(lambda record: record["skipped"].update({question.id: True}))
    answers.settle()
    print(f"Skipped: {question.id} counts as not guessed. Now let us look.")


def guess(identifier: str) -> float | str | list[str] | None:
    """The learner's guess: a float, a str for a choice, a list for a ranking, None if not given."""
    try:
        question = prediction(identifier)
        return read(question, store.read()["guesses"].get(identifier))
    except (KeyError, ValueError):
        return None


def as_text(question: Prediction) -> str:
    """The question as plain text, with the call that answers it."""
    rows = [f"Your guess, before we look: {question.question}"]
    if question.options:
        rows += ["Options:", *(f'  "{option}"' for option in question.options)]
    example = {
        "number": "a number" + (f" in {question.unit}" if question.unit else ""),
        "choice": "one of the options in quotes",
        "ranking": "all options in quotes, first to last",
    }[question.kind]
    rows.append(f'Write it down with predict("{question.id}", ...), giving {example}.')
    return "\n".join(rows)


def read(question: Prediction, value: Any) -> float | str | list[str] | None:
    """Turn a given value into a guess; raises ValueError with a sentence if it is none."""
    if value is None or value is Ellipsis:
        return None
    if question.kind == "number":
        number = numerals.number(value, question.unit)
        low = -math.inf if question.low is None else question.low
        high = math.inf if question.high is None else question.high
        if not math.isfinite(number) or not low <= number <= high:
            raise ValueError(f"A number from {low:g} to {high:g} is asked for, not {value!r}.")
        return number
    if question.kind == "choice":
        if value not in question.options:
            raise ValueError(f"Choose one of {', '.join(question.options)}; not {value!r}.")
        return value
    if not isinstance(value, list | tuple) or sorted(map(str, value)) != sorted(question.options):
        raise ValueError(f"Order all of {', '.join(question.options)}, each once.")
    return list(value)


def reply(question: Prediction, value: Any) -> str:
    """Store a guess and return what to say; a malformed guess is explained, not stored."""
    try:
        given = read(question, value)
    except ValueError as error:
        return str(error)
    if given is None:
        return "No guess yet. A wild one is fine: it is what you learn from."
    store.update(lambda record: record["guesses"].update({question.id: given}))
    answers.settle()
    written = f' (you wrote "{value}")' if isinstance(value, str) and "," in value else ""
    return f"Noted: {said(question, given)}{written}. Now let us look."


def said(question: Prediction, given: float | str | list[str]) -> str:
    """A guess in words, with its unit."""
    if isinstance(given, list):
        return ", then ".join(given)
    if isinstance(given, float):
        return f"{given:.10g} {question.unit}".strip()
    return given


def _show(question: Prediction) -> None:
    import ipywidgets

    before = guess(question.id)
    wide = ipywidgets.Layout(width="auto", max_width="60em")
    if question.kind == "number":
        start = "" if before is None else f"{before:.10g}"
        boxes = [ipywidgets.Text(value=start, description=question.unit, placeholder="a number")]
    elif question.kind == "choice":
        boxes = [ipywidgets.RadioButtons(options=question.options, value=before, layout=wide)]
    else:
        order = before if isinstance(before, list) else [None] * len(question.options)
        boxes = [
            ipywidgets.Dropdown(
                options=question.options, value=order[place], description=f"{place + 1}."
            )
            for place in range(len(question.options))
        ]

    def answer() -> str:
        values = [box.value for box in boxes]
        if question.kind == "ranking":
            return reply(question, values)
        return reply(question, values[0] if values[0] != "" else None)

    display.form([display.label(question.question), *boxes], "This is my guess", answer)
