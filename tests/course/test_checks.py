"""Every checker of the course, tested on its solution, its stub and its stored wrong answers."""

import pytest

from mtlkit.course.learner import lesson
from mtlkit.course.learner.check import judge, load
from mtlkit.course.learner.checker import REGISTRY

EXERCISES = [name for number in lesson.numbers("checks.py") for name in load(number)]
WRONG = [(name, place) for name in EXERCISES for place in range(len(REGISTRY[name].wrong))]


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_checker_passes_its_solution(exercise):
    verdict, again = (judge(exercise, REGISTRY[exercise].solution) for _ in range(2))
    assert verdict.status == "right", verdict.message
    assert verdict == again


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_checker_fails_its_stub_quietly(exercise):
    assert judge(exercise, REGISTRY[exercise].stub).status == "not attempted"


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_checker_stores_two_named_mistakes_with_different_messages(exercise):
    wrong = REGISTRY[exercise].wrong
    assert len(wrong) >= 2
    assert all(entry.name for entry in wrong), "every wrong answer needs a docstring or a name"
    assert len({entry.message for entry in wrong}) >= 2  # which it gets: the next test


@pytest.mark.parametrize(("exercise", "place"), WRONG)
def test_a_wrong_answer_gets_its_message_on_any_draw_and_the_same_verdict_twice(exercise, place):
    wrong = REGISTRY[exercise].wrong[place]
    first, again, other = (judge(exercise, wrong.answer, seed) for seed in (0, 0, 1 + place % 2))
    for verdict in (first, other):
        assert (verdict.status, verdict.message) == ("wrong", wrong.message)
    assert first == again
