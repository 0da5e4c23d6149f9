"""The builder: three audiences from one source, stable rebuilds, differences named, no leaks."""

import nbformat
import pytest

from mtlkit.course.author import build, copies, readme
from mtlkit.course.author.folders import read_notebook, source_paths
from mtlkit.course.author.make import build_one, place_of, refuse_leaks, write_notebook
from mtlkit.course.author.parse import parse
from mtlkit.course.author.source import SourceError

SOLUTION_LINE = "doubled_number = number * 2"


def written(folders):
    root = folders.notebooks.parent
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".py"
    }


def read(folders, name):
    return read_notebook(folders.notebooks / name)


def test_a_build_writes_the_four_files_and_a_second_one_changes_nothing(folders):
    assert build.main([], folders) == 0
    first = written(folders)
    assert sorted(first) == [
        "lessons/nb97/cards.json",
        "notebooks/97_small.ipynb",
        "notebooks/instructor/97_small.md",
        "notebooks/solutions/97_small.ipynb",
    ]
    assert build.main([], folders) == 0
    assert written(folders) == first
    assert build.main(["--check"], folders) == 0


def test_each_audience_sees_what_is_meant_for_it(folders):
    build.main([], folders)
    files = {name: data.decode("utf-8") for name, data in written(folders).items()}
    learner = files["notebooks/97_small.ipynb"]
    solution = files["notebooks/solutions/97_small.ipynb"]
    page = files["notebooks/instructor/97_small.md"]
    for text, solved, explained, told in (
        (learner, False, False, False),
        (solution, True, True, False),
        (page, True, True, True),
    ):
        assert (SOLUTION_LINE in text) == solved
        assert ("Multiplication" in text) == explained
        assert ("Ask who added" in text) == told
        assert "BEGIN SOLUTION" not in text and "STUB:" not in text
        assert "一个故事" not in text
    assert "return ...  # your answer" in learner
    assert "What is two times four?" not in learner


def test_files_are_utf8_with_lf_and_a_kernelspec(folders):
    build.main([], folders)
    for name, data in written(folders).items():
        assert b"\r" not in data and data.endswith(b"\n")
        if name.endswith(".ipynb"):
            notebook = nbformat.reads(data.decode("utf-8"), as_version=4)
            nbformat.validate(notebook)
            assert notebook.metadata.kernelspec.name == "python3"


def test_cell_ids_are_unique_and_depend_on_the_text_alone(small, folders):
    text = small.read_text(encoding="utf-8")
    small.write_text(text + '\n# %%\nprint("again")\n\n# %%\nprint("again")\n', encoding="utf-8")
    before = build_one(small, folders).learner
    ids = [cell.id for cell in before.cells]
    assert len(set(ids)) == len(ids)
    text = small.read_text(encoding="utf-8").replace("# ## A story", "# ## Another story")
    small.write_text(text, encoding="utf-8")
    after = build_one(small, folders).learner
    changed = [a for a, b in zip(before.cells, after.cells, strict=True) if a.id != b.id]
    assert [cell.source for cell in changed] == ["## A story"]


def test_outputs_of_unchanged_cells_survive_a_rebuild_and_changed_ones_go(edit, folders):
    build.main([], folders)
    path = folders.notebooks / "97_small.ipynb"
    notebook = read_notebook(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = 7
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="kept\n")]
    write_notebook(path, notebook)
    edit('print("the mode is", MODE)', 'print("mode:", MODE)')
    assert build.main([], folders) == 0
    for cell in read_notebook(path).cells:
        if cell.cell_type == "code":
            fresh = cell.source.startswith('print("mode:"')
            assert (cell.execution_count is None) == fresh
            assert bool(cell.outputs) == (not fresh)


def test_check_ignores_outputs(folders):
    build.main([], folders)
    path = folders.notebooks / "97_small.ipynb"
    notebook = read_notebook(path)
    notebook.cells[-1].outputs = [nbformat.v4.new_output("stream", name="stdout", text="any\n")]
    write_notebook(path, notebook)
    assert build.main(["--check"], folders) == 0


