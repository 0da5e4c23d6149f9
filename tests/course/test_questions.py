"""Quizzes, guesses, hints, progress and the record: plain text here, nothing blocks or leaves."""

import json
import os
import shutil

import ipywidgets
import pytest

from mtlkit.course import guess, hint, predict, progress, quiz
from mtlkit.course.learner import display, numerals, questions, store

QUIZ = """
quizzes:
  98.exit:
    - question: Which?
      options:
        - text: this
          right: true
          why: Yes, this.
        - text: that
          why: That confuses two things.
    - question: How many?
      options:
        - {text: one, why: Only if alone.}
        - {text: two, right: true, why: A pair.}
        - {text: three, why: One too many.}
predictions:
  98.p1: {question: "How much?", kind: number, unit: "%", low: 0, high: 100}
  98.p2: {question: "Which wins?", kind: choice, options: [a, b]}
  98.p3: {question: Order them., kind: ranking, options: [a, b, c]}
"""
CARDS = {"title": "x", "exercises": {n: {"hints": ["nudge", "answer"]} for n in ("98.1", "98.2")}}


@pytest.fixture(autouse=True)
def folder(home, tmp_path, monkeypatch):
    monkeypatch.setattr("mtlkit.course.learner.lesson.FOLDER", tmp_path)
    lesson = tmp_path / "nb98"
    lesson.mkdir()
    (lesson / "quiz.yaml").write_text(QUIZ, encoding="utf-8")
    (lesson / "cards.json").write_text(json.dumps(CARDS), encoding="utf-8")
    return lesson


def places(right):
    chosen = []
    for question in questions.quiz_questions("98.exit"):
        flags = [option.right == right for option in question.options]
        chosen.append(flags.index(True) + 1)
    return chosen


def test_a_quiz_is_shown_without_giving_its_answers_away(capsys):
    quiz("98.exit")
    said = capsys.readouterr().out
    assert "1. Which?" in said and "2. How many?" in said and ") that" in said
    assert "Yes, this" not in said and 'quiz("98.exit", 1, 1)' in said


def test_a_wrong_option_answers_the_misconception_behind_it(capsys):
    quiz("98.exit", *places(False))
    said = capsys.readouterr().out
    assert "✗ 1. that: That confuses two things." in said and "0 of 2 right." in said
    quiz("98.exit", *places(True))
    assert "2 of 2 right." in capsys.readouterr().out
    assert store.read()["quizzes"]["98.exit"]["right"] == 2


@pytest.mark.parametrize("answers", [(1,), (1, 4), (0, 1), ("this", 1), (1, 1, 1)])
def test_a_malformed_answer_is_explained_and_not_stored(answers, capsys):
    quiz("98.exit", *answers)
    assert "right." not in capsys.readouterr().out
    assert store.read()["quizzes"] == {}


def test_the_order_of_options_is_fixed_and_not_always_the_authors():
    rows = [questions.Option(str(n), n == 0, "w") for n in range(4)]
    content = [
        {
            "question": "q",
            "options": [{"text": o.text, "why": "w", "right": str(o.right)} for o in rows],
        }
    ]
    many = content * 20
    first = questions._quiz("f", "98.x", many)
    assert first == questions._quiz("f", "98.x", many)
    assert len({[o.right for o in question.options].index(True) for question in first}) > 1


