"""The lint finds each thing that the rules forbid, and is silent where they are kept."""

import base64
import math

import nbformat
import pytest

from mtlkit.course.author import build, lint_code, lint_outputs, lint_questions, lint_text
from mtlkit.course.author.copies import KERNEL, fingerprint
from mtlkit.course.author.folders import source_paths
from mtlkit.course.author.lint import lint
from mtlkit.course.author.make import build_one
from mtlkit.course.author.parse import parse
from mtlkit.course.author.source import SECTIONS
from mtlkit.course.learner.checker import Checker, Wrong
from mtlkit.course.learner.questions import Option, Question


@pytest.fixture
def findings(small, folders):
    """Lint the fixture source after adding cells to it; the result is one text."""

    def run(added="", old="", new=""):
        text = small.read_text(encoding="utf-8")
        assert not old or text.count(old) == 1
        small.write_text(text.replace(old, new) + "\n" + added + "\n", encoding="utf-8")
        return "\n".join(map(str, lint(build_one(small, folders), folders)))

    return run


def test_the_lengths_are_counted(findings):
    said = findings()
    assert "13 cells; the rule is 30 to 40" in said
    assert "words; the rule is 900 to 1350" in said
    assert "lines of code; the rule is 80 to 140" in said
    assert "at most 30" not in said


def test_a_long_cell_and_a_long_line_are_found_with_their_line(findings, small):
    end = len(small.read_text(encoding="utf-8").split("\n"))
    said = findings("# %%\n" + "x = 1\n" * 31 + f"y = '{'z' * 100}'")
    assert f"97_small.py:{end + 1}: a code cell of 32 lines; at most 30" in said
    assert f"97_small.py:{end + 33}: warning: a line of 106 characters" in said


FOLDED = '# %% tags=["hide-input"]\n'
HIDDEN = {
    "a function": "def told(x):\n    return x",
    "a class": "class told:\n    pass",
    "a lambda": "told = lambda x: x",
    "a partial": "told = partial(print, 1)",
    "an import": "from numpy import array as told",
}


def test_comments_and_blank_lines_of_a_folded_cell_do_not_count(findings):
    said = findings(FOLDED + "# a\nx = 1\n\n" * 12)
    assert "a folded cell of" not in said
    assert "a folded cell of 13 lines of code; at most 12" in findings(FOLDED + "x = 1\n" * 13)


@pytest.mark.parametrize("kind", HIDDEN)
def test_a_visible_cell_that_uses_what_a_folded_one_defines_is_found(findings, small, kind):
    end = len(small.read_text(encoding="utf-8").split("\n"))
    said = findings(f"{FOLDED}{HIDDEN[kind]}\n\n# %%\ny = [told(1)]\n")
    assert "a visible cell uses 'told', which only the folded cell of line " in said
    assert f"line {end + 1} defines" in said


@pytest.mark.parametrize(
    "between", ["def told(x):\n    return 2 * x", "from math import sqrt as told"]
)
def test_a_name_that_a_visible_cell_defines_anew_is_seen(findings, between):
    text = f"{FOLDED}def told(x):\n    return x\n\n# %%\n{between}\n\n# %%\ny = told(1)\n"
    assert "a visible cell uses" not in findings(text)


def test_results_of_a_folded_cell_may_be_used_and_folded_cells_may_call_each_other(findings):
    text = f"{FOLDED}def told(x):\n    return x\nrows = [1]\n\n{FOLDED}z = told(2)\n\n"
    text += "# %%\nprint(rows)"
    assert "a visible cell uses" not in findings(text)


def test_an_answer_to_a_guess_that_is_not_folded_is_a_warning(findings):
    sentence = "warning: the answer to a guess is not folded: tag the cell hide-output"
    assert sentence in findings('# %%\nprint(guess("97.p1"))')


def test_a_folded_answer_to_a_guess_is_fine(findings):
    assert "not folded" not in findings('# %% tags=["hide-output"]\nprint(guess("97.p1"))')


def test_words_leave_out_links_code_and_formulas():
    text = "Two [words](https://a.b/c d).\n```\nnot these\n```\n$$ x = y $$\n| a |\n| --- |"
    assert lint_text.count_words(text) == 3


