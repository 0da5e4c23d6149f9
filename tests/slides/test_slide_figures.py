"""What a deck is asked for: trap, strict result, minutes of the plan, figures of readable type."""

import json
import re
import shutil

import nbformat
import pytest

from mtlkit import plot
from mtlkit.course.author import lint_slides, slides
from mtlkit.course.author.deck import read_deck
from mtlkit.course.author.deck_figures import figures, is_of, keep_large, marks, shown_type
from mtlkit.course.author.deck_minutes import with_minutes
from mtlkit.course.author.folders import HERE, Folders
from mtlkit.course.runner import execute
from mtlkit.plot import sheet
from tests.slides.test_slides import DECK, GAIN

TARGET = "figures/97-the-gain-of-sharing.png"
MINUTES = {"total": 50, "read": 30, "run": 2, "exercises": 18}


def picture(last=0.6):
    return plot.lines([1, 2], {"AUC": [0.5, last]}, title=GAIN, xlabel="epoch", ylabel="AUC")


def write_notebook(folders, shown, tags=()):
    data, metadata = shown._repr_mimebundle_()
    code = "if ready:\n    total = losses.sum()\n    total.backward()\n"
    outputs = [{"data": data, "metadata": metadata}]
    cells = [
        {"cell_type": "code", "source": [code], "outputs": outputs, "metadata": {"tags": [*tags]}}
    ]
    path = folders.notebooks / "solutions" / "97_small.ipynb"
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    return cells


@pytest.fixture
def folders(tmp_path):
    folders = Folders(tmp_path / "notebooks", tmp_path / "lessons", tmp_path / "slides")
    (folders.notebooks / "solutions").mkdir(parents=True)
    (folders.lessons / "nb97").mkdir(parents=True)
    (folders.slides / "figures").mkdir(parents=True)
    for name in ("theme.css", "marp.yml"):
        shutil.copy(HERE.slides / name, folders.slides)
    write_card(folders)
    write_notebook(folders, picture())
    (folders.slides / "97_small.md").write_text(DECK, encoding="utf-8")
    return folders


def write_card(folders, **more):
    card = {"title": "A small one", "exercises": {"97.1": {"minutes": 6}}, **more}
    (folders.lessons / "nb97" / "cards.json").write_text(json.dumps(card), encoding="utf-8")
    return card


def warned(folders, old="", new=""):
    path = folders.slides / "97_small.md"
    assert old in DECK
    path.write_text(DECK.replace(old, new, 1) if old else DECK, encoding="utf-8")
    return "\n".join(lint_slides.warnings(read_deck(path), folders))


# --- trap and strict result -------------------------------------------------------------------

TRAP, RESULT = "no slide shows the notebook's trap", "no slide shows the strict result"


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("", "", False),
        ("## A sum", "## The trap: a sum", True),
        ("## A sum", "## Two Traps", True),
        ("## A sum", "## Trapped", False),
        ("- One layer, two heads.", "- A trap.", False),
        ("<!-- _class: idea -->", "<!-- _class: trap -->", True),
    ],
)
def test_a_notebook_with_a_trap_wants_a_slide_of_it(old, new, shown, folders):
    assert TRAP not in warned(folders, old, new)
    write_notebook(folders, picture(), tags=["trap"])
    assert (TRAP in warned(folders, old, new)) is not shown


@pytest.mark.parametrize("marked", [False, True])
def test_a_lesson_with_a_contest_wants_its_strict_result(marked, folders):
    new = "## A sum\n\n<!-- strict -->" if marked else "## A sum"
    assert RESULT not in warned(folders, "## A sum", new)
    (folders.lessons / "nb97" / "contest.py").write_text("", encoding="utf-8")
    assert (RESULT in warned(folders, "## A sum", new)) is not marked


def test_a_slide_of_kind_trap_breaks_no_rule_and_the_strict_mark_is_no_note(folders):
    extra = "---\n<!-- _class: trap -->\n\n## Leak\n\n<!-- strict -->\n\n<!-- " + "word " * 12
    path = folders.slides / "97_small.md"
    path.write_text(DECK.replace("---\n<!-- _class: vote", f"{extra}-->\n\n---\n<!-- _class: vote"),
                    encoding="utf-8")  # fmt: skip
    deck = read_deck(path)
    assert lint_slides.lint(deck, folders) == []
    (slide,) = [slide for slide in deck.slides if slide.kind == "trap"]
    assert slide.strict and "strict" not in slide.notes
    assert "strict" not in with_minutes(deck, write_card(folders)).text


# --- minutes ------------------------------------------------------------------------------------


def test_the_plan_stands_in_the_first_notes_and_nowhere_else(folders):
    card = write_card(folders, minutes=MINUTES, **{"class": "In a class it fits."})
    deck = with_minutes(read_deck(folders.slides / "97_small.md"), card)
    first, *others = deck.text.split("\n---\n")[1:]
    assert "50 (30 to read, 2 to run, 18 for the exercises). In a class it fits. -->" in first
    assert "to read" not in "".join(others)
    assert re.sub(r"\n\n<!-- Minutes .* -->", "", deck.text, count=1) == DECK


