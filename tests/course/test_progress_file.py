"""The learner's record: no answer is lost, and no file can stop a notebook."""

import json
import os
import random
import string
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from mtlkit.course import check, guess, hint, predict, progress, quiz
from mtlkit.course.learner import home as places
from mtlkit.course.learner import store
from mtlkit.course.learner.checker import REGISTRY, checker
from mtlkit.course.learner.entries import PARTS, sound
from mtlkit.course.learner.record import record_folder
from mtlkit.files import write_text

ROOT = Path(__file__).parents[2]
QUIZ = """
quizzes:
  98.exit:
    - question: Which?
      options: [{text: this, right: true, why: Yes.}, {text: that, why: No.}]
predictions:
  98.p1: {question: "How much?", kind: number}
  98.p2: {question: "Which wins?", kind: choice, options: [a, b]}
  98.p3: {question: Order them., kind: ranking, options: [a, b, c]}
"""
CARDS = {"title": "x", "exercises": {"98.1": {"hints": ["nudge", "answer"]}}}
GOOD = {
    "checks": {"97.1": {"status": "right", "tries": 2}},
    "hints": {"97.1": 1},
    "quizzes": {"97.exit": {"answers": [1, 2], "right": 1, "of": 2}},
    "guesses": {"97.p1": 0.5, "97.p2": "über", "97.p3": ["b", "a"]},
    "skipped": {"97.p4": True},
}


@pytest.fixture(autouse=True)
def lesson(home, tmp_path, monkeypatch):
    monkeypatch.setattr("mtlkit.course.learner.lesson.FOLDER", tmp_path)
    monkeypatch.setattr(store, "PATIENCE", 0.2)
    (tmp_path / "nb98").mkdir()
    (tmp_path / "nb98" / "quiz.yaml").write_text(QUIZ, encoding="utf-8")
    (tmp_path / "nb98" / "cards.json").write_text(json.dumps(CARDS), encoding="utf-8")
    before = dict(REGISTRY)

    @checker("98.1", solution=1, stub=..., wrong=[])
    def right(answer):
        pass

    yield
    REGISTRY.clear()
    REGISTRY.update(before)


ANSWERS = """
import sys
from mtlkit.course.learner.store import update
for n in range(60):
    update(lambda record: record["guesses"].update({f"{sys.argv[1]}.p{n}": n}))
"""


def test_every_answer_of_two_notebooks_at_once_arrives(home):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MTLKIT_HOME": str(home)}
    both = [
        subprocess.Popen([sys.executable, "-c", ANSWERS, name], cwd=ROOT, env=environment)
        for name in ("1", "2")
    ]
    assert [one.wait(timeout=300) for one in both] == [0, 0]
    found = store.read()["guesses"]
    assert found == {f"{name}.p{n}": n for name in ("1", "2") for n in range(60)}


def deep(text="["):
    return text * 100_000


FILES = {
    "nothing": b"",
    "no json": b"{broken",
    "a list": b"[1]",
    "a number": b"7",
    "null": b"null",
    "a part that is a list": b'{"checks": [1]}',
    "bytes": bytes(range(256)),
    "deep": deep().encode(),
    "deep in a part": ('{"guesses": ' + deep('{"a":') + "1").encode(),
    "bom": b'\xef\xbb\xbf{"x": 1}',
    "utf-16": '{"checks": {}}'.encode("utf-16"),
    "half a character": rb'{"guesses": {"98.p2": "\ud800"}}',
    "key of half a character": rb'{"x\udfff": {"\ud800": 1}}',
    "nan": b'{"guesses": {"98.p1": NaN}}',
    "huge": b'{"guesses": {"98.p1": 1' + b"0" * 400 + b'}, "hints": {"98.1": 1e999}}',
    "later": b'{"version": 2, "badges": {"gold": [1, {"a": null}]}}',
}
STRANGE = [
    None, True, -1, 0, 2.5, 10**30, "", "a", "right", [], [[]], ["a"], ["a", "b", "c"], {},
    {"a": 1},
    {"status": "right"}, {"status": [], "tries": 1}, {"status": "done", "tries": 1},
    {"status": "right", "tries": "two"}, {"status": "right", "tries": -1}, {"tries": 1},
    {"right": "x"}, {"right": None, "answers": 1, "of": 1}, {"answers": [{}], "right": 1, "of": 1},
]  # fmt: skip
for place, value in enumerate(STRANGE):
    asked = f"98.p{place % 3 + 1}"
    names = {"checks": "98.1", "hints": "98.1", "quizzes": "98.exit", "guesses": asked}
    names["skipped"] = asked
    whole = {part: {name: value} for part, name in names.items()}
    FILES[f"every entry is {value!r}"[:60]] = json.dumps(whole).encode()


