"""Words in small invented notebooks: each warning comes where it should, and only there."""

from pathlib import Path

import pytest

from mtlkit.course.author import build, glossary, lint_terms
from mtlkit.course.author.glossary import Term
from mtlkit.course.author.source import Cell, Source, Title

TITLE = Title("x", "x", 1, [], [], "")


def term(name, notebook="01", **more):
    return Term(name, "词", "A word.", notebook, **more)


def notebook(*cells, number="01"):
    """A source whose cells are texts (markdown), or pairs of a tag and a text."""
    made, line = [], 1
    for cell in cells:
        tag, text = cell if isinstance(cell, tuple) else ("", cell)
        kind = "code" if tag == "code" else "markdown"
        made.append(Cell(kind, text, (tag,) if tag and tag != "code" else (), line))
        line += text.count("\n") + 3
    return Source(Path(f"{number}_x.py"), made, TITLE, {})


def said(source, *terms):
    found = list(lint_terms.rules(source, list(terms)))
    assert all(error != text.startswith("bold ") for _, text, error in found)
    return [f"{line}: {text}" for line, text, _ in found]


LOSS = term("loss", also=("task loss",))


def test_a_term_that_is_bold_where_it_first_stands_is_fine():
    assert said(notebook("A **loss** is small.", "Losses, the loss and a task\nloss."), LOSS) == []


@pytest.mark.parametrize(
    "text", ["A **loss**", "**Losses** are", "The **task\nloss** is", "**a loss**"]
)
def test_a_plural_another_spelling_a_capital_and_a_line_break_are_the_same_term(text):
    assert said(notebook(text), LOSS) == []


def test_a_term_that_is_never_bold_is_found_at_its_first_use():
    found = said(notebook("No such word.", "One\ntwo loss\nthree loss."), LOSS)
    assert found == ["6: the new term 'loss' is never set bold"]


def test_a_plain_use_before_the_bold_one_is_found_with_both_lines():
    found = said(notebook("A task loss.", "A **loss** at last."), LOSS)
    assert found == ["2: 'task loss' is used before the new term 'loss' is set bold (line 5)"]


def test_another_word_for_a_term_may_stand_in_the_line_that_sets_it_bold():
    assert said(notebook("The task loss (**loss**) is small."), LOSS) == []


def test_a_term_that_its_notebook_never_uses_is_found():
    assert said(notebook("Nothing."), LOSS) == [
        "1: the term 'loss' of this notebook never stands in its text"
    ]


def test_an_earlier_notebook_that_uses_a_later_term_is_found_once_with_the_number_of_uses():
    later = term("gate", notebook="07")
    found = said(notebook("One.\nThe gate,\nand the Gates.", number="03"), later)
    assert found == ["3: 'gate' is used 2 times, but notebook 07 introduces it"]
    assert said(notebook("A gate.", number="03"), later) == [
        "2: 'gate' is used once, but notebook 07 introduces it"
    ]


@pytest.mark.parametrize("number", ["07", "08"])
def test_a_term_may_be_used_from_its_notebook_on(number):
    assert said(notebook("A **gate**.", number=number), term("gate", notebook="07")) == []


@pytest.mark.parametrize(
    "text",
    ["`loss`", "```\nloss\n```", "$loss$", "$$\nloss\n$$", "[x](loss.md)", "# The loss",
     "<!-- loss -->", "lossless, a-loss, loss-like, glosses", ("goals", "- a loss"),
     ("sources", "loss"), ("instructor", "loss"), ("solution", "loss"), ("lang-zh", "loss"),
     ("code", "loss = 1"), ("title", "title: loss\n---\nIts loss."),
     ("exercise", "goal: a loss\n---\nText.")],
)  # fmt: skip
def test_what_is_no_prose_is_no_use(text):
    assert said(notebook(text, number="00"), LOSS) == []


def test_the_text_of_an_exercise_counts_with_its_line():
    source = notebook(("exercise", "id: 0.1\ngoal: a loss\n---\nYou get\na loss."), number="00")
    assert said(source, LOSS) == ["6: 'loss' is used once, but notebook 01 introduces it"]