def test_check_names_the_file_and_the_cell_that_was_edited_by_hand(folders, capsys):
    build.main([], folders)
    path = folders.notebooks / "solutions" / "97_small.ipynb"
    notebook = read_notebook(path)
    notebook.cells[4].source += "\n# by hand"
    write_notebook(path, notebook)
    before = written(folders)
    assert build.main(["--check"], folders) == 1
    assert "notebooks/solutions/97_small.ipynb: cell 5 differs" in capsys.readouterr().err
    assert written(folders) == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda n: n.cells.pop(), "has 12 cells, its source 13"),
        (lambda n: n.cells[0].metadata.update(tags=["x"]), "cell 1 differs"),
        (lambda n: n.metadata.pop("kernelspec"), "its metadata differ"),
        (lambda n: n.metadata.update(widgets={}), "its metadata differ"),
    ],
)
def test_check_sees_other_differences_too(folders, capsys, change, sentence):
    build.main([], folders)
    path = folders.notebooks / "97_small.ipynb"
    notebook = read_notebook(path)
    change(notebook)
    path.write_text(nbformat.writes(notebook), encoding="utf-8", newline="\n")
    assert build.main(["--check"], folders) == 1
    assert f"notebooks/97_small.ipynb: {sentence}" in capsys.readouterr().err


def test_check_sees_missing_stale_and_orphaned_files(folders, edit, capsys):
    build.main([], folders)
    (folders.notebooks / "97_small.ipynb").unlink()
    (folders.notebooks / "96_gone.ipynb").write_text("{}", encoding="utf-8")
    edit("# Ask who added instead.", "# Ask who guessed.")
    assert build.main(["--check"], folders) == 1
    said = capsys.readouterr().err
    assert "notebooks/97_small.ipynb: missing" in said
    assert "notebooks/instructor/97_small.md: line" in said
    assert "notebooks/96_gone.ipynb: its source is gone" in said


@pytest.mark.parametrize(
    "cell",
    [
        f"# %%\n{SOLUTION_LINE.replace('number * 2', 'number  *  2')}\nreturn doubled_number",
        "# %% [markdown]\n# ```\n# doubled_number = number * 2\n# return doubled_number\n# ```",
    ],
)
def test_a_solution_in_a_learner_cell_is_refused(small, folders, cell, capsys):
    small.write_text(small.read_text(encoding="utf-8") + "\n" + cell + "\n", encoding="utf-8")
    assert build.main([], folders) == 1
    assert "its text shows a solution of exercise 97.1" in capsys.readouterr().err
    assert not (folders.notebooks / "97_small.ipynb").exists()


def test_a_solution_in_a_learner_output_is_refused(small, folders):
    built = build_one(small, folders)
    text = f"def double(number):\n    {SOLUTION_LINE}\n    return doubled_number\n"
    built.learner.cells[-1].outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    with pytest.raises(SourceError, match=r"its output shows a solution of exercise 97\.1"):
        refuse_leaks(built.source, built.learner)
    built.learner.cells[-1].outputs = [
        nbformat.v4.new_output("execute_result", {"text/plain": text}, execution_count=1)
    ]
    with pytest.raises(SourceError, match="its output shows a solution"):
        refuse_leaks(built.source, built.learner)


def test_a_broken_source_changes_no_file(folders, edit, capsys):
    build.main([], folders)
    before = written(folders)
    edit("    # BEGIN SOLUTION\n", "")
    assert build.main([], folders) == 1
    assert "97_small.py:" in capsys.readouterr().err
    assert written(folders) == before


def test_only_takes_numbers_and_names_and_refuses_others(folders):
    assert [p.stem for p in source_paths(folders, ["97"])] == ["97_small"]
    assert [p.stem for p in source_paths(folders, ["97_small"])] == ["97_small"]
    with pytest.raises(SystemExit, match="no source '12'"):
        build.main(["--only", "12"], folders)