def everything_that_reads_and_writes():
    """All that a notebook calls; each must come to its end."""
    progress()
    progress("98")
    for name in ("98.p1", "98.p2", "98.p3"):
        guess(name)
    quiz("98.exit", 1)
    predict("98.p1", 3)
    predict("98.p1", 10**400)
    hint("98.1")
    check("98.1", 1)
    progress("98")


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_no_content_of_the_file_stops_a_notebook_or_loses_its_answer(content, capsys):
    path = store.location()
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    everything_that_reads_and_writes()
    said = capsys.readouterr().out
    assert "✓ 98.1: right" in said and "cannot be" not in said
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["checks"]["98.1"]["status"] == "right"
    assert written["guesses"]["98.p1"] == 3 and guess("98.p1") == 3
    kept = [p.read_bytes() for p in path.parent.glob("progress.broken*.json")]
    if "damaged" in said:
        assert content in kept  # set aside as it was
    else:
        assert kept == []


def mutated(draw):
    """A sound record with a few values, keys or characters exchanged."""
    text = json.dumps({"version": 1, **GOOD, "checks": {"98.1": {"status": "wrong", "tries": 1}}})
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(text))
        text = text[:at] + draw.choice(string.printable) + text[at + draw.randrange(3) :]
    return text.encode("utf-8")


def test_a_record_that_was_scribbled_in_never_stops_a_notebook(capsys):
    draw, path = random.Random(0), store.location()
    path.parent.mkdir(parents=True)
    for _ in range(60):
        content = mutated(draw)
        path.write_bytes(content)
        check("98.1", 1)
        assert store.read()["checks"]["98.1"]["status"] == "right", content
        assert "could not be recorded" not in capsys.readouterr().out


def test_sound_entries_beside_damaged_ones_stay(capsys):
    path = store.location()
    write_text(path, json.dumps({**GOOD, "hints": {"97.1": 1, "97.2": "many"}, "more": [1]}))
    check("98.1", 1)
    assert "1 damaged entries" in capsys.readouterr().out
    written = json.loads(path.read_text(encoding="utf-8"))
    for part in PARTS:
        assert GOOD[part].items() <= written[part].items()
    assert written["more"] == [1] and "97.2" not in written["hints"]
    assert "97.2" in (path.parent / "progress.broken.json").read_text(encoding="utf-8")
    check("98.1", 1)
    assert "damaged" not in capsys.readouterr().out
    assert sound(GOOD) == (GOOD, [])


@pytest.mark.parametrize("what", ["progress.json", ".progress.lock", ""])
def test_a_folder_or_a_file_in_the_way_stops_nothing(what, capsys):
    place = store.location().parent / what
    if what:
        place.mkdir(parents=True)
    else:
        place.parent.mkdir(parents=True)
        place.write_text("a file", encoding="utf-8")
    everything_that_reads_and_writes()
    assert "cannot be written" in capsys.readouterr().out
    assert guess("98.p1") == 3 and store.read()["checks"]["98.1"]["status"] == "right"


