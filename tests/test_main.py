"""The command line of mtlkit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mtlkit import __main__ as command

ROOT = Path(__file__).resolve().parents[1]


def run_without(blocked: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run ``python -m mtlkit`` in a fresh Python in which a package cannot be imported."""
    program = (
        "import runpy, sys\n"
        f"sys.modules[{blocked!r}] = None\n"
        f"sys.argv = ['mtlkit', *{list(arguments)!r}]\n"
        "runpy.run_module('mtlkit', run_name='__main__', alter_sys=True)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1"},
        cwd=ROOT,
    )


@pytest.mark.parametrize("blocked", ["torch", "numpy", "polars"])
def test_help_needs_no_heavy_package(blocked):
    found = run_without(blocked, "--help")
    assert found.returncode == 0
    for name in command.COMMANDS:
        assert f"\n  {name} " in found.stdout


def test_the_doctor_works_without_torch_and_exits_with_1():
    found = run_without("torch", "doctor")
    assert found.returncode == 1, found.stderr
    assert "problem  PyTorch" in " ".join(found.stdout.split()).replace("problem ", "problem  ")
    assert "cannot be imported" in found.stdout
    assert "Traceback" not in found.stderr


def test_a_missing_package_is_named_with_what_to_do():
    found = run_without("nbformat", "course", "--only", "99")
    assert found.returncode == 1
    assert "Traceback" not in found.stderr


def test_the_lab_without_jupyterlab_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(command, "call", lambda *_: pytest.fail("started"))
    assert command.main(["lab"]) == 1
    message = capsys.readouterr().err
    assert "'jupyterlab' is not installed" in message and '".[course]"' in message


def test_an_unknown_command_is_an_error_that_lists_the_known_ones(capsys):
    assert command.main(["cours"]) == 2
    message = capsys.readouterr().err
    assert "no command 'cours'" in message and "  course " in message


def test_no_command_shows_the_help(capsys):
    assert command.main([]) == 0
    assert "usage: mtlkit COMMAND" in capsys.readouterr().out


def test_the_package_s_own_missing_module_is_not_blamed_on_the_installation(monkeypatch):
    def broken(argv):
        raise ModuleNotFoundError("No module named 'mtlkit.nowhere'", name="mtlkit.nowhere")

    monkeypatch.setitem(command.COMMANDS, "bench", broken)
    with pytest.raises(ModuleNotFoundError):
        command.main(["bench"])


def test_a_missing_third_party_module_is(monkeypatch, capsys):
    def broken(argv):
        raise ModuleNotFoundError("No module named 'jupytext.x'", name="jupytext.x")

    monkeypatch.setitem(command.COMMANDS, "build", broken)
    assert command.main(["build"]) == 1
    assert "'jupytext.x' is not installed" in capsys.readouterr().err


def make_checkout(folder: Path) -> Path:
    for name in ("00_start.ipynb", "02_share.ipynb", "solutions/02_share.ipynb"):
        path = folder / "notebooks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}", encoding="utf-8")
    return folder


def test_lab_opens_the_first_notebook(tmp_path):
    found = command.lab_command(True, ["--port", "9000"], make_checkout(tmp_path))
    assert found[:3] == [sys.executable, "-m", "jupyterlab"]
    assert "--LabApp.default_url=/lab/tree/notebooks/00_start.ipynb" in found
    assert found[-3:] == ["--no-browser", "--port", "9000"]


def test_lab_keeps_one_record_of_progress_for_all_notebooks(tmp_path, monkeypatch):
    monkeypatch.delenv("MTLKIT_HOME", raising=False)
    monkeypatch.setenv("PYTHONPATH", "before")
    checkout = make_checkout(tmp_path)
    found = command.lab_environment(checkout)
    assert found["MTLKIT_HOME"] == str(checkout)
    assert found["PYTHONPATH"] == f"{checkout}{os.pathsep}before"
    monkeypatch.setenv("MTLKIT_HOME", "chosen")
    assert command.lab_environment(checkout)["MTLKIT_HOME"] == "chosen"
    assert set(command.lab_environment(tmp_path / "elsewhere")) == {"JUPYTER_CONFIG_PATH"}


def test_jupyterlab_does_not_ask_for_news(monkeypatch):
    monkeypatch.delenv("JUPYTER_CONFIG_PATH", raising=False)
    folder = Path(command.lab_environment()["JUPYTER_CONFIG_PATH"])
    page = json.loads((folder / "labconfig" / "page_config.json").read_text(encoding="utf-8"))
    assert page["disabledExtensions"]["@jupyterlab/apputils-extension:announcements"]


def test_all_tests_are_one_pytest_run_by_file_and_the_fast_ones_are_marked():
    whole, fast = (command.test_command(fast, ["-x"]) for fast in (False, True))
    assert whole[1:3] == ["-m", "pytest"] and whole[-1] == fast[-1] == "-x"
    assert whole[whole.index("--dist") + 1] == "loadfile"
    assert "-m" not in whole[3:]
    assert fast[fast.index("-m", 3) + 1] == "not slow and not notebook"


def test_what_follows_two_dashes_is_passed_on():
    assert command.split_arguments(["--fast", "--", "-k", "x", "--"]) == (
        ["--fast"],
        ["-k", "x", "--"],
    )
    assert command.split_arguments(["--fast"]) == (["--fast"], [])


def test_an_exit_code_comes_back_as_it_was():
    assert command.call([sys.executable, "-c", "import sys; sys.exit(5)"], {}) == 5


def test_a_child_gets_the_extra_environment():
    program = "import os, sys; sys.exit(int(os.environ['MTLKIT_ANSWER']))"
    assert command.call([sys.executable, "-c", program], {"MTLKIT_ANSWER": "9"}) == 9


def test_data_lists_every_set_with_licence_and_place(capsys):
    from mtlkit.data.real import public

    assert command.main(["data"]) == 0
    text = capsys.readouterr().out
    for entry in public.describe_all():
        assert entry.name in text and entry.licence in text
        assert str(entry.found_at or entry.url) in text


def test_data_get_refuses_an_unknown_set_in_one_sentence(capsys):
    assert command.main(["data", "get", "olist"]) == 1
    assert "Unknown data set 'olist'" in capsys.readouterr().err
