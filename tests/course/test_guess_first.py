"""Guess first: what a cell shows of an answer waits for the guess or a skip, in its own place."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from mtlkit.course import guess, predict, progress, skip
from mtlkit.course.author import copies
from mtlkit.course.learner import answers, modes, store
from mtlkit.course.runner.execute import environment

START = "from mtlkit.course import guess\nfrom IPython.display import HTML, display\nrows = [1, 2]"
# Not to be run twice as it stands: it would sum a number.
ANSWER = (
    "print('one')\nprint('two')\ndisplay(HTML('<b>three</b>'))\nrows = sum(rows)\n"
    "[rows, guess('0.p1')]"
)
CHOICE = "print('the answer', guess('0.p2'))"


def run(cells, home, answer="hold", **variables):
    """The notebook of these cells, run to its end whatever happens."""
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": dict(copies.KERNEL)})
    notebook.cells = [nbformat.v4.new_code_cell(text) for text in cells]
    variables = {**environment("full", False, home), "MTLKIT_ANSWERS": answer, **variables}
    options = {"timeout": 300, "allow_errors": True, "kernel_name": "python3"}
    NotebookClient(notebook, resources={"metadata": {"path": str(home)}}, **options).execute(
        env=variables
    )
    return [shown(cell) for cell in notebook.cells]


def shown(cell):
    """What a cell shows: texts (HTML where there is some), names of errors; no empty places."""
    found = []
    for output in cell.outputs:
        data = output.get("data", {})
        text = output.get("text") or data.get("text/html") or data.get("text/plain")
        found.append(output.get("ename") or (text or "").strip())
    return [text for text in found if text]


def waits(*names):
    return [answers.sentence(list(names))]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """One kernel in which the answers are run before the guesses."""
    home = tmp_path_factory.mktemp("home")
    cells = {
        "start": START,
        "answer": ANSWER,
        "choice": CHOICE,
        "later": "print(rows)",
        "failing": "print('seen')\nguess('0.p2')\n1 / 0",
        "reload": "import importlib, mtlkit.course\nimportlib.reload(mtlkit.course)\nNone",
        "again": CHOICE + "  # once more",
        "nested": "get_ipython().run_cell(\"print('inner', guess('0.p2'))\")\nprint('outer')",
        "changed": "rows = 'changed'",
        "wrong": 'predict("0.p1", "many")',
        "predict": 'predict("0.p1", 20)',
        "skip": 'skip("0.p2")',
        "kept": "print(rows)",
        "after": "print('now', guess('0.p1'))",
    }
    return dict(zip(cells, run(cells.values(), home), strict=True)), home


@pytest.mark.notebook
def test_an_answer_waits_and_appears_in_its_place_with_the_guess(session):
    found, _ = session
    assert found["answer"] == ["one\ntwo", "<b>three</b>", "[3, 20.0]"]
    assert found["predict"] == ["Noted: 20. Now let us look."]


@pytest.mark.notebook
def test_a_skip_shows_what_was_held_without_a_guess(session):
    found, home = session
    assert found["choice"] == ["the answer None"] and "counts as not guessed" in found["skip"][0]
    record = json.loads((home / ".mtlkit" / "progress.json").read_text(encoding="utf-8"))
    assert record["skipped"] == {"0.p2": True} and record["guesses"] == {"0.p1": 20.0}


@pytest.mark.notebook
def test_later_cells_find_the_names_and_are_not_changed_by_the_guess(session):
    found, _ = session
    assert (found["later"], found["kept"], found["after"]) == (["3"], ["changed"], ["now 20.0"])


@pytest.mark.notebook
def test_an_error_of_the_cell_is_seen_at_once(session):
    assert session[0]["failing"][-1] == "ZeroDivisionError" and "seen" in session[0]["failing"]


@pytest.mark.notebook
def test_a_reload_holds_each_answer_once(session):
    found, _ = session
    assert found["reload"] == [] and found["again"] == ["the answer None"]


@pytest.mark.notebook
def test_a_cell_that_a_cell_runs_is_part_of_it(session):
    assert session[0]["nested"] == ["inner None\nouter"]


@pytest.mark.notebook
def test_before_the_guess_nothing_of_the_answer_leaves_the_kernel_and_run_all_goes_on(tmp_path):
    found = run([START, ANSWER, CHOICE, "print('the end')"], tmp_path)
    assert found == [[], waits("0.p1"), waits("0.p2"), ["the end"]]
    # The guess is given elsewhere: the next cell of any kernel shows the answer.
    give = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {GIVE!r}], check=True)"
    found = run([START, ANSWER, give, "print('the end')"], tmp_path)
    assert found[1][-1] == "[3, 30.0]" and found[3] == ["the end"]


GIVE = 'from mtlkit.course import predict; predict("0.p1", 30)'


@pytest.mark.notebook
def test_the_button_shows_the_answer_too(tmp_path):
    press = (
        "import ipywidgets\npredict('0.p1')\n"
        "every = list(ipywidgets.widgets.widget._instances.values())\n"
        "[box] = [w for w in every if isinstance(w, ipywidgets.Text)]\n"
        "[button] = [w for w in every if isinstance(w, ipywidgets.Button)]\n"
        "box.value = '20'\nbutton.click()"
    )
    found = run([START, ANSWER, press], tmp_path, MTLKIT_PLAIN="0")
    assert found[1] == ["one\ntwo", "<b>three</b>", "[3, 20.0]"]


@pytest.mark.notebook
@pytest.mark.parametrize("variables", [{"answer": "show"}, {"answer": "", "MTLKIT_STRICT": "1"}])
def test_whole_runs_show_everything_as_if_nobody_watched(tmp_path, variables):
    found = run([START, ANSWER, CHOICE], tmp_path, **variables)
    assert found == [[], ["one\ntwo", "<b>three</b>", "[3, None]"], ["the answer None"]]


def python(text, home, **variables):
    done = subprocess.run(
        [sys.executable, "-c", text],
        env={**os.environ, "MTLKIT_HOME": str(home), "IPYTHONDIR": str(home), **variables},
        capture_output=True,
        encoding="utf-8",
    )
    return done.stdout + done.stderr


def terminal(cells, home):
    """What IPython without a notebook prints."""
    text = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        f"for cell in {cells!r}:\n    shell.run_cell(cell, store_history=True).raise_error()"
    )
    return python(text, home, MTLKIT_ANSWERS="hold")


def test_a_terminal_shows_the_answer_where_the_guess_is_given(tmp_path):
    cells = ["from mtlkit.course import guess", CHOICE, "print('between')", 'predict("0.p2", 7)']
    said = terminal(cells, tmp_path)
    assert said.index(answers.sentence(["0.p2"])) < said.index("between")
    assert said.count("the answer 7.0") == 1 and "None" not in said
    assert said.index("between") < said.index("the answer 7.0")


def test_a_guess_given_inside_a_cell_that_waits_shows_its_answer_and_not_that_cell(tmp_path):
    both = "print('other', guess('0.p1'))\npredict('0.p2', 7)"
    said = terminal(["from mtlkit.course import guess", CHOICE, both], tmp_path)
    assert said.count("the answer 7.0") == 1 and "other" not in said


def test_an_import_anew_watches_in_place_of_the_old_one(tmp_path):
    start = "from mtlkit.course import guess, predict"
    drop = "import sys\nfor n in [n for n in sys.modules if 'mtlkit' in n]: del sys.modules[n]"
    cells = [start, drop, start, CHOICE, "print('between')", 'predict("0.p2", 7)', "print('end')"]
    said = terminal(cells, tmp_path)
    assert said.count("The answer waits") == said.count("the answer 7.0") == 1
    assert said.index("between") < said.index("the answer 7.0") < said.index("end")


def test_plain_python_holds_nothing(tmp_path):
    text = "from mtlkit.course import guess, skip\nprint(guess('0.p1'))\nskip('0.p1')"
    said = python(text, tmp_path, MTLKIT_ANSWERS="hold")
    assert said == "None\nSkipped: 0.p1 counts as not guessed. Now let us look.\n"


def test_an_unknown_setting_is_refused_with_what_to_write(tmp_path, monkeypatch):
    for value, strict, wanted in (
        ("", "0", "hold"), ("", "1", "show"), (" Show ", "0", "show"), ("hold", "1", "hold"),
    ):  # fmt: skip
        monkeypatch.setenv("MTLKIT_ANSWERS", value)
        monkeypatch.setenv("MTLKIT_STRICT", strict)
        assert modes.answers() == wanted
    said = python("import mtlkit.course", tmp_path, MTLKIT_ANSWERS="never")
    assert 'MTLKIT_ANSWERS must be "hold" or "show", found \'never\'' in said


def test_a_run_of_a_notebook_shows_answers_whatever_the_shell_says(tmp_path, monkeypatch):
    monkeypatch.setenv("MTLKIT_ANSWERS", "hold")
    assert environment("smoke", False, tmp_path)["MTLKIT_ANSWERS"] == "show"


def test_a_skip_is_recorded_once_and_counted_apart(home, capsys):
    skip("2.p1")
    skip("2.p1")
    predict("2.p2", 40)
    skip("2.p2")
    skip("2.p9")
    said = capsys.readouterr().out
    assert "You have guessed already: 40 %." in said and "there is no prediction '2.p9'" in said
    assert store.read()["skipped"] == {"2.p1": True} and guess("2.p1") is None
    progress("02")
    assert "guesses 1 of 3 (1 skipped)" in capsys.readouterr().out
    predict("2.p1", "nowhere")  # too late: the answer was seen
    progress("02")
    assert "guesses 1 of 3 (1 skipped)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('guess("2.p1")', ["2.p1"]),
        ("x = (guess ('2.p1'), 1)", []),
        ("plot.guess_against_truth(guess( '2.p1' ), 1)", ["2.p1"]),
        ('guess("2.p1"), guess("3.p1"), guess("2.p1")', ["2.p1", "3.p1"]),
        ('guess("2.p77"), guess("x")', []),
        ('predict("2.p1")', []),
        ("", []),
    ],
)
def test_a_cell_waits_for_the_guesses_it_names(source, names):
    assert answers.asked_by(source) == names
