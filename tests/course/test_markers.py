"""What is wrong with a source is said with file, line and what to do."""

import pytest

from mtlkit.course.author.markers import split_solution
from mtlkit.course.author.parse import parse
from mtlkit.course.author.source import SourceError

CODE = """\
def double(number):
    # BEGIN SOLUTION
    return number * 2
    # END SOLUTION
    # STUB: return ...
"""


def test_a_good_source_gives_its_card_and_its_cells(small):
    source = parse(small)
    assert (source.number, source.name) == ("97", "97_small")
    assert (source.title.title, source.title.run, source.title.needs) == (
        "Count the small",
        1,
        ["96"],
    )
    exercise = source.exercises["97.1"]
    assert exercise.hints == ["What is two times four?", "Use `*`."]
    assert (exercise.level, exercise.minutes, exercise.checked) == ("fill in", 3, True)


def test_every_cell_knows_its_line(small):
    lines = small.read_text(encoding="utf-8").split("\n")
    source = parse(small)
    assert all(lines[cell.line - 1].startswith("# %%") for cell in source.cells)
    assert len({cell.line for cell in source.cells}) == len(source.cells)


def test_a_block_gives_the_stub_to_the_learner_and_the_solution_to_the_solution():
    learner, solved, blocks = split_solution(CODE)
    assert learner == "def double(number):\n    return ...\n"
    assert solved == "def double(number):\n    return number * 2\n"
    assert blocks[0].solution == ("    return number * 2",)


def test_a_cell_may_hold_several_blocks_and_stub_lines():
    source = (
        CODE + "\nx = 1\n# BEGIN SOLUTION\ny = x\n# END SOLUTION\n# STUB: y = ...\n# STUB: z = 2"
    )
    learner, solved, blocks = split_solution(source)
    assert learner.endswith("x = 1\ny = ...\nz = 2")
    assert solved.endswith("x = 1\ny = x")
    assert len(blocks) == 2


BEGIN, END = "    # BEGIN SOLUTION\n", "    # END SOLUTION\n"
STUB = "    # STUB: return ...  # your answer\n"
BODY = "    doubled_number = number * 2\n    return doubled_number\n"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (BEGIN, "", "'# END SOLUTION' without a '# BEGIN SOLUTION'"),
        (END, "", "'# STUB:' stands inside the solution"),
        (BEGIN + BODY + END, END + BODY + BEGIN, "'# END SOLUTION' without a '# BEGIN SOLUTION'"),
        (BODY, BEGIN + BODY, "inside a block that has not ended"),
        (BODY, "", "a solution block is empty"),
        (STUB, "", "has no stub"),
        (STUB, "    # STUB return ...\n", "looks like a marker but is none"),
        (BEGIN + BODY + END + STUB, BODY, "without a solution: mark it"),
        (BEGIN, STUB + BEGIN, "'# STUB:' without a solution block"),
        ('tags=["exercise-code"]', "", "markers in a cell that is not tagged exercise-code"),
        ('tags=["hide-input"]', 'tags=["hidden"]', "unknown tag 'hidden'"),
        ('tags=["exit"]', 'tags=["exit", "hide-output"]', "there is no output to fold"),
        ('tags=["hide-input"]', 'tags=["hide-input", "hide-output"]', "shows only its first line"),
        ('check("97.1", double)', "double(2)", 'does not call check("<id>", answer)'),
        ('check("97.1", double)', 'check("97.2", double)', "unknown exercise 97.2"),
        ('# %% tags=["check"]', "# %%", "not tagged check"),
        ("# id: 97.1", "# id: 97", "'id' must look like 2.1"),
        ("# id: 97.1", "# id: 96.1", "does not belong to notebook 97"),
        ("# level: fill in", "# level: hard", "'level' must be one of"),
        ("# minutes: 3", "# minutes: some", "'minutes' must be whole minutes"),
        ("# goal: double a number\n", "", "the card lacks goal"),
        ("# goal: double a number\n", "# goal: a\n# colour: red\n", "unknown field colour"),
        ("# - Use `*`.\n# ---", "# - Use `*`.", "no '---' line"),
        ("# Complete `double`.", "#", "no text below"),
        ("# question: Does the builder keep its promises?\n", "", "the card lacks question"),
        ('tags=["title"]', 'tags=["goals"]', "no cell is tagged title"),
    ],
)
def test_a_broken_source_is_refused_with_its_line(edit, old, new, sentence):
    with pytest.raises(SourceError) as caught:
        parse(edit(old, new))
    assert sentence in str(caught.value)
    assert all(problem.startswith("97_small.py:") for problem in caught.value.problems)


def test_an_exercise_without_a_check_is_refused(edit):
    path = edit('# %% tags=["check"]\ncheck("97.1", double)\n', "")
    with pytest.raises(SourceError, match=r"97_small.py:40: exercise 97.1 has no check"):
        parse(path)


def test_a_duplicate_exercise_is_refused(small):
    text = small.read_text(encoding="utf-8")
    card = text[
        text.index('# %% [markdown] tags=["exercise"]') : text.index('# %% tags=["exercise-c')
    ]
    small.write_text(text + "\n" + card, encoding="utf-8")
    with pytest.raises(SourceError, match=r"97.1 is already defined in line 40"):
        parse(small)


def test_all_problems_of_a_source_come_at_once(edit):
    edit(BEGIN, "")
    with pytest.raises(SourceError) as caught:
        parse(edit("# level: fill in", "# level: hard"))
    assert len(caught.value.problems) >= 2
