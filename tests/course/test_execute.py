"""Running copies without a screen."""

import nbformat
import pytest

from mtlkit.course.author import build, copies
from mtlkit.course.author.folders import read_notebook
from mtlkit.course.learner import modes
from mtlkit.course.runner import execute

SETUP = "from mtlkit.course import mode, shop\n\nMODE, SHOP = mode(), shop()"


def outputs(notebook):
    return "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", []))


@pytest.mark.notebook
def test_both_copies_run_and_a_rebuild_keeps_what_they_show(folders):
    assert build.main(["--execute", "--smoke"], folders) == 0
    learner = read_notebook(folders.notebooks / "97_small.ipynb")
    solution = read_notebook(folders.notebooks / "solutions" / "97_small.ipynb")
    assert "97.1: not attempted yet." in outputs(learner)
    assert "97.1: right." in outputs(solution)
    for notebook in (learner, solution):
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
        assert not any("execution" in cell.metadata for cell in notebook.cells)
    before = (folders.notebooks / "97_small.ipynb").read_bytes()
    assert build.main(["--check"], folders) == 0
    assert build.main([], folders) == 0
    assert (folders.notebooks / "97_small.ipynb").read_bytes() == before


@pytest.mark.notebook
def test_a_solution_that_fails_its_check_fails_the_build(edit, folders, capsys):
    edit("doubled_number = number * 2", "doubled_number = number * 3")
    assert build.main(["--execute", "--smoke"], folders) == 1
    assert "CheckFailed" in capsys.readouterr().err


@pytest.mark.notebook
def test_a_notebook_runs_in_its_own_folder_with_its_mode_and_a_private_record(tmp_path):
    text = (
        "import os\nfrom mtlkit.course import mode\n"
        "from mtlkit.course.learner.store import location\n"
        "print(os.getcwd(), mode(), os.environ['MTLKIT_HOME'] in str(location()))"
    )
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text)], metadata={"kernelspec": dict(copies.KERNEL)}
    )
    execute.run(notebook, tmp_path, mode="smoke")
    assert outputs(notebook).splitlines()[-1].rsplit(" ", 2) == [
        str(tmp_path.resolve()),
        "smoke",
        "True",
    ]
    assert "version" not in notebook.metadata.get("language_info", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.notebook
def test_smoke_mode_is_the_first_thing_that_a_notebook_shows_and_the_shop_reaches_it(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("MTLKIT_SHOP", "7")  # of the shell; a run has its own
    cells = ["from mtlkit.course import quiz\nprint('first')", SETUP, "print(MODE, SHOP)"]
    made = [nbformat.v4.new_code_cell(text) for text in cells]
    for options, wanted in (
        ({"mode": "smoke", "shop": 3}, f"{modes.SMOKE}\nfirst\nsmoke 3\n"),
        ({"mode": "full"}, "first\nfull 0\n"),
    ):
        notebook = nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": copies.KERNEL})
        execute.run(notebook, tmp_path, **options)
        assert outputs(notebook) == wanted


def test_papermill_replaces_mode_and_shop(tmp_path):
    parameterize = pytest.importorskip("papermill.parameterize")
    load = pytest.importorskip("papermill.iorw").load_notebook_node
    cells = [nbformat.v4.new_code_cell(SETUP, metadata={"tags": ["parameters"]})]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": dict(copies.KERNEL)})
    nbformat.write(notebook, tmp_path / "small.ipynb")
    made = parameterize.parameterize_notebook(
        load(str(tmp_path / "small.ipynb")), {"MODE": "smoke", "SHOP": 4}
    )
    names = {}
    for cell in made.cells:
        exec(cell.source, names)
    assert (names["MODE"], names["SHOP"]) == ("smoke", 4)


def test_volatile_metadata_go_and_streams_are_joined():
    cell = nbformat.v4.new_code_cell(
        "x", metadata={"execution": {"iopub.status.idle": "2024"}, "tags": ["check"]}
    )
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="a\n"),
        nbformat.v4.new_output("stream", name="stdout", text="b\n"),
        nbformat.v4.new_output("stream", name="stderr", text="c\n"),
    ]
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {}})
    execute.clean(notebook)
    assert notebook.metadata == {} and cell.metadata == {"tags": ["check"]}
    assert [(o.name, o.text) for o in cell.outputs] == [("stdout", "a\nb\n"), ("stderr", "c\n")]


def test_an_unknown_mode_is_refused(tmp_path):
    with pytest.raises(ValueError, match="mode must be one of smoke, full"):
        execute.run(nbformat.v4.new_notebook(), tmp_path, mode="huge")
