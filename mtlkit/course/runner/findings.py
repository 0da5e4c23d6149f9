"""What each notebook finds, in one sentence: text of the lesson, numbers from stored results.

A lesson's `finding.yaml` is described for authors in `notebooks/README.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from mtlkit.course.learner import cards, lesson
from mtlkit.course.runner.finding_numbers import Number, number_of

FILE = "finding.yaml"
FIELDS = ("answer", "numbers", "main", "figure")


class FindingError(ValueError):
    """A finding.yaml breaks its format, or its text is not what the stored results say."""


@dataclass(frozen=True)
class Finding:
    """One notebook's question, its answer in a sentence, on how many shops, its telling figure.

    `figure` is how the alt text of that figure starts.
    """

    number: str
    title: str
    question: str
    answer: str
    holds: str
    figure: str


def numbers() -> list[str]:
    """The numbers of all notebooks with a finding, in order."""
    return lesson.numbers(FILE)


def load(number: str) -> Finding:
    """The finding of a notebook, such as "02".

    Raises FindingError for no file, a file that breaks the format, a number that is not stored,
    and a verdict that the stored tables do not have.
    """
    where = f"mtlkit/lessons/nb{number}/{FILE}"
    if number not in numbers():
        raise FindingError(f"notebook {number!r} has no finding: write {where}.")
    content = _content(lesson.path(number, FILE).read_text(encoding="utf-8"), where)
    found: dict[str, Number] = {}
    for name, fields in content["numbers"].items():
        try:
            found[name] = number_of(number, fields)
        except (ValueError, KeyError, TypeError) as error:
            raise FindingError(f"{where}, number {name!r}: {error}") from error
    if content["main"] not in found:
        known = ", ".join(found)
        raise FindingError(f"{where}: main is {content['main']!r}, no number ({known}).")
    try:
        answer = " ".join(str(content["answer"]).format(**found).split())
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise FindingError(f"{where}, answer: {type(error).__name__}: {error}") from error
    card = cards.load(number)
    holds = found[content["main"]].holds
    return Finding(number, card["title"], card["question"], answer, holds, content["figure"])


def _content(text: str, where: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FindingError(f"{where} is not YAML: {error}") from error
    if not isinstance(content, dict) or set(content) != set(FIELDS):
        raise FindingError(f"{where}: its fields must be {', '.join(FIELDS)}.")
    if not isinstance(content["numbers"], Mapping) or not content["numbers"]:
        raise FindingError(f"{where}: numbers must be entries such as 'gain: {{candidate: ...}}'.")
    for name in ("answer", "main", "figure"):
        if not isinstance(content[name], str) or not content[name].strip():
            raise FindingError(f"{where}: {name} must be a text.")
    return content
