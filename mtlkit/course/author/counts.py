"""What stands in the cells of a source, counted: words, lines of code, what is shown and asked."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields

from mtlkit.course.author.read_cards import read_title
from mtlkit.course.author.source import Cell
from mtlkit.course.learner import questions

_SILENT = {"check", "hint", "predict", "quiz", "record", "skip"}  # calls that show no result
_QUIZ = re.compile(r"""\bquiz\(\s*["']([^"']+)["']""")
_PREDICT = re.compile(r"\bpredict\(")


@dataclass(frozen=True)
class Counts:
    """What a learner meets: words, visible lines of code, figures and tables, guesses, questions.

    Exercises are not counted: their cards say their minutes.
    """

    words: int = 0
    code: int = 0
    shown: int = 0
    guesses: int = 0
    questions: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def count_words(text: str) -> int:
    """Words of a markdown text; link targets, code blocks and displayed formulas do not count."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$|<!--.*?-->", " ", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return len(re.findall(r"[^\W_][\w'’.-]*", text))


def code_lines(text: str) -> int:
    """Lines of code: neither blank nor only a comment."""
    return sum(bool(row.strip()) and not row.strip().startswith("#") for row in text.split("\n"))


def shows(text: str) -> bool:
    """Whether a cell of code shows something: a value or a call that stands alone on a line."""
    try:
        rows = ast.parse(text).body
    except SyntaxError:
        return False
    values = [row.value for row in rows if isinstance(row, ast.Expr)]
    called = [_called(value) for value in values if not isinstance(value, ast.Constant)]
    return any(name not in _SILENT for name in called)


def count(cells: Iterable[Cell], number: str) -> Counts:
    """The counts of cells of a learner's copy; `number` ("02") says whose quizzes they ask."""
    return sum((_count(cell, number) for cell in cells), Counts())


def _count(cell: Cell, number: str) -> Counts:
    if {"exercise", "exercise-code", "check"} & set(cell.tags):
        return Counts()
    if cell.kind == "markdown":
        text = read_title(cell.source).body if "title" in cell.tags else cell.source
        return Counts(words=count_words(text))
    if "predict" in cell.tags:
        return Counts(guesses=len(_PREDICT.findall(cell.source)))
    if "quiz" in cell.tags:
        return Counts(questions=_questions(cell.source, number))
    code = 0 if "hide-input" in cell.tags else code_lines(cell.source)
    return Counts(code=code, shown=int(shows(cell.source)))


def _questions(text: str, number: str) -> int:
    try:
        known = questions.load(number)["quizzes"]
    except questions.QuestionError:
        return 0  # said where that file is linted
    return sum(len(known.get(name, ())) for name in _QUIZ.findall(text))


def _called(value: ast.expr) -> str:
    function = value.func if isinstance(value, ast.Call) else None
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
