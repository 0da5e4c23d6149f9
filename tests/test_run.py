"""run.py, the script that sets everything up; nothing is installed here."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import types
import venv
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
    monkeypatch.setattr(module, "install", lambda folder, **_: module.installs.append(folder))
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


def test_the_environment_is_made_once_and_again_after_a_change(setup, monkeypatch):
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
    monkeypatch.setattr(setup, "make_venv", lambda folder: pretend_pip(without_pip(folder)))
    setup.prepare(folder)
    assert len(setup.installs) == 3
    assert setup.what_is_wrong(folder) == ""


def test_a_failed_installation_leaves_no_stamp(setup, monkeypatch):
    def fail(folder, **_):
        raise setup.SetupError("no network")

    monkeypatch.setattr(setup, "install", fail)
    monkeypatch.setattr(setup, "make_venv", lambda folder: folder.mkdir())
    with pytest.raises(setup.SetupError):
        setup.prepare(setup.venv_folder())
    assert not (setup.venv_folder() / setup.STAMP).exists()


def test_the_stamp_does_not_depend_on_line_ends(setup):
    path = setup.ROOT / "requirements.txt"
    before = setup.wanted_stamp(Path("/venv"))
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert setup.wanted_stamp(Path("/venv")) == before
    path.write_bytes(b"torch==2.13.1\r\n")
    assert setup.wanted_stamp(Path("/venv"))["requirements"] != before["requirements"]


def test_a_folder_that_is_no_environment_is_never_deleted(setup, monkeypatch, tmp_path):
    precious = tmp_path / "photos"
    precious.mkdir()
    (precious / "one.jpg").write_bytes(b"x")
    monkeypatch.setenv("MTLKIT_VENV", str(precious))
    assert setup.main([]) == 2
    assert (precious / "one.jpg").exists()
    assert setup.installs == []


# Whose environment it is: only what carries run.py's own mark is ever deleted


def without_pip(folder):
    venv.create(folder, with_pip=False)
    return folder


@pytest.fixture
def with_pip(tmp_path):
    """An environment in which ``import pip`` works; a real pip is made by two other tests."""
    return pretend_pip(without_pip(tmp_path / "with_pip"))


def pretend_pip(folder):
    packages = next(folder.rglob("site-packages"))
    (packages / "pip").mkdir()
    (packages / "pip" / "__init__.py").write_text("", encoding="utf-8")
    return folder


def with_a_note(folder):
    """A file of the user's inside; returned, to see whether it is still there."""
    note = folder / "work" / "note.txt"
    note.parent.mkdir(parents=True)
    note.write_text("mine", encoding="utf-8")
    return note


def pretend_another_python(setup, monkeypatch):
    """run.py runs on a Python that is not the environment's."""
    names = {"executable": sys.executable, "prefix": sys.prefix, "stderr": sys.stderr}
    fake = types.SimpleNamespace(version_info=(3, 99, 0), platform=sys.platform, **names)
    monkeypatch.setattr(setup, "sys", fake)


def refusal(setup, folder):
    with pytest.raises(setup.SetupError) as found:
        setup.prepare(folder)
    text = " ".join(str(found.value).split())
    assert str(folder) in text
    assert "move it away, or name another place in the environment variable MTLKIT_VENV" in text
    assert setup.installs == []
    return text


@pytest.mark.parametrize("named", [True, False], ids=["MTLKIT_VENV", ".venv"])
def test_a_foreign_environment_without_pip_is_refused_and_kept(setup, monkeypatch, tmp_path, named):
    if named:
        monkeypatch.setenv("MTLKIT_VENV", str(tmp_path / "own"))
    folder = without_pip(setup.venv_folder())
    note = with_a_note(folder)
    before = sorted(folder.rglob("*"))
    refusal(setup, folder)
    assert note.read_text(encoding="utf-8") == "mine"
    assert sorted(folder.rglob("*")) == before  # neither deleted nor marked


def test_a_foreign_environment_of_another_python_is_refused_and_kept(
    setup, monkeypatch, tmp_path, with_pip
):
    folder = Path(shutil.copytree(with_pip, tmp_path / "own", symlinks=True))
    note = with_a_note(folder)
    pretend_another_python(setup, monkeypatch)
    assert r"Python 3.99" in refusal(setup, folder)
    assert note.exists() and setup.venv_python(folder).exists()


@pytest.mark.parametrize("inside", ["pyvenv.cfg", "conda-meta/history"])
def test_a_folder_that_only_looks_like_an_environment_is_refused_and_kept(setup, tmp_path, inside):
    folder = tmp_path / "own"
    note = with_a_note(folder)
    (folder / inside).parent.mkdir(exist_ok=True)
    (folder / inside).write_text("home = /nowhere\n", encoding="utf-8")
    refusal(setup, folder)
    assert note.exists() and (folder / inside).exists()


