"""Which entries of the learner's record are sound: a file can hold anything."""

import math
from collections.abc import Callable, Mapping
from typing import Any

PARTS = ("checks", "hints", "quizzes", "guesses", "skipped")
STATES = ("right", "wrong", "not attempted")


def is_record(found: object) -> bool:
    """Whether a file's content has the form of a record; its entries may still be damaged."""
    return isinstance(found, dict) and all(isinstance(found.get(p, {}), dict) for p in PARTS)


def sound(record: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A record without its damaged entries, and the names of those: "checks 2.1", for example.

    What is in none of the parts (of a later version, perhaps) stays as it is.
    """
    kept: dict[str, Any] = {**record, **{part: {} for part in PARTS}}
    damaged = []
    for part in PARTS:
        for name, value in record.get(part, {}).items():
            if _RULES[part](value):
                kept[part][name] = value
            else:
                damaged.append(f"{part} {name}")
    return kept, damaged


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1e9


def _check(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("status"), str)
        and value["status"] in STATES
        and _count(value.get("tries"))
    )


def _quiz(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("answers"), list)
        and all(map(_count, value["answers"]))
        and _count(value.get("right"))
        and _count(value.get("of"))
    )


def _guess(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(part, str) for part in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return abs(value) < 1e300 and math.isfinite(value)
    return isinstance(value, str)


def _skipped(value: Any) -> bool:
    return value is True


_RULES: dict[str, Callable[[Any], bool]] = {
    "checks": _check, "hints": _count, "quizzes": _quiz, "guesses": _guess,
    "skipped": _skipped,
}  # fmt: skip