def test_what_could_not_be_written_goes_with_the_next_answer(monkeypatch, capsys):
    path = store.location()
    predict("98.p1", 1)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        predict("98.p2", "a")
        check("98.1", 1)
    assert capsys.readouterr().out.count("the disk is full") == 2
    assert json.loads(path.read_text(encoding="utf-8"))["guesses"] == {"98.p1": 1}
    store.update(lambda record: record["guesses"].update({"97.p1": 5}))  # of another notebook, say
    predict("98.p3", ["c", "b", "a"])
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["guesses"] == {"97.p1": 5, "98.p1": 1, "98.p2": "a", "98.p3": ["c", "b", "a"]}
    assert written["checks"]["98.1"] == {"status": "right", "tries": 1} and store._waiting == []


def test_a_notebook_that_holds_the_lock_too_long_costs_no_answer(capsys):
    predict("98.p1", 1)
    with FileLock(store.location().with_name(".progress.lock")):
        predict("98.p1", 2)
        assert "another notebook is writing it" in capsys.readouterr().out
        assert guess("98.p1") == 2
    check("98.1", 1)
    assert json.loads(store.location().read_text(encoding="utf-8"))["guesses"] == {"98.p1": 2}


@pytest.mark.parametrize("method", ["read_bytes", "replace"])
def test_a_system_that_refuses_for_a_moment_is_asked_again(monkeypatch, capsys, method):
    predict("98.p1", 1)
    original, refusals = getattr(Path, method), [3]

    def busy(self, *arguments):
        if refusals[0] and "progress" in self.name:
            refusals[0] -= 1
            raise PermissionError(13, "in use by another process")
        return original(self, *arguments)

    monkeypatch.setattr(Path, method, busy)
    predict("98.p1", 2)
    assert refusals == [0] and "cannot" not in capsys.readouterr().out
    assert guess("98.p1") == 2


def test_a_change_that_is_wrong_itself_is_raised_and_waits_for_nothing():
    with pytest.raises(ZeroDivisionError):
        store.update(lambda record: 1 / 0)
    assert store._waiting == []


# Where it lies


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A course folder without MTLKIT_HOME, and a data folder of the user."""
    monkeypatch.delenv("MTLKIT_HOME")
    monkeypatch.delenv("MTLKIT_RECORD", raising=False)
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: tmp_path / "user data")
    folder = tmp_path / "course"
    (folder / "notebooks").mkdir(parents=True)
    folder.chmod(0o755)
    monkeypatch.setattr(places, "CHECKOUT", folder)
    return folder


posix = pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners are POSIX")


def shared(monkeypatch, folder, how):
    if how == "of another user":
        monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    elif how == "open to all":
        folder.chmod(0o777)
    else:
        monkeypatch.setattr(os, "access", lambda *_: False)


@posix
@pytest.mark.parametrize("how", ["of another user", "open to all", "read-only"])
def test_progress_of_a_shared_or_read_only_course_goes_to_the_users_folder(
    checkout, tmp_path, monkeypatch, how
):
    assert store.location() == checkout / ".mtlkit" / "progress.json"
    assert record_folder() == checkout / ".mtlkit" / "records"
    shared(monkeypatch, checkout, how)
    assert store.location() == tmp_path / "user data" / "progress.json"
    assert record_folder() == tmp_path / "user data" / "records"
    check("98.1", 1)
    assert store.read()["checks"]["98.1"]["status"] == "right"
    assert not (checkout / ".mtlkit").exists()
    monkeypatch.setenv("MTLKIT_HOME", str(tmp_path / "chosen"))
    assert store.location() == tmp_path / "chosen" / ".mtlkit" / "progress.json"


@posix
def test_progress_that_is_mine_already_stays_where_it_is(checkout):
    check("98.1", 1)
    checkout.chmod(0o777)
    assert store.location() == checkout / ".mtlkit" / "progress.json"


def test_where_owners_are_not_told_a_folder_is_mine_if_it_takes_files(checkout, monkeypatch):
    monkeypatch.delattr(os, "getuid", raising=False)
    assert places.is_own(checkout)

    def refuse(*_, **__):
        raise PermissionError(13, "no")

    monkeypatch.setattr(Path, "touch", refuse)
    assert not places.is_own(checkout)
