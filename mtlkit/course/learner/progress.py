"""What the learner has done so far, from the local record."""

from typing import Any

from mtlkit.course.learner import cards, questions, store

_MARKS = {"right": "✓", "wrong": "✗", "not attempted": "·"}


def record_check(exercise: str, status: str) -> None:
    """Remember the outcome of a check; an exercise once right stays right."""

    def change(record: dict[str, Any]) -> None:
        before = record["checks"].get(exercise, {"status": "not attempted", "tries": 0})
        tries = before["tries"] + (status != "not attempted")
        kept = "right" if before["status"] == "right" else status
        record["checks"][exercise] = {"status": kept, "tries": tries}

    store.update(change)


def progress(notebook: str | None = None) -> None:
    """Print what is done: exercises (✓ right, ✗ not yet, · not attempted), quizzes and guesses.

    `notebook` ("02") asks for one notebook only. The record lies in a file on this machine.
    """
    record = store.read()
    numbers = cards.numbers() if notebook is None else [notebook]
    rows = [row for row in (summary(number, record) for number in numbers) if row]
    print("\n".join(rows) if rows else "There is nothing to report yet.")


def summary(number: str, record: dict[str, Any]) -> str:
    """One line about one notebook; empty if it has no exercises and no questions."""
    parts = []
    exercises = list(cards.load(number)["exercises"])
    if exercises:
        states = [
            record["checks"].get(name, {}).get("status", "not attempted") for name in exercises
        ]
        marks = " ".join(
            f"{name} {_MARKS.get(state, '·')}"
            for name, state in zip(exercises, states, strict=True)
        )
        parts.append(f"exercises {states.count('right')} of {len(exercises)} ({marks})")
    asked = questions.load(number)
    if asked["quizzes"]:
        done = [record["quizzes"][name] for name in asked["quizzes"] if name in record["quizzes"]]
        points = sum(entry.get("right", 0) for entry in done)
        total = sum(len(rows) for rows in asked["quizzes"].values())
        parts.append(f"quiz questions {points} of {total} right")
    if asked["predictions"]:
        skips = sum(name in record["skipped"] for name in asked["predictions"])
        given = sum(
            name in record["guesses"] and name not in record["skipped"]
            for name in asked["predictions"]
        )
        apart = f" ({skips} skipped)" if skips else ""
        parts.append(f"guesses {given} of {len(asked['predictions'])}{apart}")
    return f"{number}: " + ", ".join(parts) if parts else ""