def test_a_file_in_the_place_of_the_environment_is_refused_and_kept(setup, tmp_path):
    path = tmp_path / "own"
    path.write_text("mine", encoding="utf-8")
    refusal(setup, path)
    assert path.read_text(encoding="utf-8") == "mine"


def test_a_link_is_followed_to_a_foreign_environment_and_both_are_kept(setup, tmp_path):
    target = without_pip(tmp_path / "target")
    note = with_a_note(target)
    link = setup.ROOT / ".venv"
    try:
        link.symlink_to(target, target_is_directory=True)
    except OSError:
        pytest.skip("this machine makes no links")
    assert setup.venv_folder() == target.resolve()
    refusal(setup, setup.venv_folder())
    assert link.is_symlink() and note.exists()


def test_a_foreign_environment_that_works_is_used_and_never_deleted(
    setup, monkeypatch, tmp_path, with_pip, capsys
):
    folder = Path(shutil.copytree(with_pip, tmp_path / "own", symlinks=True))
    note = with_a_note(folder)
    assert setup.prepare(folder) == setup.venv_python(folder)
    assert setup.installs == [folder]
    assert "an environment of your own" in capsys.readouterr().out
    setup.prepare(folder)
    assert setup.installs == [folder] and note.exists()
    # What was installed into it does not make it ours: broken later, it is refused.
    setup.installs.clear()
    pretend_another_python(setup, monkeypatch)
    refusal(setup, folder)
    assert note.exists()


def test_an_empty_folder_is_used(setup, monkeypatch, tmp_path):
    monkeypatch.setattr(setup.subprocess, "call", lambda command: 0)
    folder = tmp_path / "empty"
    folder.mkdir()
    setup.prepare(folder)
    assert setup.is_ours(folder) and setup.installs == [folder]


def test_the_mark_stands_before_the_environment_is_made(setup, monkeypatch, tmp_path):
    folder = tmp_path / "deep" / "venv"
    monkeypatch.setattr(setup.subprocess, "call", lambda command: 1)
    with pytest.raises(setup.SetupError, match="could not make"):
        setup.prepare(folder)
    assert setup.is_ours(folder)
    # So the half-made folder is emptied and tried again, and not refused.
    (folder / "rest.txt").write_text("half", encoding="utf-8")
    monkeypatch.setattr(setup.subprocess, "call", lambda command: 0)
    setup.prepare(folder)
    assert not (folder / "rest.txt").exists() and setup.is_ours(folder)


def test_what_version_0_1_left_is_no_mark(setup, tmp_path):
    folder = without_pip(tmp_path / "mine")
    note = folder / "my_work.txt"
    note.write_text("mine", encoding="utf-8")
    (folder / "mtlkit-installed.txt").write_text("x", encoding="utf-8")  # 0.1 wrote it anywhere
    assert not setup.is_ours(folder)
    with pytest.raises(setup.SetupError, match="left alone"):
        setup.prepare(folder)
    assert note.read_text(encoding="utf-8") == "mine"


def test_an_environment_of_ours_is_made_anew_for_another_python(setup, monkeypatch, tmp_path):
    folder = without_pip(tmp_path / "venv")
    setup.write_mark(folder)
    made = []
    monkeypatch.setattr(setup, "make_venv", made.append)
    pretend_another_python(setup, monkeypatch)
    setup.prepare(folder)
    assert made == [folder] and setup.installs == [folder]
    assert {path.name for path in folder.iterdir()} == {setup.MARK, setup.STAMP}


def test_a_link_inside_an_environment_of_ours_is_unlinked_and_not_followed(
    setup, monkeypatch, tmp_path
):
    note = with_a_note(tmp_path / "data")
    folder = tmp_path / "venv"
    folder.mkdir()
    setup.write_mark(folder)
    try:
        (folder / "data").symlink_to(tmp_path / "data", target_is_directory=True)
    except OSError:
        pytest.skip("this machine makes no links")
    setup.empty_venv(folder, "is broken")
    assert note.exists() and not (folder / "data").exists()


def test_an_environment_that_holds_the_checkout_is_never_emptied(setup):
    folder = setup.ROOT.parent
    setup.write_mark(folder)
    with pytest.raises(setup.SetupError, match=r"run\.py or your home folder lies in it"):
        setup.empty_venv(folder, "is broken")
    assert (setup.ROOT / "requirements.txt").exists()


def test_the_exit_code_and_the_arguments_pass_through(setup, tmp_path, monkeypatch, capfd):
    package = tmp_path / "path" / "mtlkit"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text(
        "import sys; print(sys.argv[1:]); sys.exit(7)", encoding="utf-8"
    )
    monkeypatch.chdir(package.parent)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))  # python -m looks here first
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
    assert not (tmp_path / "venv" / "mtlkit-requirements.txt").exists()
    assert "Delete the folder" in found.stderr


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
