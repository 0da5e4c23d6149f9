"""A notebook may call `hint` as its cards say, whatever it has imported from the course."""

import os
import subprocess
import sys

CELLS = """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.run_cell("hint = 'mine'") if {own} else None
shell.run_cell("from mtlkit.course import quiz").raise_error()
shell.run_cell("print(hint if isinstance(hint, str) else hint('6.1'))").raise_error()
"""


def told(tmp_path, own):
    done = subprocess.run(
        [sys.executable, "-c", CELLS.format(own=own)],
        env={**os.environ, "MTLKIT_HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout


def test_hint_is_there_after_any_import_of_the_course(tmp_path):
    assert "Hint 1 of 3" in told(tmp_path, own=False)


def test_a_name_of_the_learner_is_left_alone(tmp_path):
    assert "mine" in told(tmp_path, own=True)