def test_a_title_card_may_introduce_a_term():
    card = ("title", "title: x\n---\nA loss, a **loss**.")
    assert said(notebook(card, "The loss."), LOSS) == []


def test_of_two_terms_that_overlap_the_longer_one_counts():
    longer = term("base loss", notebook="03")
    assert said(notebook("The **loss**, and log-loss.", "Every base loss."), LOSS, longer) == [
        "5: 'base loss' is used once, but notebook 03 introduces it"
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_terms_that_begin_alike_the_longer_one_counts(order):
    both = [LOSS, term("loss weight", notebook="03")][::order]
    assert said(notebook("A **loss**.", "A loss weight."), *both) == [
        "5: 'loss weight' is used once, but notebook 03 introduces it"
    ]


def test_capitals_count_where_a_term_has_one():
    recall = term("AUC", notebook="02")
    assert said(notebook("An auc.", number="01"), recall) == []
    assert len(said(notebook("An AUC.", number="01"), recall)) == 1


@pytest.mark.parametrize(("count", "wrong"), [(12, False), (13, True)])
def test_more_than_twelve_new_terms_are_found(count, wrong):
    names = [f"word{chr(97 + n)}" for n in range(count)]
    found = said(notebook(" ".join(f"**{n}**" for n in names)), *map(term, names))
    assert found == (["1: it introduces 13 new terms; at most 12"] if wrong else [])


def test_methods_are_no_new_terms_and_may_be_named_anywhere():
    names = [f"Word{chr(97 + n)}" for n in range(20)]
    methods = [term(name, method=True) for name in names]
    methods.append(term("MGDA", notebook="06", method=True))
    assert said(notebook("**MGDA** and Worda, plain."), *methods) == []


def test_a_bold_word_that_is_no_term_is_found_with_its_line():
    found = said(notebook("A **loss**,\na **poor\ntask**."), LOSS)
    assert found == ["3: bold 'poor task' is no term of the glossary"]


@pytest.mark.parametrize(
    "text",
    ["**On Monday:** go.", "**Click alone.**", "**Ready?**", "**a whole sentence of five words**"],
)  # fmt: skip
def test_a_bold_beginning_or_sentence_is_no_term(text):
    assert said(notebook("A **loss**.", text), LOSS) == []


def test_a_term_in_a_bold_sentence_is_not_introduced_by_it():
    found = said(notebook("**Now a loss that nobody explains**"), LOSS)
    assert found == ["2: the new term 'loss' is never set bold"]


def test_without_a_glossary_nothing_is_said():
    assert said(notebook("**Anything** goes.")) == []


GLOSSARY = """- term: story
  chinese: 故事
  meaning: What happens.
  notebook: "98"
"""


def test_the_command_prints_the_warnings_and_how_many_are_about_terms(
    folders, small, edit, capsys, monkeypatch
):
    monkeypatch.setattr(glossary, "LAST", 98)
    folders.lessons.mkdir(exist_ok=True)
    glossary.place(folders).write_text(GLOSSARY, encoding="utf-8")
    edit("# Complete `double`.", "# Complete `double`, a story in **odd words**.")
    rows = small.read_text(encoding="utf-8").split("\n")
    line = rows.index("# Complete `double`, a story in **odd words**.") + 1
    build.main(["--lint"], folders)
    shown, errors = capsys.readouterr()
    sentence = "'story' is used once, but notebook 98 introduces it"
    assert f"97_small.py:{line}: {sentence}" in errors
    assert f"97_small.py:{line}: warning: bold 'odd words' is no term" in shown
    warnings = sum("warning: " in line for line in shown.splitlines())
    assert f"{warnings} warnings, 1 of them about terms" in shown
    glossary.place(folders).unlink()
    build.main(["--lint"], folders)
    shown, errors = capsys.readouterr()
    assert f"{warnings - 1} warnings, 0 of them about terms" in shown and "story" not in errors
