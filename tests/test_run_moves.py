"""run.py after a move, on two starts at once, and before environments of others; all offline."""

import ast
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HAVE = f"{sys.version_info[0]}.{sys.version_info[1]}"
posix = pytest.mark.skipif(os.name == "nt", reason="scripts of Windows are programs")


def project_in(folder):
    """A small checkout: run.py, what it reads, a package mtlkit and its data."""
    (folder / "mtlkit").mkdir(parents=True)
    (folder / "datasets" / "markets").mkdir(parents=True)
    (folder / "mtlkit" / "__init__.py").write_text("", encoding="utf-8")
    shutil.copy(ROOT / "run.py", folder / "run.py")
    shutil.copy(ROOT / "setup.py", folder / "setup.py")
    (folder / "requirements.txt").write_text("torch==2.13.0\n", encoding="utf-8")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "mtlkit"\nversion = "0.2.0"\n',
        encoding="utf-8",
    )
    return folder


def run_py(project, monkeypatch):
    """run.py of a checkout as a module; installs are noted and nothing is installed."""
    spec = importlib.util.spec_from_file_location("run_under_test", project / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.installs = []
    monkeypatch.setattr(module, "install", lambda folder, **_: module.installs.append(folder))
    return module


def environment_in(folder):
    """An environment in which ``import pip`` works; making a real pip takes ten times as long."""
    venv.create(folder, with_pip=False)
    (packages(folder) / "pip").mkdir()
    (packages(folder) / "pip" / "__init__.py").write_text("", encoding="utf-8")
    return folder


def packages(folder):
    return folder / ("Lib" if os.name == "nt" else f"lib/python{HAVE}") / "site-packages"


def install_editable(project, folder, wheels):
    """What ``pip install -e .`` does, by the same setuptools, without its network."""
    program = "import sys; from setuptools import build_meta as b; b.build_editable(sys.argv[1])"
    wheels.mkdir()
    subprocess.run([sys.executable, "-c", program, str(wheels)], cwd=project, check=True)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages(folder))
    (info,) = packages(folder).glob("mtlkit-*.dist-info")
    url = {"dir_info": {"editable": True}, "url": project.as_uri()}
    (info / "direct_url.json").write_text(json.dumps(url), encoding="utf-8")


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A ready checkout with an environment of its own in the usual place."""
    monkeypatch.delenv("MTLKIT_VENV", raising=False)
    project = project_in(tmp_path / "old home")
    setup = run_py(project, monkeypatch)
    folder = environment_in(setup.venv_folder())
    setup.write_mark(folder)
    install_editable(project, folder, tmp_path / "wheels")
    setup.write_stamp(folder, setup.wanted_stamp(folder))
    return setup


def where(setup, folder):
    """The place of mtlkit as the environment's own Python finds it."""
    program = "import mtlkit; print(mtlkit.__path__[0])"
    command = [str(setup.venv_python(folder)), "-I", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    return Path(done.stdout.strip()).resolve()


def texts(folder):
    """{path: content} of what a move must not leave behind."""
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and b"\0" not in path.read_bytes()
    }


# A folder that moved


@pytest.mark.parametrize("name", ["elsewhere", "with a blank and a 'quote", "x" * 120])
def test_a_moved_folder_works_without_a_network(home, monkeypatch, tmp_path, name, capsys):
    scripts = home.venv_python(home.venv_folder()).parent
    tool = scripts / "tool"
    tool.write_text(
        f"#!{scripts / 'python'}\nimport mtlkit, sys\nprint(mtlkit.__file__)\n", encoding="utf-8"
    )
    tool.chmod(0o755)
    kernel = home.venv_folder() / "share" / "jupyter" / "kernels" / "own" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({"argv": [str(scripts / "python"), "-m", "x"]}), encoding="utf-8")
    new = tmp_path / name
    old = home.ROOT.rename(new) and home.ROOT
    setup = run_py(new, monkeypatch)
    folder = setup.venv_folder()
    assert setup.prepare(folder) == setup.venv_python(new / ".venv")
    assert setup.installs == []
    assert "Nothing is fetched" in capsys.readouterr().out
    assert where(setup, folder) == (new / "mtlkit").resolve()
    assert setup.is_ours(folder) and setup.read_stamp(folder) == setup.wanted_stamp(folder)
    kernel, tool = (folder / path.relative_to(old / ".venv") for path in (kernel, tool))
    assert json.loads(kernel.read_text(encoding="utf-8"))["argv"][0].startswith(str(new))
    left = [path for path, text in texts(folder).items() if os.fsencode(str(old)) in text]
    left = [path for path in left if path.name not in ("RECORD", "SOURCES.txt")]
    if os.name != "nt":
        assert left == []
        bare = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
        found = subprocess.check_output([str(tool)], env=bare, text=True, encoding="utf-8")
        assert found.startswith(str(new))
    # and the next start has nothing to do
    monkeypatch.setattr(setup, "set_up", lambda folder: pytest.fail("set up again"))
    setup.prepare(folder)


