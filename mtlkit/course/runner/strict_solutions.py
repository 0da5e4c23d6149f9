"""A pytest plugin for notebooks: a solution copy must pass its own checks, a learner copy need not.

nbval starts a notebook's kernel with the environment of the test process when the notebook's first
cell is set up. Just before, this plugin sets MTLKIT_STRICT to "1" for notebooks in a folder named
``solutions`` (a check that is not passed is then an error) and to "0" for all others.
"""

import os

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Set the strictness of the notebook whose cell comes next."""
    if item.path.suffix == ".ipynb":
        os.environ["MTLKIT_STRICT"] = "1" if item.path.parent.name == "solutions" else "0"
