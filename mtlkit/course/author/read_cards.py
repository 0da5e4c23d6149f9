"""Reading the title card and the exercise cards; what is wrong is named by its field."""

import re

from mtlkit.course.author.source import LEVELS, Exercise, Title
from mtlkit.course.learner.cards import IMPORTANCE

TITLE_FIELDS = ("title", "question", "run")
IGNORED = ("read",)  # once typed, now of the plan
EXERCISE_FIELDS = ("id", "level", "minutes", "goal", "hints")


def split_card(source: str) -> tuple[dict, str]:
    """Split a card into its fields (YAML above `---`, all values text) and the markdown below."""
    import yaml

    head, mark, body = source.partition("\n---")
    if not mark:
        raise ValueError("the card has no '---' line between its fields and its text")
    try:
        fields = yaml.load(head, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1} of the card" if where else ""
        raise ValueError(f"the card's fields are not YAML{line}: {error.problem}") from None
    if not isinstance(fields, dict):
        raise ValueError("the card's fields must be 'name: value' lines")
    return fields, body.lstrip("-").strip("\n")


def _minutes(fields: dict, name: str) -> int:
    try:
        return int(fields[name])
    except (TypeError, ValueError):
        raise ValueError(f"'{name}' must be whole minutes, found {fields[name]!r}") from None


def _listed(fields: dict, name: str) -> list[str]:
    value = fields.get(name, [])
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError(f"'{name}' must be a list ('- one entry a line'; quote texts with ': ')")
    return value


def _require_fields(fields: dict, required: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    missing = [name for name in required if not fields.get(name)]
    unknown = [name for name in fields if name not in allowed]
    if missing:
        raise ValueError(f"the card lacks {', '.join(missing)}")
    if unknown:
        raise ValueError(f"unknown field {', '.join(unknown)}; known: {', '.join(allowed)}")


def read_title(source: str) -> Title:
    """Read a title card; raises ValueError naming the field that is wrong."""
    fields, body = split_card(source)
    _require_fields(fields, TITLE_FIELDS, (*TITLE_FIELDS, "needs", "cut", *IGNORED))
    return Title(
        fields["title"],
        fields["question"],
        _minutes(fields, "run"),
        _listed(fields, "needs"),
        _listed(fields, "cut"),
        body,
    )


def read_exercise(source: str, line: int = 0) -> Exercise:
    """Read an exercise card; raises ValueError naming the field that is missing or malformed."""
    fields, body = split_card(source)
    _require_fields(fields, EXERCISE_FIELDS, (*EXERCISE_FIELDS, "importance"))
    if not re.fullmatch(r"\d+\.\d+", fields["id"]):
        raise ValueError(f"'id' must look like 2.1, found {fields['id']!r}")
    if fields["level"] not in LEVELS:
        raise ValueError(f"'level' must be one of {', '.join(LEVELS)}; found {fields['level']!r}")
    importance = fields.get("importance", "")
    if "importance" in fields and importance not in tuple(IMPORTANCE):
        raise ValueError(
            f"'importance' must be one of {', '.join(IMPORTANCE)}; found {importance!r}"
        )
    if not body:
        raise ValueError("the card has no text below '---'")
    return Exercise(
        fields["id"],
        fields["level"],
        importance,
        _minutes(fields, "minutes"),
        fields["goal"],
        _listed(fields, "hints"),
        body,
        line,
    )