def test_html_is_stale_when_the_plan_moves_and_no_draft_is_left(folders, monkeypatch):
    made = []

    def started(command, **_):
        target = command[command.index("--output") + 1]
        made.append(open(command[-1], encoding="utf-8").read())  # noqa: PTH123, SIM115
        open(target, "w", encoding="utf-8").write("page")  # noqa: PTH123, SIM115
        return type("Done", (), {"returncode": 0, "stderr": b""})

    monkeypatch.setattr(slides, "find_marp", lambda folder: ["marp"])
    monkeypatch.setattr(slides.subprocess, "run", started)
    write_card(folders, minutes=MINUTES, **{"class": "In a class it fits."})
    assert slides.main([], folders) == 0
    assert "In a class it fits." in made[0]
    assert slides.main(["--check"], folders) == 0
    assert [path.name for path in folders.slides.glob(".*")] == []
    write_card(folders, minutes={**MINUTES, "total": 51}, **{"class": "In a class it fits."})
    assert slides.main(["--check"], folders) == 1


def test_typed_minutes_are_warned_of(folders):
    said = warned(folders, "<!-- Ask everybody", "<!-- 5 minutes. Ask everybody")
    assert "97_small.md:1: warning: notes type minutes, 5 in all" in said
    assert "minutes" not in warned(folders)


@pytest.mark.parametrize(("minutes", "wrong"), [(6, False), (8, True)])
def test_the_minutes_of_an_exercise_are_those_of_its_card(minutes, wrong, folders):
    said = warned(
        folders, "## Your turn: 97.1", f"## Turn\n\n- **97.1** Do it ({minutes} minutes)."
    )
    assert ("exercise 97.1 has 6 minutes on its card, not 8" in said) is wrong


# --- figures ------------------------------------------------------------------------------------


@pytest.fixture
def large(folders, tmp_path, monkeypatch):
    """A run of the notebook as the builder makes it: what the deck gets of it."""

    def run(shown):
        made = tmp_path / "made"
        made.mkdir(exist_ok=True)
        with monkeypatch.context() as patch:
            patch.setenv(sheet.FOLDER_VARIABLE, str(made))
            cells = write_notebook(folders, shown)
        return keep_large(read_deck(folders.slides / "97_small.md"), cells, made, folders)

    return run


def test_a_run_gives_the_deck_its_figures_in_large_type(large, folders):
    assert "has the type of a page: `python -m mtlkit build --only 97 --execute`" in warned(folders)
    file = folders.slides / TARGET
    assert large(picture()) == [file]
    assert "type of" not in warned(folders, "![w:900 ", "![")
    assert shown_type(file.read_bytes(), GAIN) >= sheet.LEAST
    figure = figures(folders.notebooks / "solutions" / "97_small.ipynb")[0]
    assert is_of(file.read_bytes(), figure) and file.read_bytes() != figure.png
    assert marks(file.read_bytes())["Description"] == figure.alt


def test_the_command_keeps_a_large_figure_until_the_notebook_has_another(
    large, folders, monkeypatch
):
    monkeypatch.setattr(slides, "find_marp", lambda folder: None)
    file = folders.slides / TARGET
    large(picture())
    before = file.read_bytes()
    slides.main([], folders)
    assert file.read_bytes() == before
    write_notebook(folders, picture(last=0.7))
    assert "is not the figure of the notebook" in "".join(
        slides.check(read_deck(folders.slides / "97_small.md"), folders)
    )
    slides.main([], folders)
    figure = figures(folders.notebooks / "solutions" / "97_small.ipynb")[0]
    assert file.read_bytes() == figure.png  # of the page, until the notebook is executed


def test_a_figure_that_the_author_makes_smaller_is_warned_of(large, folders):
    large(picture())
    for sizes, small in (("w:1200", False), ("w:900", True), ("h:300", True), ("w:1136px", False)):
        said = warned(folders, "![w:900 ", f"![{sizes} ")
        assert (f"smallest type of {TARGET} is" in said) is small, sizes


def test_nothing_is_kept_without_the_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(sheet.FOLDER_VARIABLE, raising=False)
    shown = picture()
    monkeypatch.setattr(shown, "for_slide", lambda: pytest.fail("drawn for a slide"))
    shown._repr_mimebundle_()


def test_a_kernel_keeps_what_its_notebook_shows(tmp_path):
    code = "from mtlkit import plot\nplot.network('mmoe')"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    made = tmp_path / "made"
    made.mkdir()
    execute.run(notebook, tmp_path, mode="smoke", slide_figures=made)
    (file,) = made.iterdir()
    assert file.stem == marks(file.read_bytes())["Of"]