def test_code_lines_leave_out_blank_lines_and_comments():
    assert lint_text.code_lines("# a\n\nx = 1  # b\n  # c\ny = 2") == 2


ORDER = list(SECTIONS)


def sections_said(small, folders, order):
    """What the lint says about a source that has the sections in this order, and nothing else."""
    text = small.read_text(encoding="utf-8")
    cells = []
    title = text[: text.index('# %% [markdown] tags=["goals"]')]
    card = text[
        text.index('# %% [markdown] tags=["exercise"]') : text.index('# %% [markdown] tags=["sol')
    ]
    count = 0
    for section in order:
        if section == "title":
            cells.append(title)
        elif section == "exercise":
            count += 1
            cells.append(card.replace("97.1", f"97.{count}"))
        else:
            cells.append(f'# %% [markdown] tags=["{section}"]\n# ## {section}\n')
    small.write_text("\n".join(cells), encoding="utf-8")
    built = build_one(small, folders)
    return "\n".join(sentence for _, sentence, _ in lint_text._sections(built))


def test_the_full_order_is_accepted_with_and_without_the_challenge(small, folders):
    original = small.read_text(encoding="utf-8")
    assert sections_said(small, folders, ORDER) == ""
    small.write_text(original, encoding="utf-8")
    assert sections_said(small, folders, [s for s in ORDER if s != "challenge"]) == ""


@pytest.mark.parametrize(
    "missing", [s for s in ORDER if s not in ("challenge", "exercise", "title")]
)
def test_a_missing_section_is_named(small, folders, missing):
    said = sections_said(small, folders, [s for s in ORDER if s != missing])
    assert f"no section is tagged '{missing}'" in said


def test_swapped_sections_and_a_missing_second_exercise_are_named(small, folders):
    original = small.read_text(encoding="utf-8")
    swapped = list(ORDER)
    at = swapped.index("story")
    swapped[at - 1 : at + 1] = ["story", "setup"]
    assert "section 'story' is out of order" in sections_said(small, folders, swapped)
    small.write_text(original, encoding="utf-8")
    one = [
        s for place, s in enumerate(ORDER) if s != "exercise" or place == ORDER.index("exercise")
    ]
    assert "a second section tagged 'exercise' is missing" in sections_said(small, folders, one)


@pytest.mark.parametrize(
    ("added", "sentence"),
    [
        ("# %% [markdown]\n# #### Deep", "skips a level (h2 to h4)"),
        ("# %% [markdown]\n# # Another", "a second '# ' heading"),
        ("# %% [markdown]\n# ![](a.png)", "a picture without alt text"),
        ('# %% [markdown]\n# <img src="https://a.b/c.png">', "an <img> without alt text"),
        ("# %% [markdown]\n# [x](nowhere.md)", "the link 'nowhere.md' leads nowhere"),
        ("# %% [markdown]\n# ![a map](map.png)", "the link 'map.png' leads nowhere"),
        ("# %%\n# !ls", "a shell line"),
        ("# %%\nimport os\nos.system('ls')", "a shell line"),
        ("# %%\nimport requests", "a network call"),
        ("# %%\nfrom urllib.request import urlopen\nurlopen('x')", "a network call"),
        ("# %%\nprint(undefined_name)", "Undefined name `undefined_name`"),
        ("# %%\nprint(double(2))", "uses 'double', which the learner writes in exercise 97.1"),
        ('# %%\nquiz("97.x")', 'quiz("97.x"): no such quiz'),
        ('# %%\npredict("97.x")', 'predict("97.x"): no such prediction'),
        ('# %%\nguess("97.x")', 'guess("97.x"): no such prediction'),
        ('# %%\nhint("97.5")', 'hint("97.5"): no such exercise'),
        (
            '# %%\nfrom mtlkit.course import sizes\nsizes("97")',
            'sizes("97"): no sizes in mtlkit/lessons',
        ),
        ('# %% tags=["parameters"]\nX = 1', "exactly one cell must be tagged parameters"),
        ('# %% [markdown] tags=["lang-zh"] of="00"\n# x', "must stand right below its lang-en"),
    ],
)
def test_a_broken_rule_is_found(findings, added, sentence):
    assert sentence in findings(added)


