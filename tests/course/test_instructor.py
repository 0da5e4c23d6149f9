"""The instructor page: a schedule that adds up, solutions, named mistakes, where to cut."""

import re
from itertools import pairwise

import pytest

from mtlkit.course.author.instructor import make_page
from mtlkit.course.author.make import place_of
from mtlkit.course.author.parse import parse
from mtlkit.course.learner.checker import REGISTRY, Checker, Mistake, Wrong


@pytest.fixture
def page(small, folders):
    def doubles(answer):
        if answer(1) != 2:
            raise Mistake("Twice 1 is 2.")

    entry = Checker(
        "97.1",
        doubles,
        solution=lambda x: 2 * x,
        stub=lambda x: None,
        wrong=[Wrong(lambda x: x, "Twice", "Returns the number itself.")],
    )
    REGISTRY["97.1"] = entry
    source = parse(small)
    yield make_page(source, place_of(small, folders), {"97.1": entry})
    del REGISTRY["97.1"]


def test_the_schedule_adds_up_and_holds_the_exercise_minutes(page):
    rows = re.findall(r"^\| (\d+) \| (.+) \| (\d+) \|$", page, flags=re.MULTILINE)
    minute = 0
    for start, _, minutes in rows:
        assert int(start) == minute
        minute += int(minutes)
    assert ("Exercise 97.1: fill in", "3") in [(name, minutes) for _, name, minutes in rows]
    assert f"**Minutes of a learner alone:** {minute} (" in page
    assert f"In a class of 90 minutes {90 - minute} are left" in page


def test_mistakes_come_with_the_checks_answer(page):
    assert "- Returns the number itself. *Twice 1 is 2.*" in page


def test_goals_notes_cuts_solution_and_links_are_there(page):
    for text in (
        "- double a number (exercise 97.1).",
        "Ask who added instead.",
        "1. The story.",
        "    doubled_number = number * 2",
        "Multiplication, see [the course](../README.md).",
        "[97_small.ipynb](../97_small.ipynb)",
        "1. What is two times four?",
    ):
        assert text in page
    assert "SOLUTION" not in page


def test_every_fence_is_closed_and_headings_do_not_skip(page):
    assert page.count("```") % 2 == 0
    plain = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    levels = [len(mark) for mark in re.findall(r"^(#+) ", plain, flags=re.MULTILINE)]
    assert levels[0] == 1 and all(b <= a + 1 for a, b in pairwise(levels))
