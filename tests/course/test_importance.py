"""An exercise card says how much it matters, wherever the card is shown, and what to cut first."""

import json
import re

import pytest

from mtlkit.course.author import lint_cards
from mtlkit.course.author.copies import make_copy
from mtlkit.course.author.cuts import cuts
from mtlkit.course.author.draw_cards import as_json
from mtlkit.course.author.instructor import make_page
from mtlkit.course.author.make import place_of
from mtlkit.course.author.parse import parse
from mtlkit.course.author.source import LEVELS, SourceError
from mtlkit.course.learner import lesson
from mtlkit.course.learner.cards import IMPORTANCE
from mtlkit.course.learner.hint import hint

CARD = """
# %% [markdown] tags=["exercise"]
# id: 97.{n}
# level: {level}
{importance}# minutes: {minutes}
# goal: count to {n}
# hints: [Count.]
# ---
# Count.

# %% tags=["check"]
check("97.{n}", {n})
"""


@pytest.fixture
def say(edit):
    """The fixture's card with this line for its importance."""
    return lambda text: edit("# level: fill in\n", f"# level: fill in\n{text}")


@pytest.fixture
def many(small):
    """A source with cards 97.2, 97.3, ... of these (level, importance, minutes), and a `cut`."""

    def write(cards, cut="# - The story."):
        text = small.read_text(encoding="utf-8").replace("# - The story.", cut)
        for n, (level, importance, minutes) in enumerate(cards, start=2):
            line = f"# importance: {importance}\n" if importance else ""
            text += CARD.format(n=n, level=level, importance=line, minutes=minutes)
        small.write_text(text, encoding="utf-8", newline="\n")
        return parse(small)

    return write


@pytest.mark.parametrize("importance", IMPORTANCE)
def test_the_importance_stands_beside_the_level_wherever_the_card_is_shown(
    importance, say, folders, home, monkeypatch, capsys
):
    path = say(f"# importance: {importance}\n")
    source, place = parse(path), place_of(path, folders)
    for audience in ("learner", "solution"):
        shown = "\n".join(cell.source for cell in make_copy(source, audience, place).cells)
        assert f"**Level:** ●○○ fill in, {importance}, about 3 minutes" in shown
    page = make_page(source, place, {})
    assert f"### Exercise 97.1: fill in, {importance}, 3 minutes" in page
    assert json.loads(as_json(source))["exercises"]["97.1"]["importance"] == importance
    monkeypatch.setattr(lesson, "FOLDER", folders.lessons)
    (folders.lessons / "nb97").mkdir(parents=True)
    (folders.lessons / "nb97" / "cards.json").write_text(as_json(source), encoding="utf-8")
    hint("97.1")
    said = capsys.readouterr().out.split("\n")
    assert said[0].startswith(f"Exercise 97.1 is {importance}: ")
    assert said[1].startswith("Hint 1 of 2")
    hint("97.1")
    assert "importance" not in capsys.readouterr().out and importance not in said[1]


@pytest.mark.parametrize("wrong", ["vital", "Core", "", "[core]", "core, extra"])
def test_an_unknown_importance_is_refused_with_its_line_and_what_is_allowed(wrong, say):
    with pytest.raises(SourceError) as caught:
        parse(say(f"# importance: {wrong}\n"))
    (problem, *_) = caught.value.problems
    assert re.match(r"97_small\.py:40: exercise card: 'importance' must be one of ", problem)
    assert all(name in problem for name in IMPORTANCE)


def test_a_card_without_importance_shows_its_level_alone_and_is_warned_of(small, folders):
    source = parse(small)
    shown = make_copy(source, "learner", place_of(small, folders)).cells
    assert any("fill in, about 3 minutes" in cell.source for cell in shown)
    assert "importance" not in as_json(source)
    (found,) = lint_cards.rules(source)
    line, sentence, error = found
    assert line == 40 and error is lint_cards.IMPORTANCE_REQUIRED
    assert "97.1 does not say its importance" in sentence
    assert "core | useful | extra" in sentence


def test_one_constant_makes_a_missing_importance_an_error(small, monkeypatch):
    monkeypatch.setattr(lint_cards, "IMPORTANCE_REQUIRED", True)
    assert [error for *_, error in lint_cards.rules(parse(small))] == [True]


@pytest.mark.parametrize("importance", IMPORTANCE)
def test_a_card_with_importance_is_not_warned_of(importance, say):
    assert list(lint_cards.rules(parse(say(f"# importance: {importance}\n")))) == []


def test_extra_goes_first_then_what_is_listed_then_useful_and_core_never(many):
    source = many(
        [("write", "useful", 4), ("look", "core", 5), ("write", "extra", 6), ("modify", "extra", 7)]
    )
    found = [(cut.what, cut.minutes) for cut in cuts(source)]
    assert found == [
        ("Exercise 97.4", 6),
        ("Exercise 97.5", 7),
        ("The story", 0),
        ("Exercise 97.2", 4),
    ]


def test_an_entry_that_names_an_exercise_stands_at_its_place_with_the_cards_minutes(many):
    source = many(
        [("write", "useful", 4), ("write", "extra", 6)],
        "# - Exercise 97.2 (9 minutes); tell it instead.\n# - The long part (8 minutes).",
    )
    assert [(cut.what, cut.minutes, cut.instead) for cut in cuts(source)] == [
        ("Exercise 97.3", 6, ""),
        ("The long part", 8, "."),
        ("Exercise 97.2", 4, "; tell it instead."),
    ]


def test_the_page_counts_the_minutes_that_are_saved(many, folders):
    source = many(
        [("write", "useful", 4), ("write", "extra", 6)],
        "# - Exercise 97.2 (9 minutes); tell it instead.\n# - The long part (8 minutes).",
    )
    page = make_page(source, place_of(source.path, folders), {})
    assert (
        "Cut first, in this order:\n\n"
        "1. Exercise 97.3, extra (6 minutes, 6 saved so far).\n"
        "2. The long part (8 minutes, 14 saved so far).\n"
        "3. Exercise 97.2, useful (4 minutes, 18 saved so far); tell it instead.\n"
    ) in page


@pytest.mark.parametrize("level", LEVELS)
def test_without_its_word_a_challenge_alone_is_extra(level, many):
    named = [cut.what for cut in cuts(many([(level, "", 4)]))]
    assert ("Exercise 97.2" in named) == (level == "challenge")


def test_a_cut_that_leaves_out_a_core_exercise_is_warned_of(many):
    source = many([("write", "core", 4)], "# - Exercise 97.2 (4 minutes).")
    said = [sentence for _, sentence, error in lint_cards.rules(source) if not error]
    assert any("`cut` leaves out exercise 97.2, whose card says core" in text for text in said)