def test_a_guess_is_none_until_given_and_survives_a_restart(capsys):
    predict("98.p1")
    assert guess("98.p1") is None
    assert "How much?" in capsys.readouterr().out
    predict("98.p1", 40)
    predict("98.p2", "b")
    predict("98.p3", "c", "a", "b")
    assert (guess("98.p1"), guess("98.p2"), guess("98.p3")) == (40.0, "b", ["c", "a", "b"])
    assert "Noted: 40 %." in capsys.readouterr().out
    predict("98.p3", ["a", "b", "c"])
    assert guess("98.p3") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("98.p1", 101),
        ("98.p1", "many"),
        ("98.p1", float("nan")),
        ("98.p1", ...),
        ("98.p2", "c"),
        ("98.p2", ["a"]),
        ("98.p3", ["a", "b"]),
        ("98.p3", ["a", "a", "b"]),
        ("98.p3", 3),
    ],
)
def test_a_malformed_guess_is_explained_and_not_stored(name, value, capsys):
    predict(name, value)
    assert "Noted" not in capsys.readouterr().out
    assert guess(name) is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("12,5", 12.5),
        ("0,125", 0.125),
        (" 12,5 % ", 12.5),
        ("40%", 40),
        ("1234,5", 1234.5),
        ("1,234.5", 1234.5),
        ("1.234,5", 1234.5),
        ("1,234,567", 1234567),
        ("1,234,567.25", 1234567.25),
        ("3 600", 3600),
        ("3\u202f600,5", 3600.5),
        ("3'600", 3600),
        ("\u22122,5", -2.5),
        ("-,5", -0.5),
        (",5", 0.5),
        ("1e3", 1000),
        ("2.718", 2.718),
        ((12, 5), 12.5),
        (3, 3),
        (12.345, 12.345),
    ],
)
def test_a_number_is_read_as_people_write_it(written, meant):
    assert numerals.number(written, "%") == meant


@pytest.mark.parametrize("written", ["1,234", "12,345", "999,000", "+1,234", (1, 234)])
def test_a_number_that_can_be_read_in_two_ways_is_asked_again(written):
    with pytest.raises(ValueError, match="can be read in two ways: write"):
        numerals.number(written)


@pytest.mark.parametrize(
    "written",
    ["", "many", "12,5,3", "1,23,456", "1.2.3", "12.5,3,4", "5 6", "nan", "1,2 3", (1, 2, 3)],
)
def test_what_is_no_number_is_said(written):
    with pytest.raises(ValueError, match="A number is asked for"):
        numerals.number(written)


def test_a_decimal_comma_is_noted_as_understood(capsys):
    predict("98.p1", "12,5")
    assert capsys.readouterr().out == 'Noted: 12.5 % (you wrote "12,5"). Now let us look.\n'
    assert guess("98.p1") == 12.5
    predict("98.p1", 7,5)  # fmt: skip
    assert "Noted: 7.5 %." in capsys.readouterr().out
    predict("98.p1", "1,234")
    said = capsys.readouterr().out
    assert said == "1,234 can be read in two ways: write 1.234 or 1234.\n"
    assert guess("98.p1") == 7.5


def test_a_guess_from_a_tampered_record_is_none():
    store.update(lambda record: record["guesses"].update({"98.p1": 1e9, "98.p2": [1], "98.p3": 2}))
    assert [guess(name) for name in ("98.p1", "98.p2", "98.p3")] == [None, None, None]


def test_hints_come_one_at_a_time_and_then_all(capsys):
    hint("98.1")
    assert capsys.readouterr().out == "Hint 1 of 2: nudge\n"
    hint("98.1")
    assert capsys.readouterr().out == "Hint 2 of 2: answer\n"
    hint("98.1")
    said = capsys.readouterr().out
    assert "nudge" in said and "answer" in said and "solution copy" in said


@pytest.fixture
def shown(monkeypatch):
    """Pretend a live front end: what would be shown is collected as (parts, answer)."""
    forms = []
    monkeypatch.setattr(display, "live", lambda: True)
    monkeypatch.setattr(
        display, "form", lambda parts, button, answer: forms.append((parts, answer))
    )
    return forms


def boxes(parts):
    return [part for part in parts if not isinstance(part, ipywidgets.HTML)]


def test_a_live_quiz_asks_with_buttons_and_starts_with_nothing_chosen(shown):
    quiz("98.exit")
    answer, choices = shown[0][1], boxes(shown[0][0])
    assert [box.value for box in choices] == [None, None]
    choices[0].value = places(True)[0]
    assert answer() == "Choose an option for question 2 first."
    choices[1].value = places(False)[1]
    assert "1 of 2 right." in answer()
    assert store.read()["quizzes"]["98.exit"]["answers"] == [places(True)[0], places(False)[1]]


