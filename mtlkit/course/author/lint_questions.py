"""Rules about what is asked: no goal gives a mistake as the task, no quiz its answer by length."""

import math
import re
from collections.abc import Iterable, Iterator

from mtlkit.course.author.make import Built
from mtlkit.course.author.source import Source
from mtlkit.course.learner import lesson, questions
from mtlkit.course.learner.check import load as load_checkers
from mtlkit.course.learner.questions import Question

RUN = 3  # words in a row that a goal and a mistake must not have in common
Rule = Iterator[tuple[int, str, bool]]


def rules(built: Built) -> Rule:
    """All findings about goals and quizzes: (line, sentence, whether it is an error)."""
    yield from goals(built.source)
    yield from _lengths(built.source.number)


def goals(source: Source) -> Rule:
    """Goals of exercise cards that share a run of words with a mistake which the check refuses.

    Whoever does what such a goal says is told that it is wrong.
    """
    checkers = load_checkers(source.number)
    for exercise in source.exercises.values():
        asked = _runs(exercise.goal)
        for wrong in checkers[exercise.id].wrong if exercise.id in checkers else ():
            shared = asked & _runs(wrong.name)
            if shared:
                text = (
                    f"the goal of {exercise.id} says {' '.join(min(shared))!r}, as does a mistake"
                )
                yield exercise.line, f"{text} that its check refuses: {wrong.name!r}", True


def longest(asked: Iterable[Question]) -> tuple[int, float, int]:
    """(how often the right option is the longest or tied, how often by chance, questions)."""
    found, chance, count = 0, 0.0, 0
    for question in asked:
        lengths = [len(option.text) for option in question.options]
        right = next(len(option.text) for option in question.options if option.right)
        found, chance, count = found + (right == max(lengths)), chance + 1 / len(lengths), count + 1
    return found, chance, count


def everywhere() -> dict[str, list[Question]]:
    """The quiz questions of the whole course, by notebook number."""
    return {
        number: [q for asked in questions.load(number)["quizzes"].values() for q in asked]
        for number in lesson.numbers("quiz.yaml")
    }


def _lengths(number: str) -> Rule:
    """The right option may be the longest as often as chance makes it over all quizzes, rounded up.

    Where it is more often, each notebook with more than its share is told.
    """
    try:
        asked = everywhere()
    except questions.QuestionError:
        return  # said where that file is linted
    whole = longest(question for rows in asked.values() for question in rows)
    mine = longest(asked.get(number, ()))
    if whole[0] > math.ceil(whole[1]) and mine[0] > mine[1]:
        yield (
            1,
            f"the right option is the longest in {whole[0]} of all {whole[2]} quiz questions, by "
            f"chance it would be in {whole[1]:.0f}; here in {mine[0]} of {mine[2]}: lengthen a "
            "wrong one",
            True,
        )


def _runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {tuple(words[n : n + RUN]) for n in range(len(words) - RUN + 1)}
