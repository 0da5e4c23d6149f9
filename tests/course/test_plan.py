"""One plan of minutes: fitted to walks, counted from the source, told alike wherever it stands."""

import dataclasses
import json
import re
import subprocess
from pathlib import Path

import pytest

from mtlkit.course.author import walks as stored
from mtlkit.course.author.counts import Counts, count, shows
from mtlkit.course.author.deck import read_deck
from mtlkit.course.author.deck_minutes import with_minutes
from mtlkit.course.author.folders import HERE, source_paths
from mtlkit.course.author.make import build_one
from mtlkit.course.author.parse import parse
from mtlkit.course.author.plan import CLASS, PACE, TALK, for_a_class, make_plan
from mtlkit.course.author.source import kept
from mtlkit.course.learner import lesson

WALKS = stored.read_walks()
NAMES = [f"{walk.notebook}-{walk.walk}" for walk in WALKS]
SOURCES = source_paths()


@pytest.mark.parametrize("walk", WALKS, ids=NAMES)
def test_the_plan_lies_near_every_walk(walk):
    assert abs(walk.planned(PACE) - walk.minutes) <= stored.NEAR * walk.minutes


def test_the_pace_is_the_one_that_fits_the_walks():
    found = stored.fitted(WALKS)
    for field in dataclasses.fields(PACE):
        wanted = getattr(found, field.name)
        assert getattr(PACE, field.name) == pytest.approx(wanted, rel=0.02), field.name


def test_a_pace_is_found_again_from_walks_that_follow_it():
    truth = dataclasses.replace(stored.START, code=0.2, shown=1.5)
    made = []
    for n in range(40):
        counts = Counts(900 + 37 * n % 600, 60 + 13 * n % 90, n % 17, n % 5, n % 11)
        minutes = truth.minutes(counts) + 3 + n
        made.append(stored.Walk("02", minutes, "", "", counts, 3, n))
    found = stored.fitted(made)
    for field in dataclasses.fields(truth):
        assert getattr(found, field.name) == pytest.approx(getattr(truth, field.name), rel=0.05)


def test_without_the_pull_the_few_walks_would_give_paces_below_zero():
    """Why it is there; once this fails, there are walks enough to think of it anew."""
    found = dataclasses.astuple(stored.fitted(WALKS, pull=1e-9))
    assert min(found) < 0 < min(dataclasses.astuple(stored.fitted(WALKS)))


def test_walked_text_is_counted_as_it_was(tmp_path, monkeypatch):
    """The counts of a walk are those of the commit that it names, where git still has it."""

    def git(*words):
        done = subprocess.run(["git", *words], cwd=HERE.notebooks, capture_output=True, check=False)
        return done.stdout.decode("utf-8") if done.returncode == 0 else ""

    seen = 0
    monkeypatch.setattr(lesson, "FOLDER", tmp_path)
    for walk in WALKS:
        listed = git("ls-tree", "--full-tree", "--name-only", walk.commit, "notebooks/src/")
        for name in [row for row in listed.split() if Path(row).name.startswith(walk.notebook)]:
            quiz = f"mtlkit/lessons/nb{walk.notebook}/quiz.yaml"
            for file, place in ((name, Path(name).name), (quiz, f"nb{walk.notebook}/quiz.yaml")):
                (tmp_path / place).parent.mkdir(exist_ok=True)
                text = git("show", f"{walk.commit}:{file}")
                (tmp_path / place).write_text(text, encoding="utf-8")
            source = parse(tmp_path / Path(name).name)
            again = stored.walk_of(source, walk.minutes, walk.walk, walk.commit)
            assert again == walk
            seen += 1
    if not seen:
        pytest.skip("no git history here")


