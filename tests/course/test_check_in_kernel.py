"""A check in a real Jupyter kernel: a loop is stopped, prints stay in their cell, life goes on."""

import nbformat
import pytest
from nbclient import NotebookClient

CELLS = (
    """
from mtlkit.course import check
from mtlkit.course.learner import guard
guard.SECONDS = 1.0
""",
    """
def count(inputs, hidden, tasks):
    print("inside")
    while True:
        inputs += 1
check("2.1", count)
""",
    """
def count(inputs, hidden, tasks):
    raise SystemExit
check("2.1", count)
""",
    """
def count(inputs, hidden, tasks):
    print("from a thread")
    layer, head = inputs * hidden + hidden, hidden + 1
    return layer + tasks * head, tasks * (layer + head)
check("2.1", count)
""",
)


@pytest.mark.notebook
def test_a_kernel_survives_and_shows_each_cell_its_own(home, monkeypatch):
    monkeypatch.setenv("MTLKIT_PLAIN", "1")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    NotebookClient(notebook, timeout=120).execute()
    loop, leaves, right = (
        "".join(output.text for output in cell.outputs) for cell in notebook.cells[1:]
    )
    assert loop.startswith("inside\n✗ 2.1: not yet. Line ")
    assert "(`inputs += 1`)" in loop or "(`while True:`)" in loop
    assert "of your code (`raise SystemExit`) stopped with SystemExit." in leaves
    assert right.startswith("from a thread\n") and "✓ 2.1: right." in right
