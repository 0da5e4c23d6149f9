"""Reading a notebook's quizzes and predictions from `mtlkit/lessons/nbNN/quiz.yaml`."""

import random
from dataclasses import dataclass

from mtlkit.course.learner import lesson

KINDS = ("number", "choice", "ranking")


class QuestionError(ValueError):
    """A file of questions breaks its format; the message names file, entry and what to do."""


@dataclass(frozen=True)
class Option:
    """One answer of a quiz question; `why` explains it, for a wrong one by its misconception."""

    text: str
    right: bool
    why: str


@dataclass(frozen=True)
class Question:
    """One quiz question with its options in the order in which they are shown."""

    text: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Prediction:
    """A question that the learner answers before looking: a number, a choice or a ranking."""

    id: str
    question: str
    kind: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    options: tuple[str, ...] = ()


def quiz_questions(identifier: str) -> tuple[Question, ...]:
    """The questions of one quiz; raises KeyError with a sentence if there is no such quiz."""
    return _find(identifier, "quizzes", "quiz")


def prediction(identifier: str) -> Prediction:
    """One prediction; raises KeyError with a sentence if there is no such prediction."""
    return _find(identifier, "predictions", "prediction")


def _find(identifier: str, part: str, what: str):
    start = str(identifier).partition(".")[0]
    known = load(f"{int(start):02d}")[part] if start.isdigit() else {}
    if identifier not in known:
        names = ", ".join(known) or "none"
        raise KeyError(f"there is no {what} {identifier!r} (this notebook has: {names}).")
    return known[identifier]


def load(number: str) -> dict[str, dict]:
    """All questions of a notebook: {"quizzes": {id: questions}, "predictions": {id: prediction}}.

    Empty if the notebook has no file. Raises QuestionError for a file that breaks the format.
    """
    import yaml

    path = lesson.path(number, "quiz.yaml")
    if not path.exists():
        return {"quizzes": {}, "predictions": {}}
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise QuestionError(f"{path.name} is not YAML: {error}") from None
    content = content or {}
    if not isinstance(content, dict) or set(content) - {"quizzes", "predictions"}:
        raise QuestionError(f"{path.name} may hold only 'quizzes' and 'predictions'")
    quizzes, predictions = content.get("quizzes") or {}, content.get("predictions") or {}
    for name in (*quizzes, *predictions):
        if name.partition(".")[0] != str(int(number)):
            raise QuestionError(f"{path.name}: {name!r} must start with '{int(number)}.'")
    return {
        "quizzes": {name: _quiz(path.name, name, rows) for name, rows in quizzes.items()},
        "predictions": {name: _predict(path.name, name, row) for name, row in predictions.items()},
    }


def _quiz(file: str, name: str, rows: object) -> tuple[Question, ...]:
    if not isinstance(rows, list) or not rows:
        raise QuestionError(f"{file}: quiz {name} must be a list of questions")
    questions = []
    for number, row in enumerate(rows, start=1):
        where = f"{file}: quiz {name}, question {number}"
        if not isinstance(row, dict) or set(row) != {"question", "options"}:
            raise QuestionError(f"{where}: needs exactly 'question' and 'options'")
        options = []
        for entry in row["options"]:
            if not isinstance(entry, dict) or not entry.get("text") or not entry.get("why"):
                raise QuestionError(f"{where}: every option needs a 'text' and a 'why'")
            if set(entry) - {"text", "why", "right"}:
                raise QuestionError(f"{where}: an option has only 'text', 'right' and 'why'")
            right = entry.get("right", "false").lower() in ("true", "yes")
            options.append(Option(entry["text"], right, entry["why"]))
        if len(options) < 2 or sum(option.right for option in options) != 1:
            raise QuestionError(f"{where}: needs two or more options, exactly one 'right: true'")
        # Authors write the right option first: a fixed shuffle keeps its place from giving it away.
        random.Random(f"{name}/{number}").shuffle(options)
        questions.append(Question(row["question"], tuple(options)))
    return tuple(questions)


def _predict(file: str, name: str, row: object) -> Prediction:
    where = f"{file}: prediction {name}"
    fields = {"question", "kind", "unit", "low", "high", "options"}
    if not isinstance(row, dict) or not row.get("question") or set(row) - fields:
        raise QuestionError(f"{where}: needs 'question', may have {', '.join(sorted(fields))}")
    kind = row.get("kind", "number")
    options = tuple(row.get("options", ()))
    if kind not in KINDS:
        raise QuestionError(f"{where}: 'kind' must be one of {', '.join(KINDS)}, found {kind!r}")
    if (kind == "number") == bool(options) or len(options) == 1:
        raise QuestionError(
            f"{where}: a choice or ranking needs two or more 'options', a number none"
        )
    if len(set(options)) != len(options):
        raise QuestionError(f"{where}: two options are the same")
    try:
        low, high = (float(row[k]) if k in row else None for k in ("low", "high"))
    except ValueError:
        raise QuestionError(f"{where}: 'low' and 'high' must be numbers") from None
    return Prediction(name, row["question"], kind, row.get("unit", ""), low, high, options)
