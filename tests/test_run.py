"""run.py, the script that sets everything up; nothing is installed here."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """run.py as a module of a small project of its own, with pip and mtlkit replaced."""
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(ROOT / "run.py", project / "run.py")
    (project / "requirements.txt").write_text("torch==2.13.0\n", encoding="utf-8")
    (project / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    spec = importlib.util.spec_from_file_location("run_under_test", project / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv("MTLKIT_VENV", raising=False)
    module.installs = []
    monkeypatch.setattr(module, "install", lambda folder: module.installs.append(folder))
    return module


@pytest.mark.parametrize("version", [(3, 9, 18), (3, 14, 0), (2, 7, 18)])
def test_another_python_is_refused_with_what_to_run(setup, version):
    with pytest.raises(setup.SetupError, match=r"3\.10 to 3\.13[\s\S]*python3\.13 run\.py"):
        setup.check_python(version, "Linux", "x86_64", 64)


@pytest.mark.parametrize("minor", [10, 11, 12, 13])
def test_the_four_supported_pythons_are_taken(setup, minor):
    setup.check_python((3, minor, 1), "Windows", "AMD64", 64)
    setup.check_python((3, minor, 1), "Darwin", "arm64", 64)


def test_a_32_bit_python_and_an_intel_mac_are_refused(setup):
    with pytest.raises(setup.SetupError, match="32-bit"):
        setup.check_python((3, 12, 1), "Windows", "AMD64", 32)
    with pytest.raises(setup.SetupError, match="Intel Macs"):
        setup.check_python((3, 12, 1), "Darwin", "x86_64", 64)


def test_it_needs_nothing_but_the_standard_library():
    text = (ROOT / "run.py").read_text(encoding="utf-8")
    imported = re.findall(r"^\s*(?:import|from) (\w+)", text, flags=re.MULTILINE)
    assert set(imported) <= set(sys.stdlib_module_names)


def test_the_environment_is_made_once_and_again_after_a_change(setup):
    folder = setup.venv_folder()
    assert folder == setup.ROOT / ".venv"
    python = setup.prepare(folder)
    assert python.exists() and setup.installs == [folder]
    setup.prepare(folder)
    assert len(setup.installs) == 1
    with (setup.ROOT / "requirements.txt").open("a", encoding="utf-8") as file:
        file.write("tqdm\n")
    setup.prepare(folder)
    assert len(setup.installs) == 2
    # A broken environment: pip is gone, as after an interrupted start.
    for found in folder.rglob("site-packages/pip"):
        shutil.rmtree(found)
    setup.prepare(folder)
    assert len(setup.installs) == 3
    assert setup.venv_works(folder)


def test_a_failed_installation_leaves_no_stamp(setup, monkeypatch):
    def fail(folder):
        raise setup.SetupError("no network")

    monkeypatch.setattr(setup, "install", fail)
    monkeypatch.setattr(setup, "make_venv", lambda folder: folder.mkdir())
    with pytest.raises(setup.SetupError):
        setup.prepare(setup.venv_folder())
    assert not (setup.venv_folder() / setup.STAMP).exists()


def test_the_stamp_does_not_depend_on_line_ends(setup):
    path = setup.ROOT / "requirements.txt"
    before = setup.wanted_stamp()
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert setup.wanted_stamp() == before
    path.write_bytes(b"torch==2.13.1\r\n")
    assert setup.wanted_stamp() != before


def test_a_folder_that_is_no_environment_is_never_deleted(setup, monkeypatch, tmp_path):
    precious = tmp_path / "photos"
    precious.mkdir()
    (precious / "one.jpg").write_bytes(b"x")
    monkeypatch.setenv("MTLKIT_VENV", str(precious))
    assert setup.main([]) == 2
    assert (precious / "one.jpg").exists()
    assert setup.installs == []


def test_the_exit_code_and_the_arguments_pass_through(setup, tmp_path, monkeypatch, capfd):
    package = tmp_path / "path" / "mtlkit"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text(
        "import sys; print(sys.argv[1:]); sys.exit(7)", encoding="utf-8"
    )
    monkeypatch.chdir(package.parent)  # python -m looks here first
    monkeypatch.setattr(setup, "prepare", lambda folder: Path(sys.executable))
    assert setup.main(["course", "--only", "02"]) == 7
    assert "['course', '--only', '02']" in capfd.readouterr().out


def test_without_arguments_it_asks_for_help(setup, monkeypatch):
    asked = []
    monkeypatch.setattr(setup, "prepare", lambda folder: Path(sys.executable))
    monkeypatch.setattr(setup, "run_mtlkit", lambda python, arguments: asked.append(arguments) or 0)
    assert setup.main([]) == 0
    assert asked == [["--help"]]


def test_a_failing_pip_is_explained(tmp_path):
    environment = {**os.environ, "MTLKIT_VENV": str(tmp_path / "venv"), "PIP_NO_INDEX": "1"}
    for name in ("PIP_FIND_LINKS", "PIP_CONFIG_FILE"):
        environment.pop(name, None)
    environment["PIP_CONFIG_FILE"] = os.devnull
    shutil.copy(ROOT / "run.py", tmp_path / "run.py")
    (tmp_path / "requirements.txt").write_text("torch==2.13.0\n", encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text("", encoding="utf-8")
    found = subprocess.run(
        [sys.executable, str(tmp_path / "run.py"), "doctor"],
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert found.returncode == 2
    assert "pip ended with exit code" in found.stderr
    assert not (tmp_path / "venv" / "mtlkit-installed.txt").exists()


# The files that run.py installs from


def test_every_requirement_is_exact_and_torch_is_the_tested_one():
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]
    assert lines[-1] == "-e ."
    for line in lines[:-1]:
        assert re.fullmatch(r"[\w-]+==[\w.]+(; python_version [<>=]+ \"3\.\d+\")?", line), line
    assert "torch==2.13.0" in lines


def test_the_tested_versions_lie_in_the_ranges_of_the_metadata():
    requirements = pytest.importorskip("packaging.requirements", reason="packaging is missing")
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        tomllib = pytest.importorskip("tomli", reason="tomllib needs Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"]]
    for name in ("course", "test"):
        wanted += project["optional-dependencies"][name]
    ranges = {r.name.lower(): r.specifier for r in map(requirements.Requirement, wanted)}
    tested = [
        requirements.Requirement(line)
        for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    ]
    for entry in tested:
        version = str(entry.specifier).removeprefix("==")
        assert version in ranges[entry.name.lower()], entry
    ranges.pop("mtlkit")
    assert {entry.name.lower() for entry in tested} == set(ranges)


def test_the_version_is_the_same_everywhere():
    import mtlkit

    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'\nversion = "{mtlkit.__version__}"\n' in text
    assert f"\nversion: {mtlkit.__version__}\n" in citation
