#!/usr/bin/env python3
"""Set up mtlkit and run it: ``python3 run.py lab``, ``course``, ``test``, ``doctor`` and more.

Needs nothing but Python. Makes a virtual environment in ``.venv`` beside this file, installs
requirements.txt into it once per change, then runs ``python -m mtlkit`` there with your arguments
and returns its exit code. The environment variable MTLKIT_VENV puts the environment elsewhere.
An environment that you made yourself, or that belongs to another copy of mtlkit, is used if it
works, and is never deleted. Where this folder moved, its environment is linked anew, without a
network. Of several starts at once one sets up and the others wait.
"""

# A Python too old to read this file prints the next line as it gives up, so it says what to do.
NEEDS: str = "run.py needs Python 3.10 to 3.13: python3 run.py, or on Windows: py -3.13 run.py"

import ast
import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, Iterator

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

ROOT = Path(__file__).resolve().parent
OLDEST, NEWEST = (3, 10), (3, 13)
STAMP = "mtlkit-requirements.txt"  # what is installed, in any environment that we use
MARK = "mtlkit-environment.txt"  # this environment was made here and may be made anew
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class SetupError(Exception):
    """Something stops the set-up; the message says what and how to mend it."""


def say(text: str = "") -> None:
    print(text, flush=True)


def check_python(version: tuple, system: str, machine: str, bits: int) -> None:
    """Refuse a Python on which PyTorch cannot be installed, in one plain sentence."""
    have = ".".join(str(part) for part in version[:3])
    if not OLDEST <= tuple(version[:2]) <= NEWEST:
        raise SetupError(
            f"mtlkit needs Python 3.10 to 3.13, and this is Python {have} ({sys.executable}).\n"
            "Install Python 3.13 from https://www.python.org/downloads/ and run\n"
            "  Linux, macOS:  python3.13 run.py\n"
            "  Windows:       py -3.13 run.py"
        )
    if bits < 64:
        raise SetupError(
            f"This Python {have} is a 32-bit one, and PyTorch needs 64 bits.\n"
            "Install the 64-bit Python from https://www.python.org/downloads/ and try again."
        )
    if system == "Darwin" and machine == "x86_64":
        raise SetupError(
            "This Python is built for Intel Macs, for which PyTorch makes no new releases.\n"
            "On a Mac with an Apple chip: install the universal Python from\n"
            "https://www.python.org/downloads/ and run it in a Terminal without Rosetta.\n"
            "On an Intel Mac: use a Linux container, or a notebook service on the web."
        )


def chosen_place() -> Path:
    """Where the environment is asked for: MTLKIT_VENV, otherwise ``.venv`` beside this file."""
    chosen = os.environ.get("MTLKIT_VENV")
    return Path(chosen).expanduser() if chosen else ROOT / ".venv"


def venv_folder() -> Path:
    """The folder of the virtual environment.

    A link is followed, so that what is looked at, made and emptied is always one real folder.
    """
    place = chosen_place()
    folder = place.resolve()
    if folder.is_symlink():
        raise SetupError(f"{place} is a link that leads back to itself: remove it.")
    if place.is_symlink() and not folder.parent.is_dir():
        raise SetupError(
            f"{place} is a link to {folder}, and {folder.parent} is not there.\n"
            "Bring it back (is it on a disk that is not connected?), or remove the link."
        )
    return folder


def called(folder: Path) -> str:
    """The folder in words: with the link that leads to it, where there is one."""
    place = chosen_place()
    linked = place.is_symlink() and place.resolve() == folder
    return f"{folder} (where the link {place} leads)" if linked else str(folder)


def venv_python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def wanted_stamp(folder: Path) -> dict:
    """What must be installed (a hash of all that decides it), and for which folders."""
    digest = hashlib.sha256()
    for name in ("requirements.txt", "pyproject.toml"):
        # Text mode, so that a checkout with Windows line ends has the same hash.
        digest.update((ROOT / name).read_text(encoding="utf-8").encode())
        digest.update(b"\0")
    digest.update(f"{sys.version_info[0]}.{sys.version_info[1]}".encode())
    needs = digest.hexdigest()
    return {"requirements": needs, "checkout": str(ROOT), "environment": str(folder)}


def read_stamp(folder: Path) -> dict:
    """What was installed, as ``wanted_stamp``; empty where nobody knows."""
    try:
        found = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    known = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    return found if known else {}


def write_stamp(folder: Path, stamp: dict) -> None:
    """Written after success only."""
    replace_file(folder / STAMP, json.dumps(stamp, indent=1).encode("utf-8"))