def test_what_is_allowed_is_not_found(findings):
    said = findings(
        "# %% [markdown]\n# ### Deeper\n# [this](97_small.ipynb) [out](https://example.org)\n"
        "# `[code](nothing)`\n\n# %%\ndownloaded = [n for n in range(3)]\nprint(downloaded)"
    )
    for sentence in (
        "skips a level",
        "97_small.ipynb",
        "example",
        "nothing",
        "network",
        "Undefined",
    ):
        assert sentence not in said


LOOP = """# %%
for batch in []:  # batch
    logits = batch  # forward
    losses = logits  # task losses
    loss = losses.sum()  # combine
    loss.backward()  # backward
    optimiser.step()  # step
"""


def test_a_training_loop_carries_its_six_labels_in_order(findings):
    assert "training loop" not in findings("# %%\noptimiser = None\n" + LOOP)


@pytest.mark.parametrize("label", lint_code.LABELS)
def test_a_missing_label_is_named(findings, label):
    broken = LOOP.replace(f"# {label}\n", "\n")
    assert f"without the label '# {label}'" in findings(broken)


def test_goals_name_an_exercise_and_can_be_checked(findings):
    said = findings(old="# - double a number (exercise 97.1).", new="# - Understand doubling.")
    assert "names no exercise" in said and "cannot be checked" in said


def test_a_translation_goes_stale_when_its_english_changes(findings):
    assert "stale" not in findings()
    said = findings(old="# ## A story", new="# ## A new story")
    assert "the translation is stale" in said
    assert f'of="{fingerprint("## A new story")}"' in said


def test_the_parameters_cell_sets_the_mode(findings):
    assert "does not set MODE" in findings(old='MODE = "full"', new="SIZE = 3").replace("\n", " ")


@pytest.mark.parametrize("line", ["MODE = mode()", "MODE, SHOP = mode(), shop()"])
def test_the_parameters_cell_may_set_the_shop_too(findings, line):
    assert "does not set MODE" not in findings(old='MODE = "full"', new=line)


SHOP = {"old": 'MODE = "full"', "new": "MODE, SHOP = mode(), shop()"}


@pytest.mark.parametrize(
    "code", ["shop = Market()", "for shop in range(3):\n    pass", "rich, shop = 1, 2"]
)
def test_a_market_of_the_name_that_the_parameters_cell_calls_is_found(findings, code):
    sentence = "assigns 'shop', which the parameters cell calls"
    assert sentence in findings(f"# %%\n{code}", **SHOP)


def test_the_name_shop_is_free_where_nothing_calls_it(findings):
    assert "assigns 'shop'" not in findings("# %%\nshop = Market()")


def test_the_name_shop_is_free_inside_functions(findings):
    assert "assigns 'shop'" not in findings(
        "# %%\ndef f():\n    shop = SHOP\nx = shop == 1", **SHOP
    )


def test_evidence_that_is_not_stored_is_an_error(findings):
    said = findings('# %%\nprint(evidence("97").shops)')
    assert 'evidence("97"): no stored tables: run `mtlkit evidence NN`' in said


def test_a_study_that_is_not_stored_is_an_error(findings):
    said = findings('# %%\nstudy("97", "census")\nstudy("97", NAME)')
    assert 'study("97", "census"): no stored tables: run `mtlkit evidence NN --study NAME`' in said
    assert said.count("--study") == 1


def test_missing_checkers_are_errors(findings):
    assert "exercise 97.1 has no checker in lessons/nb97/checks.py" in findings()


def picture(size, alt):
    data = base64.b64encode(b"x" * size).decode("ascii")
    metadata = {"image/png": {"alt": alt}} if alt else {}
    return nbformat.v4.new_output("display_data", {"image/png": data}, metadata=metadata)


def executed(*outputs, count=1):
    cells = [
        nbformat.v4.new_markdown_cell("# 97 · x"),
        nbformat.v4.new_code_cell("x", execution_count=count, outputs=list(outputs)),
    ]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": dict(KERNEL)})