@pytest.mark.parametrize("row", ["{notebook: '02'}", "{notebook: '02', steps: 3}", "7"])
def test_a_row_that_is_no_walk_is_named(row, tmp_path):
    path = tmp_path / "walks.yaml"
    path.write_text(stored.FILE.read_text(encoding="utf-8") + f"- {row}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"walks.yaml: row {len(WALKS) + 1} is no walk"):
        stored.read_walks(path)


def test_the_command_prints_a_row_that_can_be_stored(capsys, tmp_path):
    assert stored.main(["02", "55", "Walk of a test"]) == 0
    path = tmp_path / "walks.yaml"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    (walk,) = stored.read_walks(path)
    assert (walk.notebook, walk.minutes, walk.walk) == ("02", 55, "Walk of a test")
    assert stored.main(["02"]) == 2


# --- told alike -------------------------------------------------------------------------------


def told(text):
    """(total, read, run, exercises) as a text tells them, in the one form that there is."""
    form = r"(\d+) \((\d+) to read, (\d+) to run, (\d+) for the exercises\)"
    found = {tuple(map(int, match)) for match in re.findall(form, text)}
    assert len(found) == 1, found
    return found.pop()


@pytest.mark.parametrize("path", SOURCES, ids=[path.stem for path in SOURCES])
def test_card_page_data_and_deck_tell_the_same_minutes(path):
    built = build_one(path)
    plan = make_plan(built.source)
    total, read, run, exercises = told(built.learner.cells[0].source)
    assert total == read + run + exercises == plan.total
    assert exercises == sum(e.minutes for e in built.source.exercises.values())
    assert told(built.solution.cells[0].source) == (total, read, run, exercises)
    page, data = (built.files[place] for place in built.files)
    assert told(page) == (total, read, run, exercises)
    schedule = re.findall(r"^\| (\d+) \| .+ \| (\d+) \|$", page, re.MULTILINE)
    assert sum(int(minutes) for _, minutes in schedule) == total
    card = json.loads(data)
    assert list(card["minutes"].values()) == [total, read, run, exercises]
    assert card["class"] in page
    deck = with_minutes(read_deck(HERE.slides / f"{path.stem}.md"), card)
    first = deck.text.split("\n---\n")[1]
    assert told(first) == (total, read, run, exercises) and card["class"] in first


@pytest.mark.parametrize("path", SOURCES, ids=[path.stem for path in SOURCES])
def test_the_rows_of_a_plan_follow_the_notebook(path):
    source = parse(path)
    plan = make_plan(source)
    assert all(row.minutes >= 1 for row in plan.rows)
    own = [(row.exercise, row.minutes) for row in plan.rows if row.exercise]
    assert own == [(e.id, e.minutes) for e in source.exercises.values()]
    exact = PACE.minutes(count(kept(source, "learner"), source.number)) + plan.run + plan.exercises
    assert abs(plan.total - exact) <= 1
    assert abs(sum(plan.sections.values()) - (exact - plan.exercises)) < 1e-9
    headings = re.findall(r"^# ## +(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    shown = " ".join(row.name for row in plan.rows)
    assert [name for name in headings if name not in shown] == []


# --- counted from the source --------------------------------------------------------------------

PIECES = {
    "words": "# %% [markdown]\n# " + "word " * 800,
    "code": "# %%\n" + "x = 1\n" * 30,
    "shown": "# %%\n" + "plot.lines()\n\n# %%\n" * 4,
    "guesses": '# %% tags=["predict"]\n' + 'predict("97.p1")\n' * 4,
}
NOT_FOR_LEARNERS = {
    "solution": '# %% [markdown] tags=["solution"]\n# ',
    "instructor": '# %% [markdown] tags=["instructor"]\n# ',
    "Chinese": '# %% [markdown] tags=["lang-zh"] of="ce1fa0ef"\n# ',
}


def total_with(small, text):
    before = small.read_text(encoding="utf-8")
    small.write_text(f"{before}\n{text}\n", encoding="utf-8", newline="\n")
    total = make_plan(parse(small)).total
    small.write_text(before, encoding="utf-8", newline="\n")
    return total


@pytest.mark.parametrize("piece", PIECES)
def test_each_piece_that_a_learner_meets_takes_its_time(piece, small):
    before = make_plan(parse(small)).total
    assert total_with(small, PIECES[piece]) > before + 1


@pytest.mark.parametrize("audience", NOT_FOR_LEARNERS)
def test_what_a_learner_does_not_see_takes_none(audience, small):
    before = make_plan(parse(small)).total
    assert total_with(small, NOT_FOR_LEARNERS[audience] + "word " * 8000) == before


def test_folded_code_takes_none_and_what_it_shows_does(small):
    before = make_plan(parse(small)).total
    assert total_with(small, '# %% tags=["hide-input"]\n' + "x = 1\n" * 300) == before
    shown = '# %% tags=["hide-input"]\nplot.lines()\n\n' * 10
    assert total_with(small, shown) == pytest.approx(before + 10 * PACE.shown, abs=1)


def test_minutes_of_runs_and_of_exercises_are_those_of_the_cards(edit):
    before = make_plan(parse(edit("# minutes: 3", "# minutes: 13")))
    after = make_plan(parse(edit("# run: 1", "# run: 8")))
    assert after.total == before.total + 7 and after.exercises == before.exercises == 13
    assert after.read == before.read


def test_questions_of_a_quiz_are_counted_from_the_lesson(small, tmp_path, monkeypatch):
    monkeypatch.setattr(lesson, "FOLDER", tmp_path)
    option = "{text: a, right: true, why: w}, {text: b, why: w}"
    asked = "".join(f"    - {{question: q{n}, options: [{option}]}}\n" for n in range(10))
    before = make_plan(parse(small)).total
    (tmp_path / "nb97").mkdir()
    (tmp_path / "nb97" / "quiz.yaml").write_text(f"quizzes:\n  97.exit:\n{asked}", encoding="utf-8")
    after = make_plan(parse(small)).total
    assert after == pytest.approx(before + 10 * PACE.questions, abs=1.5)


@pytest.mark.parametrize("line", ["# read: 2\n", "# read: 999\n", ""])
def test_the_once_typed_minutes_to_read_change_nothing(line, edit):
    assert make_plan(parse(edit("# read: 2\n", line))).total == 6


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plot.lines()", True),
        ("x = 1\nx", True),
        ("print(x)", True),
        ("x = plot.lines()", False),
        ('"""A text."""', False),
        ('check("2.1", x)', False),
        ('record("a", x)\nx = 1', False),
        ("def f():\n    plot.lines()", False),
        ("%matplotlib", False),
    ],
)
def test_a_cell_shows_something_where_a_value_stands_alone(text, wanted):
    assert shows(text) is wanted


# --- a class ----------------------------------------------------------------------------------


@pytest.mark.parametrize("total", range(40, 120, 3))
@pytest.mark.parametrize("saved", [[], [6], [6, 4, 12], [20, 20]])
def test_a_class_cuts_no_more_and_no_less_than_it_must(total, saved):
    said = for_a_class(total, saved)
    room = CLASS - TALK
    if total <= room:
        assert f"{CLASS - total} are left" in said
    elif total - sum(saved) > room:
        assert "two sessions" in said
    else:
        match = re.search(r"the first (?:(\d+) )?cuts?, which saves (\d+) minutes", said)
        number = int(match[1] or 1)
        assert int(match[2]) == sum(saved[:number])
        assert total - sum(saved[:number]) <= room < total - sum(saved[: number - 1])