def replace_file(path: Path, content: bytes) -> None:
    """Write a file by a rename, so that no half-written one can exist."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(content)
    if path.exists():
        shutil.copymode(str(path), str(temporary))
    temporary.replace(path)


def ask(python: Path, program: str) -> tuple:
    """(exit code, first line) of a program in the environment's Python.

    OSError where it cannot be started, SetupError where it gives no answer.
    """
    try:
        answer = subprocess.run(
            [str(python), "-I", "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=300,
            cwd=str(python.parent),
        )
    except subprocess.TimeoutExpired:
        raise SetupError(
            f"{python} gave no answer within five minutes. The machine or its disk is very busy:\n"
            "wait a little and run the same command again. Nothing was changed."
        ) from None
    lines = os.fsdecode(answer.stdout).splitlines()
    return answer.returncode, lines[0].strip() if lines else ""


def what_is_wrong(folder: Path) -> str:
    """Why the environment cannot be used, as the end of a sentence about it; "" if it can."""
    python, have = venv_python(folder), "%d.%d" % sys.version_info[:2]
    if not folder.is_dir():
        return "is a file, and no folder of an environment"
    if not python.exists():
        if python.is_symlink():
            maker = python.readlink()
            return f"is broken: the Python that it was made with ({maker}) is gone"
        return "is no environment, or a half-made one: it holds no Python"
    program = "import sys; print('%d.%d' % sys.version_info[:2], flush=True); import pip"
    try:
        code, version = ask(python, program)
    except OSError as problem:
        return f"is broken: its Python does not start ({problem.strerror or problem})"
    if not version:
        return "is broken: its Python does not start"
    if version != have:
        return f"is an environment of Python {version}, and this is Python {have}"
    return "" if code == 0 else "is half-made or broken: it has no pip that works"


def is_ours(folder: Path) -> bool:
    """True if this very run.py made the environment: its mark says so.

    The mark names the checkout and the folder. In the usual place, beside run.py and no link, any
    mark will do: both were moved or copied together. What version 0.1 left is no mark: it wrote its
    file into environments of other people too.
    """
    mark = folder / MARK
    if mark.is_symlink() or not mark.is_file():
        return False
    return folder == ROOT / ".venv" or marked_by(folder) == [str(ROOT), str(folder)]


def marked_by(folder: Path) -> list:
    """[checkout, folder] that the mark names; empty for no mark, or one of an older version."""
    try:
        return os.fsdecode((folder / MARK).read_bytes()).splitlines()[1:3]
    except OSError:
        return []


def is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def write_mark(folder: Path) -> None:
    text = "run.py of mtlkit made this folder and may empty it and make it anew.\n"
    replace_file(folder / MARK, os.fsencode(f"{text}{ROOT}\n{folder}\n"))


def empty_venv(folder: Path, wrong: str) -> None:
    """Delete what is in a broken environment of ours, and refuse anything else.

    The mark stays, so that after a stop half-way the rest is still known as ours. The stamp goes
    first: what is being deleted is not ready.
    """
    if not is_ours(folder):
        marked = marked_by(folder)
        maker = f"The run.py in {marked[0]} made it" if marked else "run.py did not make it"
        raise SetupError(
            f"{called(folder)} {wrong}.\n"
            f"{maker}, so it is left alone: move it away, or name another place in the\n"
            "environment variable MTLKIT_VENV."
        )
    inside = (Path(sys.prefix).resolve(), ROOT, Path.home().resolve())
    if folder in inside or any(folder in path.parents for path in inside):
        raise SetupError(
            f"{called(folder)} {wrong}, and\n"
            "this Python, run.py or your home folder lies in it, so it is not emptied. Leave it\n"
            "(deactivate) and run run.py with the Python of your system, or name another place in\n"
            "the environment variable MTLKIT_VENV."
        )
    say(f"{called(folder)} {wrong}. It is made anew.")
    try:
        write_mark(folder)
        for path in sorted(folder.iterdir(), key=lambda path: (path.name != STAMP, path.name)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(str(path))
            elif path.name != MARK:
                path.unlink()
    except OSError as error:
        raise SetupError(
            f"The environment in {folder} is broken and could not be emptied: {error}.\n"
            "Close the programs that use it (JupyterLab, an editor) and run the same command again."
        ) from None


def try_lock(file: BinaryIO) -> bool:
    """Lock an open file unless somebody has; the system lets go when a process ends, in any way."""
    try:
        if fcntl is not None:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError as problem:
        # Anything else is a file system without locks: go on as if alone.
        return problem.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


def is_at(file: BinaryIO, path: Path) -> bool:
    """Whether the open file is still the one at ``path``: the last holder deletes it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator:
    """The block in which one process at a time sets up the environment; others wait here."""
    path = folder.with_name(folder.name + ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    told = False
    while True:
        file = path.open("ab")
        locked = try_lock(file)
        if locked and is_at(file, path):
            break
        file.close()
        if not (locked or told):
            say(f"Another run.py is setting up {folder}: waiting until it is done ...")
            told = True
        time.sleep(0.2)
    try:
        yield
    finally:
        if fcntl is not None:  # Windows deletes no open file: there it stays, empty
            with contextlib.suppress(OSError):
                path.unlink()
        file.close()


def make_venv(folder: Path) -> None:
    """Make the environment in a folder that is not there, empty, or emptied by us."""
    say(f"[1/2] Making a Python environment in {folder} (about 5 seconds) ...")
    folder.mkdir(parents=True, exist_ok=True)
    write_mark(folder)  # before anything else, so that a half-made one is known as ours
    if subprocess.call([sys.executable, "-m", "venv", str(folder)]) != 0:
        raise SetupError(
            "Python could not make a virtual environment; its own message stands above.\n"
            "On Debian or Ubuntu this usually helps:  sudo apt install python3-venv"
        )


def install(folder: Path, used: bool = False) -> None:
    """Run pip; ``used`` says that the environment was in use before."""
    say("[2/2] Installing PyTorch, JupyterLab and the rest of requirements.txt.")
    say("      1 to 5 minutes, once; later starts take a second. About 2 GB on disk.")
    chosen_index = os.environ.get("PIP_EXTRA_INDEX_URL") or os.environ.get("PIP_INDEX_URL")
    if sys.platform == "linux" and not shutil.which("nvidia-smi") and not chosen_index:
        say("      No NVIDIA card was found. PyTorch's standard Linux package brings several GB")
        say("      for such cards; to do without, press Ctrl+C and start again with")
        say(f"        PIP_EXTRA_INDEX_URL={CPU_INDEX} python3 run.py")
    command = [str(venv_python(folder)), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--no-input", "-r", "requirements.txt"]
    started = time.monotonic()
    code = subprocess.call(command, cwd=str(ROOT))
    if code != 0:
        remedy = "Rename" if used or not is_ours(folder) else "Delete"
        raise SetupError(
            f"pip ended with exit code {code}; its own message stands above. Nothing is lost:\n"
            "  - no network, or a proxy? Mend it and run the same command again.\n"
            "  - disk full? mtlkit needs about 4 GB while it installs.\n"
            f"  - still no luck? {remedy} the folder {folder} and run the same command again."
        )
    say(f"      Installed in {time.monotonic() - started:.0f} seconds.\n")


def packages_of(folder: Path) -> Path:
    """The folder of the environment's packages."""
    program = "import sysconfig; print(sysconfig.get_path('purelib'), flush=True)"
    code, found = ask(venv_python(folder), program)
    if code != 0 or not found:
        raise SetupError(f"{called(folder)} does not say where its packages are.")
    return Path(found)


def installed(folder: Path) -> list:
    """What pip says of what is there: names and versions."""
    return sorted(path.name for path in packages_of(folder).glob("*.dist-info"))


def moved(value: Any, old: Path, new: Path) -> Any:
    """A text, or a literal of lists and dictionaries, with every path in ``old`` now in ``new``."""
    if isinstance(value, dict):
        return {key: moved(inside, old, new) for key, inside in value.items()}
    if isinstance(value, list):
        return [moved(inside, old, new) for inside in value]
    if not isinstance(value, str):
        return value
    try:
        return str(new / Path(value).relative_to(old))
    except ValueError:
        return value


def link_package(packages: Path, old: Path, new: Path) -> None:
    """Let the editable installation that pip made for the checkout ``old`` read ``new``."""
    for path in sorted(packages.glob("__editable__*mtlkit*")):
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            table = re.match(r"(MAPPING|NAMESPACES)\b[^=]*= ", line)
            if table:
                value = ast.literal_eval(line[table.end() :])
                lines[number] = table.group() + repr(moved(value, old, new))
            elif path.suffix == ".pth":
                lines[number] = moved(line, old, new)
        replace_file(path, ("\n".join(lines) + "\n").encode("utf-8"))
    for path in (packages / "__pycache__").glob("__editable__*mtlkit*"):
        path.unlink()  # within one second it could pass as that of the new file
    for path in packages.glob("mtlkit-*.dist-info/direct_url.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.get("url") == old.as_uri():
            found["url"] = new.as_uri()
            replace_file(path, json.dumps(found).encode("utf-8"))


def link_programs(folder: Path, old: Path) -> None:
    """Let the programs of an environment that was in ``old`` (pip, pytest, activate) start here."""
    before, after = os.fsencode(str(old)), os.fsencode(str(folder))
    whole = re.compile(rb"(?<![\w.-])" + re.escape(before) + rb"(?![\w.-])")
    places = [folder / "pyvenv.cfg"] + list(folder.glob("share/jupyter/kernels/*/kernel.json"))
    for path in places + sorted(venv_python(folder).parent.iterdir()):
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if b"\0" in content or not whole.search(content):
            continue  # a program in machine language, or nothing to do
        if path.suffix == ".json":
            found = moved(json.loads(content.decode("utf-8")), old, folder)
            replace_file(path, json.dumps(found, indent=1).encode("utf-8"))
        else:
            replace_file(path, any_path(whole.sub(lambda _: after, content)))


def any_path(script: bytes) -> bytes:
    """A script whose first line names its Python, in the form that any path fits in.

    The system cuts such a line at a blank and at some 127 characters; pip writes this form then.
    """
    line, _, rest = script.partition(b"\n")
    if not line.startswith(b"#!") or line == b"#!/bin/sh" or (len(line) < 127 and b" " not in line):
        return script
    quotes = b"'" * 3  # a text for Python, a command for the shell
    start = b"#!/bin/sh\n" + quotes + b"exec' \"" + line[2:] + b'" "$0" "$@"\n' + b"' " + quotes
    return start + b"\n" + rest


def relink(folder: Path, stamp: dict) -> bool:
    """Link an environment anew after it, or the checkout, moved: nothing is fetched, no pip runs.

    Returns whether the environment's Python now finds mtlkit here.
    """
    old_root, old_folder = Path(stamp.get("checkout", "")), Path(stamp.get("environment", ""))
    if not (old_root.is_absolute() and old_folder.is_absolute()):
        return False
    say(f"{called(folder)} is linked to mtlkit in {ROOT},")
    say(f"which was in {old_root} when it was last used. Nothing is fetched.")
    try:
        link_package(packages_of(folder), old_root, ROOT)
        if old_folder != folder and (folder / MARK).is_file():
            link_programs(folder, old_folder)
            if os.name == "nt":
                say(r"Programs in Scripts still name the old place: use python -m NAME instead.")
        program = "import mtlkit; print(mtlkit.__file__, flush=True)"
        code, found = ask(venv_python(folder), program)
    except (ValueError, SyntaxError):  # other people's files by these names
        return False
    if code != 0 or Path(found).resolve().parent.parent != ROOT:
        return False
    if is_ours(folder):
        write_mark(folder)
    return True


def fill(folder: Path, stamp: dict) -> None:
    """Install; what was there is not known any more, unless pip stopped before it began."""
    if not stamp:
        install(folder)
        return
    before = installed(folder)
    (folder / STAMP).unlink()
    try:
        install(folder, used=True)
    except SetupError:
        if installed(folder) == before:
            write_stamp(folder, stamp)
        raise


def set_up(folder: Path) -> None:
    """Make, mend, link or fill the environment, whatever it lacks; alone (``only_one``)."""
    wanted = wanted_stamp(folder)
    if not folder.exists() or is_empty(folder):
        make_venv(folder)
    else:
        wrong = what_is_wrong(folder)
        if wrong:
            empty_venv(folder, wrong)
            make_venv(folder)
    stamp = read_stamp(folder)
    if stamp == wanted:
        return  # somebody else did it while we waited
    if stamp.get("requirements") != wanted["requirements"] or not relink(folder, stamp):
        if not is_ours(folder):
            say(f"{called(folder)} is an environment of your own: mtlkit is installed into it.")
        fill(folder, stamp)
    write_stamp(folder, wanted)


def prepare(folder: Path) -> Path:
    """Bring the environment up to date and return its Python."""
    if read_stamp(folder) != wanted_stamp(folder) or what_is_wrong(folder):
        with only_one(folder):
            set_up(folder)
    return venv_python(folder)


def run_mtlkit(python: Path, arguments: list) -> int:
    """Run ``python -m mtlkit`` and return its exit code; Ctrl+C is left to it."""
    environment = dict(os.environ)
    environment.setdefault("PYTHONUTF8", "1")  # Windows consoles then show Chinese and Greek
    process = subprocess.Popen([str(python), "-m", "mtlkit", *arguments], env=environment)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            continue
    return code if code >= 0 else 128 - code


def main(arguments: list) -> int:
    try:
        bits = 64 if sys.maxsize > 2**32 else 32
        check_python(tuple(sys.version_info), platform.system(), platform.machine(), bits)
        python = prepare(venv_folder())
    except SetupError as problem:
        print(problem, file=sys.stderr, flush=True)
        return 2
    except (OSError, RuntimeError) as problem:  # a folder without permission, a loop of links
        print(f"The set-up stopped: {problem}.", file=sys.stderr)
        print("Mend that, or name another place in MTLKIT_VENV.", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on.", file=sys.stderr, flush=True)
        return 130
    return run_mtlkit(python, arguments or ["--help"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