def test_a_folder_that_moved_twice_and_back(home, monkeypatch, tmp_path):
    for name in ("a", "a b", "a", "old home"):
        home.ROOT.rename(tmp_path / name)
        home = run_py(tmp_path / name, monkeypatch)
        home.prepare(home.venv_folder())
        assert home.installs == []
        assert where(home, home.venv_folder()) == (tmp_path / name / "mtlkit").resolve()


def test_a_copy_is_linked_to_itself_and_the_first_stays_as_it_is(home, monkeypatch, tmp_path):
    shutil.copytree(home.ROOT, tmp_path / "copy", symlinks=True)
    before = texts(home.venv_folder())
    copy = run_py(tmp_path / "copy", monkeypatch)
    copy.prepare(copy.venv_folder())
    assert copy.installs == []
    assert where(copy, copy.venv_folder()) == (tmp_path / "copy" / "mtlkit").resolve()
    assert texts(home.venv_folder()) == before
    home.prepare(home.venv_folder())
    assert where(home, home.venv_folder()) == (home.ROOT / "mtlkit").resolve()


def test_an_environment_elsewhere_follows_its_checkout_and_keeps_its_files(
    home, monkeypatch, tmp_path
):
    own = tmp_path / "own"  # made by hand: no mark, and programs of its own
    shutil.copytree(home.venv_folder(), own, symlinks=True)
    (own / home.MARK).unlink()
    shutil.rmtree(home.venv_folder())
    monkeypatch.setenv("MTLKIT_VENV", str(own))
    home.write_stamp(own, home.wanted_stamp(own))
    programs = {p: t for p, t in texts(own).items() if p.parent == home.venv_python(own).parent}
    new = home.ROOT.rename(tmp_path / "new")
    setup = run_py(new, monkeypatch)
    setup.prepare(setup.venv_folder())
    assert setup.installs == [] and where(setup, own) == (new / "mtlkit").resolve()
    assert {path: texts(own)[path] for path in programs} == programs
    assert not setup.is_ours(own)


@pytest.mark.parametrize(
    "lacks", ["finder", "link", "half a finder", "paths", "stamp", "old stamp"]
)
def test_where_linking_cannot_help_pip_is_asked(home, monkeypatch, tmp_path, lacks):
    folder = home.venv_folder()
    (finder,) = packages(folder).glob("__editable___mtlkit*finder.py")
    if lacks == "finder":
        finder.unlink()
    elif lacks == "link":
        next(packages(folder).glob("__editable__*.pth")).unlink()
    elif lacks == "half a finder":
        text = finder.read_text(encoding="utf-8")
        finder.write_text(text.replace("MAPPING: dict[str, str] = {", "MAPPING = {'", 1))
    elif lacks == "paths":
        stamp = home.read_stamp(folder) | {"checkout": "somewhere"}
        home.write_stamp(folder, stamp)
    else:
        text = "" if lacks == "stamp" else "0" * 64 + "\n"  # as version 0.2.0 wrote it
        (folder / home.STAMP).write_text(text, encoding="utf-8")
    new = home.ROOT.rename(tmp_path / "new")
    setup = run_py(new, monkeypatch)
    setup.prepare(setup.venv_folder())
    assert setup.installs == [new / ".venv"]