def test_neighbours_are_linked_in_the_title_card(folders, small):
    text = (
        small.read_text(encoding="utf-8").replace("97.", "96.").replace("Count the", "Before the")
    )
    (folders.sources / "96_first.py").write_text(text, encoding="utf-8")
    assert build.main([], folders) == 0
    card = read(folders, "97_small.ipynb").cells[0].source
    assert "previous [96 Before the small](96_first.ipynb)" in card
    assert "**Builds on:** [96 Before the small](96_first.ipynb)" in card
    assert (
        "next [97 Count the small](97_small.ipynb)"
        in read(folders, "96_first.ipynb").cells[0].source
    )
    solved = read(folders, "solutions/97_small.ipynb").cells[0].source
    assert "previous [96 Before the small](../96_first.ipynb)" in solved


def test_links_move_with_the_copy_but_code_and_addresses_stay():
    text = "[a](b.md) ![p](p.png) [w](https://x.org) [h](#top) `[c](d)`\n```\n[e](f)\n```"
    assert copies.move_links(text, "../") == (
        "[a](../b.md) ![p](../p.png) [w](https://x.org) [h](#top) `[c](d)`\n```\n[e](f)\n```"
    )


def test_the_chinese_edition_swaps_the_texts(small, folders):
    source = parse(small)
    chinese = copies.make_copy(source, "learner", place_of(small, folders), language="zh")
    texts = [cell.source for cell in chinese.cells]
    assert "## 一个故事" in texts and "## A story" not in texts


def fold_the_printing_cell(edit):
    edit('# %%\nprint("the mode is"', '# %% tags=["hide-output"]\nprint("the mode is"')


def printing_cell(notebook):
    [cell] = [cell for cell in notebook.cells if cell.source.startswith("print(")]
    return cell


def texts(cell):
    return [output.text for output in cell.outputs]


def test_the_learner_copy_folds_the_stored_answer_to_a_guess_and_the_solution_copy_does_not(
    folders, edit
):
    fold_the_printing_cell(edit)
    assert build.main(["--execute"], folders) == 0
    learner = printing_cell(read(folders, "97_small.ipynb"))
    assert learner.metadata.jupyter == {"outputs_hidden": True}
    assert texts(learner) == [copies.FOLDED, "the mode is full\n"]
    solution = printing_cell(read(folders, "solutions/97_small.ipynb"))
    assert "jupyter" not in solution.metadata
    assert texts(solution) == ["the mode is full\n"]


def test_folding_and_unfolding_a_stored_answer_needs_no_new_run(folders, edit, small):
    assert build.main(["--execute"], folders) == 0
    before, plain = written(folders), small.read_text(encoding="utf-8")
    fold_the_printing_cell(edit)
    for _ in range(2):  # a second build adds no second line
        assert build.main([], folders) == 0
        assert texts(printing_cell(read(folders, "97_small.ipynb"))) == [
            copies.FOLDED,
            "the mode is full\n",
        ]
    small.write_text(plain, encoding="utf-8", newline="\n")
    assert build.main([], folders) == 0
    assert written(folders) == before


def test_the_readmes_table_of_notebooks_is_written_and_checked(folders, edit, capsys):
    path = folders.notebooks.parent / "README.md"
    path.write_text(f"Above\n\n{readme.BEGIN}\n{readme.END}\n\nBelow\n", encoding="utf-8")
    assert build.main([], folders) == 0
    written = path.read_text(encoding="utf-8")
    assert "| [97 Count the small](notebooks/97_small.ipynb) | " in written
    assert written.startswith("Above\n") and written.endswith("\nBelow\n")
    assert build.main(["--check"], folders) == 0
    edit("Count the small", "Count the tiny")
    assert build.main(["--check"], folders) == 1
    assert "README.md: its table of notebooks is stale" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == written