def test_live_guesses_are_stored_and_shown_again(shown):
    for name, values in (("98.p1", ["40"]), ("98.p2", ["b"]), ("98.p3", ["c", "a", "b"])):
        predict(name)
        parts, answer = shown[-1]
        assert "No guess yet" in answer() or "Order all of" in answer()
        for box, value in zip(boxes(parts), values, strict=True):
            box.value = value
        assert answer().startswith("Noted: ")
        predict(name)
        assert [box.value for box in boxes(shown[-1][0])] == values
    assert (guess("98.p1"), guess("98.p2"), guess("98.p3")) == (40.0, "b", ["c", "a", "b"])


def test_questions_are_plain_text_outside_of_a_kernel():
    assert not display.live()


def test_unknown_names_are_sentences(capsys):
    for call, name in ((quiz, "98.x"), (predict, "98.x"), (hint, "98.7"), (quiz, "x"), (hint, "x")):
        call(name)
        assert "there is no" in capsys.readouterr().out
    assert guess("98.x") is None and guess("x") is None


def test_progress_counts_exercises_quizzes_and_guesses(capsys):
    progress()
    assert (
        "98: exercises 0 of 2 (98.1 · 98.2 ·), quiz questions 0 of 2 right"
        in capsys.readouterr().out
    )

    def change(record):
        record["checks"]["98.1"] = {"status": "right", "tries": 1}
        record["checks"]["98.2"] = {"status": "wrong", "tries": 2}

    store.update(change)
    quiz("98.exit", *places(True))
    predict("98.p2", "a")
    capsys.readouterr()
    progress("98")
    assert capsys.readouterr().out == (
        "98: exercises 1 of 2 (98.1 ✓ 98.2 ✗), quiz questions 2 of 2 right, guesses 1 of 3\n"
    )
    progress("55")
    assert "nothing to report" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{broken", "[1, 2]", '{"checks": 3}', b"\xff\xfe\x00"])
def test_a_damaged_record_is_set_aside_with_a_message(home, content, capsys):
    path = store.location()
    path.parent.mkdir(parents=True)
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    path.write_bytes(data)
    predict("98.p1", 5)
    assert guess("98.p1") == 5
    assert "is damaged: it was kept as progress.broken.json" in capsys.readouterr().out
    assert (path.parent / "progress.broken.json").read_bytes() == data
    path.write_bytes(data)
    store.read()
    assert (path.parent / "progress.broken2.json").read_bytes() == data


def test_a_full_disk_leaves_the_record_as_it_was_and_no_rest(home, monkeypatch, capsys):
    predict("98.p1", 5)
    path = store.location()
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
        predict("98.p1", 6)
    assert "cannot be written" in capsys.readouterr().out
    assert path.read_bytes() == before
    assert {entry.name for entry in path.parent.iterdir()} == {"progress.json", ".progress.lock"}
    assert guess("98.p1") == 6  # kept until the next answer


def test_a_record_that_cannot_be_written_lives_in_memory(home, capsys):
    home.mkdir()
    (home / ".mtlkit").write_text("a file where the folder should be", encoding="utf-8")
    predict("98.p1", 5)
    assert guess("98.p1") == 5.0
    assert "cannot be written" in capsys.readouterr().out
    shutil.rmtree(home)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("right: true\n", "right: false\n", "exactly one 'right: true'"),
        ("          why: That confuses two things.\n", "", "needs a 'text' and a 'why'"),
        ("    - question: Which?\n      options:", "    - options:", "'question' and 'options'"),
        ("98.exit", "97.exit", "must start with '98.'"),
        ("quizzes:", "quizes:", "may hold only"),
        ("kind: choice, options: [a, b]", "kind: choice", "two or more 'options'"),
        ("options: [a, b, c]", "options: [a, b, a]", "two options are the same"),
        ("kind: number", "kind: guess", "'kind' must be one of"),
        ("low: 0", "low: zero", "must be numbers"),
        ("predictions:", "predictions: [", "is not YAML"),
    ],
)
def test_a_broken_file_of_questions_is_refused(folder, old, new, sentence):
    assert QUIZ.count(old) >= 1
    (folder / "quiz.yaml").write_text(QUIZ.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(questions.QuestionError, match=sentence):
        questions.load("98")