def test_other_requirements_are_installed_wherever_the_folder_is(home, monkeypatch, tmp_path):
    new = home.ROOT.rename(tmp_path / "new")
    (new / "requirements.txt").write_text("torch==2.14.0\n", encoding="utf-8")
    setup = run_py(new, monkeypatch)
    setup.prepare(setup.venv_folder())
    assert setup.installs == [new / ".venv"]


@pytest.mark.parametrize("begun", [False, True])
def test_a_pip_that_fails_loses_what_was_there_only_if_it_began(home, monkeypatch, begun):
    folder, file = home.venv_folder(), home.ROOT / "requirements.txt"
    before = file.read_text(encoding="utf-8")

    def fail(folder, used=False):
        assert used or begun
        if begun:
            (packages(folder) / "torch-2.14.0.dist-info").mkdir(exist_ok=True)
        raise home.SetupError("no network")

    monkeypatch.setattr(home, "install", fail)
    file.write_text("torch==2.14.0\n", encoding="utf-8")
    with pytest.raises(home.SetupError, match="no network"):
        home.prepare(folder)
    file.write_text(before, encoding="utf-8")  # back to the version that was installed
    if begun:
        with pytest.raises(home.SetupError, match="no network"):
            home.prepare(folder)
    else:
        home.prepare(folder)


@pytest.mark.parametrize(("used", "advice"), [(True, "Rename"), (False, "Delete")])
def test_who_has_a_used_environment_is_not_told_to_delete_it(
    home, monkeypatch, tmp_path, used, advice
):
    spec = importlib.util.spec_from_file_location("fresh", home.ROOT / "run.py")
    fresh = importlib.util.module_from_spec(spec)  # with the real install
    spec.loader.exec_module(fresh)
    monkeypatch.setattr(fresh.subprocess, "call", lambda command, cwd: 1)
    with pytest.raises(fresh.SetupError, match=f"{advice} the folder"):
        fresh.install(home.venv_folder(), used=used)


@posix
@pytest.mark.parametrize("place", ["/a/b", "/a b/c", "/" + "x" * 200])
def test_a_script_starts_from_any_path(home, tmp_path, place):
    python = tmp_path / place.strip("/") / "python"
    script = home.any_path(b"#!" + os.fsencode(str(python)) + b"\nprint('hello')\n")
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    path = tmp_path / "script"
    path.write_bytes(script)
    path.chmod(0o755)
    assert subprocess.check_output([str(path)], text=True).strip() == "hello"
    assert home.any_path(script) == script
    assert home.any_path(b"no script\n") == b"no script\n"


# Two starts at once

DRIVER = """
import importlib.util, pathlib, sys, time
spec = importlib.util.spec_from_file_location("run", sys.argv[1])
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)
log, venv = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
run.what_is_wrong = lambda folder: ""

def note(word):
    with log.open("a") as file:
        file.write(f"{word} ")

def make_venv(folder):
    note("begin")
    folder.mkdir()
    run.write_mark(folder)
    note("made")

def install(folder, **_):
    for _ in range(int(sys.argv[4])):
        time.sleep(0.1)
    note("end")

run.make_venv, run.install = make_venv, install
try:
    run.prepare(venv)
    note("ready")
except run.SetupError as problem:
    print(problem)
"""


def start(home, tmp_path, tenths=20):
    log = tmp_path / "log"
    log.touch()
    command = [sys.executable, "-c", DRIVER, home.ROOT / "run.py", log, tmp_path / "env", tenths]
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )


def wait_for(word, log):
    for _ in range(600):
        if word in log.read_text():
            return
        time.sleep(0.1)
    raise AssertionError(f"no {word} in {log.read_text()!r}")


def test_of_several_first_starts_one_sets_up_and_the_others_wait(home, tmp_path):
    first = start(home, tmp_path, 80)
    wait_for("made", tmp_path / "log")
    others = [start(home, tmp_path) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in (first, *others)]
    assert [process.returncode for process in (first, *others)] == [0, 0, 0]
    words = (tmp_path / "log").read_text().split()
    assert sorted(words) == ["begin", "end", "made", "ready", "ready", "ready"]
    assert words[:3] == ["begin", "made", "end"]
    assert "waiting until it is done" in said[1] + said[2] and "waiting" not in said[0]
    if os.name != "nt":
        assert not (tmp_path / "env.lock").exists()