def output_findings(notebook, audience="learner"):
    return [sentence for _, sentence, _ in lint_outputs.rules(notebook, audience)]


def test_a_good_output_is_accepted():
    assert output_findings(executed(picture(1000, "A line falls from 3 to 1."))) == []


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (picture(100_000, "alt"), "draws 97 KB; at most 80"),
        (picture(1000, ""), "a picture without alt text"),
        (nbformat.v4.new_output("error", ename="KeyError", evalue="'a'"), "ends in KeyError: 'a'"),
        (nbformat.v4.new_output("stream", name="stderr", text="Warning!\n"), "writes to stderr"),
        (
            nbformat.v4.new_output("stream", name="stdout", text="/home/me/x\n"),
            "path of the machine",
        ),
        (
            nbformat.v4.new_output("stream", name="stdout", text="hi"),
            "no figure within the first 6",
        ),
    ],
)
def test_a_bad_output_is_found(output, sentence):
    assert sentence in "\n".join(output_findings(executed(output)))


def test_unrun_cells_and_a_missing_kernelspec_are_found():
    assert "never been run" in output_findings(executed(count=None))[0]
    notebook = executed(picture(10, "a"))
    notebook.cells.append(nbformat.v4.new_code_cell("y"))
    notebook.metadata = {}
    said = "\n".join(output_findings(notebook))
    assert "cell 3 was not run" in said and "kernelspec is missing" in said


def test_the_command_reports_errors_in_its_status(folders, capsys):
    assert build.main(["--lint"], folders) == 1
    said = capsys.readouterr()
    assert "13 cells; the rule is 30 to 40" in said.err
    assert "warning:" in said.out and "warning:" not in said.err


def test_a_goal_that_states_a_mistake_is_found(small, folders, monkeypatch):
    wrong = [
        Wrong(1, "No.", "Doubles the wrong number."),
        Wrong(2, "No.", "Counts a number twice."),
    ]
    entry = Checker("97.1", lambda answer: None, 1, ..., wrong)
    monkeypatch.setattr(lint_questions, "load_checkers", lambda number: {"97.1": entry})
    source = build_one(small, folders).source
    source.exercises["97.1"].goal = "count a number twice"
    [(line, said, error)] = lint_questions.goals(source)
    assert error and line == source.exercises["97.1"].line
    assert "says 'a number twice', as does a mistake that its check refuses" in said
    source.exercises["97.1"].goal = "double a number"
    assert not list(lint_questions.goals(source))


@pytest.mark.parametrize("path", source_paths(), ids=lambda path: path.stem)
def test_no_goal_of_the_course_states_a_mistake(path):
    assert not list(lint_questions.goals(parse(path)))


def asked(*lengths):
    """A question whose options have these lengths, the right one first."""
    options = [Option("x" * size, place == 0, "y") for place, size in enumerate(lengths)]
    return Question("?", tuple(options))


def test_the_right_option_may_be_the_longest_as_often_as_by_chance(monkeypatch):
    found, chance, count = lint_questions.longest([asked(3, 2, 1), asked(2, 2), asked(1, 2, 3)])
    assert (found, count) == (2, 3) and chance == pytest.approx(7 / 6)
    few = {"96": [asked(1, 2, 3)] * 2, "97": [asked(3, 2, 1)]}
    monkeypatch.setattr(lint_questions, "everywhere", lambda: few)
    assert not list(lint_questions._lengths("97"))
    few["97"] = [asked(3, 2, 1)] * 3
    assert not list(lint_questions._lengths("96"))  # not the one to change
    [(_, said, error)] = lint_questions._lengths("97")
    assert error and "in 3 of all 5 quiz questions, by chance it would be in 2; here in 3" in said


def test_no_length_gives_an_answer_of_the_course_away():
    found, chance, count = lint_questions.longest(
        question for rows in lint_questions.everywhere().values() for question in rows
    )
    assert count >= 50 and found <= math.ceil(chance)
    shortest = [asked(*(-len(o.text) + 999 for o in sorted(q.options, key=lambda o: not o.right)))
                for rows in lint_questions.everywhere().values() for q in rows]  # fmt: skip
    assert lint_questions.longest(shortest)[0] <= math.ceil(chance)
