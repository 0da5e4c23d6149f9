"""The doctor: each illness simulated, each told in plain words."""

import json
import sys
from types import SimpleNamespace

import pytest

from mtlkit.course.doctor import describe, examine, main
from mtlkit.course.machine import (
    OK,
    PROBLEM,
    WARNING,
    Finding,
    check_data,
    check_disk,
    check_kernel,
    check_memory,
    check_notebooks,
    check_packages,
    check_python,
    check_torch,
    check_write,
)


def raise_(error):
    raise error


def fake_torch(version="2.13.0", answer=8.0):
    matrix = SimpleNamespace(sum=lambda: answer)

    class Ones:
        def __matmul__(self, other):
            return matrix

    return SimpleNamespace(
        __version__=version,
        ones=lambda *shape: Ones(),
        get_num_threads=lambda: 4,
        cuda=SimpleNamespace(is_available=lambda: True, get_device_name=lambda index: "H100"),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False)),
    )


def test_this_python_is_well():
    assert check_python().state == OK


@pytest.mark.parametrize("version", [(3, 9, 1), (3, 14, 0)])
def test_an_unsupported_python_is_a_problem(monkeypatch, version):
    monkeypatch.setattr(sys, "version_info", version)
    found = check_python()
    assert found.state == PROBLEM and "Install Python 3.13" in found.mend


def test_missing_torch_is_a_problem_with_a_remedy():
    found = check_torch(lambda: raise_(ModuleNotFoundError("No module named 'torch'")))
    assert found.state == PROBLEM
    assert "cannot be imported" in found.found and "run.py" in found.mend


def test_a_torch_whose_libraries_do_not_load_is_a_problem():
    found = check_torch(lambda: raise_(OSError("WinError 126: c10.dll")))
    assert found.state == PROBLEM and "c10.dll" in found.found and ".venv" in found.mend


def test_a_torch_that_computes_wrongly_is_a_problem():
    assert check_torch(lambda: fake_torch(answer=7.0)).state == PROBLEM


def test_torch_is_told_with_version_device_and_threads():
    found = check_torch(fake_torch)
    assert found.state == OK
    assert found.found == "PyTorch 2.13.0, GPU H100, 4 threads"


def test_an_old_torch_is_a_warning():
    assert check_torch(lambda: fake_torch("2.4.1+cu121")).state == WARNING


@pytest.mark.parametrize(("available", "state"), [(8e9, OK), (1.5e9, WARNING), (0.5e9, PROBLEM)])
def test_memory_has_two_limits(available, state):
    assert check_memory(int(available)).state == state


@pytest.mark.parametrize(("free", "state"), [(5e9, OK), (5e8, WARNING), (1e8, PROBLEM)])
def test_disk_has_two_limits(tmp_path, free, state):
    assert check_disk(tmp_path, int(free)).state == state


def test_a_folder_that_takes_no_files_is_a_problem(tmp_path):
    assert check_write(tmp_path).state == OK
    assert list(tmp_path.iterdir()) == []
    assert check_write(tmp_path / "missing").state == PROBLEM


def test_missing_packages_are_named():
    found = check_packages(["json", "no_such_package_here"])
    assert found.state == PROBLEM and "no_such_package_here" in found.found
    assert "json" not in found.found
    assert check_packages(["json"]).state == OK


def spec(program):
    return {"python3": {"spec": {"argv": [program, "-m", "ipykernel_launcher"]}}}


def test_a_kernel_of_this_python_is_well():
    assert check_kernel(lambda: spec(sys.executable)).state == OK
    assert check_kernel(lambda: spec("python")).state == OK


def test_a_kernel_of_another_python_is_a_warning_that_names_it():
    found = check_kernel(lambda: spec("/opt/other/bin/python3"))
    assert found.state == WARNING and "/opt/other/bin/python3" in found.found


def test_no_kernel_and_no_jupyter_are_problems():
    assert check_kernel(lambda: {}).state == PROBLEM
    assert check_kernel(lambda: raise_(ImportError("no ipykernel"))).state == PROBLEM


def test_missing_notebooks_are_a_problem(tmp_path):
    assert check_notebooks(tmp_path).state == PROBLEM
    (tmp_path / "00_start.ipynb").write_text("{}", encoding="utf-8")
    assert check_notebooks(tmp_path).state == OK


def test_missing_data_is_no_problem():
    entry = SimpleNamespace(name="census", found_at=None)
    found = check_data(lambda: [entry])
    assert found.state == OK and "none of 1" in found.found


def test_a_check_that_breaks_becomes_a_line():
    def check_stars():
        raise RuntimeError("clouds")

    [found] = examine([check_stars])
    assert found == Finding(
        "Stars", PROBLEM, "could not be checked: RuntimeError: clouds", found.mend
    )


def test_the_report_counts_problems_and_shows_remedies():
    text = describe([Finding("A", OK, "fine"), Finding("Long", PROBLEM, "bad", "do this")])
    assert "1 problem to mend" in text
    assert "-> do this" in text
    assert "All is well" in describe([Finding("A", OK, "fine")])
    short = describe([Finding("A", OK, "fine"), Finding("B", WARNING, "slow", "x")], details=False)
    assert "fine" not in short and "slow" in short and "-> x" in short
    assert "You can start" in describe([Finding("A", WARNING, "slow", "x")])


def test_json_output_holds_all_findings_and_the_exit_code_tells_problems(monkeypatch, capsys):
    module = sys.modules["mtlkit.course.doctor"]
    monkeypatch.setattr(module, "examine", lambda: [Finding("A", OK, "x")])
    assert main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "A", "state": "ok", "found": "x", "mend": ""}
    ]
    monkeypatch.setattr(module, "examine", lambda: [Finding("A", PROBLEM, "x")])
    assert main(["--json"]) == 1