def test_a_start_that_was_killed_holds_nobody_up(home, tmp_path):
    first = start(home, tmp_path, 3000)
    wait_for("made", tmp_path / "log")
    second = start(home, tmp_path, 0)
    assert "waiting" in second.stdout.readline()
    first.kill()
    first.wait()
    first.stdout.close()
    second.communicate(timeout=120)
    assert (tmp_path / "log").read_text().split() == ["begin", "made", "end", "ready"]


def test_a_lock_whose_file_is_gone_is_no_lock(home, tmp_path):
    path = tmp_path / "x.lock"
    with path.open("ab") as file:
        assert home.try_lock(file) and home.is_at(file, path)
        if os.name != "nt":
            path.unlink()
            assert not home.is_at(file, path)
            path.touch()
            assert not home.is_at(file, path)


@posix
def test_a_file_system_without_locks_does_not_stop_the_set_up(home, monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError(home.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(home.fcntl, "flock", refuse)
    with home.only_one(tmp_path / "env"):
        pass


# Whose environment it is


def broken(folder, how):
    """Break an environment in one way; the sentence that says so."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if how == "no pip":
        shutil.rmtree(packages(folder) / "pip")
        return "no pip that works"
    if how == "no Python":
        shutil.rmtree(python.parent)
        return "holds no Python"
    python.unlink()
    if how == "Python gone":
        python.symlink_to(folder / "gone" / "python")
        return r"Python that it was made with \(.*gone.*\) is gone"
    if how == "no program":
        python.write_bytes(b"\x7fELF no program")
        python.chmod(0o755)
        return "its Python does not start"
    other = '#!/bin/sh\necho "3.9"\n'  # an environment of another Python
    python.write_text(other, encoding="utf-8")
    python.chmod(0o755)
    return f"environment of Python 3.9, and this is Python {HAVE}"


HOW = ["no pip", "no Python", "Python gone", "no program", "another Python"]
if os.name == "nt":
    HOW = HOW[:2]
WHOSE = ["nobody", "version 0.1", "another checkout", "another place", "mark is a link"]


def sign(setup, folder, whose, tmp_path):
    """Mark the environment as somebody's."""
    if whose == "version 0.1":
        (folder / "mtlkit-installed.txt").write_text("x", encoding="utf-8")
    elif whose == "another checkout":
        text = f"run.py of mtlkit made this folder.\n{tmp_path / 'theirs'}\n{folder}\n"
        (folder / setup.MARK).write_text(text, encoding="utf-8")
    elif whose == "another place":
        text = f"run.py of mtlkit made this folder.\n{setup.ROOT}\n{tmp_path / 'moved from'}\n"
        (folder / setup.MARK).write_text(text, encoding="utf-8")
    elif whose == "mark is a link":
        setup.write_mark(folder)
        (folder / setup.MARK).rename(tmp_path / "mark")
        (folder / setup.MARK).symlink_to(tmp_path / "mark")


@pytest.mark.parametrize(("how", "whose"), list(itertools.product(HOW, WHOSE)))
@pytest.mark.parametrize("way", ["link", "MTLKIT_VENV"])
def test_an_environment_of_somebody_else_is_never_emptied(monkeypatch, tmp_path, how, whose, way):
    monkeypatch.delenv("MTLKIT_VENV", raising=False)
    setup = run_py(project_in(tmp_path / "project"), monkeypatch)
    folder = environment_in(tmp_path / "theirs" / ".venv")
    (folder / "note.txt").write_text("mine", encoding="utf-8")
    try:
        sign(setup, folder, whose, tmp_path)
        sentence = broken(folder, how)
        if way == "link":
            (setup.ROOT / ".venv").symlink_to(folder, target_is_directory=True)
    except OSError:
        pytest.skip("this machine makes no links")
    if way != "link":
        monkeypatch.setenv("MTLKIT_VENV", str(folder))
    before = sorted(folder.rglob("*"))
    with pytest.raises(setup.SetupError, match=sentence) as found:
        setup.prepare(setup.venv_folder())
    assert sorted(folder.rglob("*")) == before and setup.installs == []
    text = " ".join(str(found.value).split())
    maker = {"another checkout": f"run.py in {tmp_path / 'theirs'} made it",
             "another place": f"run.py in {setup.ROOT} made it"}.get(whose, "")  # fmt: skip
    assert maker in text and "it is left alone" in text
    if way == "link":
        assert f"(where the link {setup.ROOT / '.venv'} leads)" in text


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("place", ["usual", "usual, old mark", "named", "linked"])
def test_a_broken_environment_of_ours_is_made_anew(monkeypatch, tmp_path, how, place, capsys):
    monkeypatch.delenv("MTLKIT_VENV", raising=False)
    setup = run_py(project_in(tmp_path / "project"), monkeypatch)
    usual = setup.ROOT / ".venv"
    folder = environment_in(usual if place.startswith("usual") else tmp_path / "named")
    if place == "named":
        monkeypatch.setenv("MTLKIT_VENV", str(folder))
    elif place == "linked":
        try:
            usual.symlink_to(folder, target_is_directory=True)
        except OSError:
            pytest.skip("this machine makes no links")
    setup.write_mark(folder)
    if place == "usual, old mark":
        (folder / setup.MARK).write_text("run.py made this folder.\n", encoding="utf-8")
    try:
        broken(folder, how)
    except OSError:
        pytest.skip("this machine makes no links")
    made = []
    monkeypatch.setattr(setup, "make_venv", made.append)
    setup.prepare(setup.venv_folder())
    assert made == setup.installs == [folder]
    assert {path.name for path in folder.iterdir()} == {setup.MARK, setup.STAMP}
    assert "It is made anew" in capsys.readouterr().out


def test_an_environment_that_gives_no_answer_is_left_alone(home, monkeypatch):
    def hang(*_, timeout, **__):
        raise subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr(home.subprocess, "run", hang)
    before = texts(home.venv_folder())
    with pytest.raises(home.SetupError, match=r"gave no answer.*\n.*Nothing was changed"):
        home.prepare(home.venv_folder())
    assert texts(home.venv_folder()) == before


def test_the_home_folder_is_never_emptied(home, monkeypatch, tmp_path):
    person = tmp_path / "person"
    (person / "photos").mkdir(parents=True)
    monkeypatch.setattr(home.Path, "home", lambda: person)
    home.write_mark(person)
    with pytest.raises(home.SetupError, match="your home folder lies in it"):
        home.empty_venv(person, "is broken")
    assert (person / "photos").is_dir()


def test_links_that_lead_nowhere_are_told(monkeypatch, tmp_path):
    monkeypatch.delenv("MTLKIT_VENV", raising=False)
    setup = run_py(project_in(tmp_path / "project"), monkeypatch)
    link = setup.ROOT / ".venv"
    try:
        link.symlink_to(tmp_path / "disk" / "venv")
    except OSError:
        pytest.skip("this machine makes no links")
    assert setup.main([]) == 2
    with pytest.raises(setup.SetupError, match="not there"):
        setup.venv_folder()
    assert not (tmp_path / "disk").exists()
    (tmp_path / "disk").mkdir()  # the disk is there: the link says where to make it
    assert setup.venv_folder() == (tmp_path / "disk" / "venv").resolve()
    link.unlink()
    link.symlink_to(link)
    assert setup.main([]) == 2 and setup.installs == []


# Bare Pythons


def test_run_py_is_read_by_older_pythons_which_can_then_say_what_is_needed():
    ast.parse((ROOT / "run.py").read_text(encoding="utf-8"), feature_version=(3, 6))


def test_run_py_starts_where_there_is_no_fcntl(monkeypatch, tmp_path):
    import types

    calls = []
    fake = types.SimpleNamespace(LK_NBLCK=2, locking=lambda *words: calls.append(words))
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    setup = run_py(project_in(tmp_path / "project"), monkeypatch)
    for _ in range(2):
        with setup.only_one(tmp_path / "env"):
            pass
    assert [words[1:] for words in calls] == [(2, 1), (2, 1)]
    assert (tmp_path / "env.lock").exists()  # Windows deletes no open file

    def busy(*_):
        raise PermissionError(setup.errno.EACCES, "busy")

    fake.locking = busy
    with (tmp_path / "env.lock").open("ab") as file:
        assert not setup.try_lock(file)
