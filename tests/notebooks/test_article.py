"""The survey article's page: its links lead somewhere, its states and numbers hold."""

import re

import numpy as np
import polars as pl
import pytest
import yaml

from mtlkit.course.author import article, article_page, build
from mtlkit.course.author.article import ArticleError, Row
from mtlkit.course.author.folders import HERE, Folders, source_paths
from mtlkit.course.learner import lesson
from mtlkit.course.runner.finding_numbers import number_of

DATA = article.read(article.place())
PAGE = article_page.page(DATA)
HAVE = {path.stem[:2]: path for path in source_paths()}
BY_HEADING = {chapter.heading: chapter for chapter in DATA.chapters}


def test_the_page_in_the_appendix_is_up_to_date():
    assert article_page.place().read_text(encoding="utf-8") == PAGE


def test_every_link_leads_to_a_file_and_every_named_test_is_in_it():
    links = re.findall(r"\]\(([^) ]+)(?: \"(\w+)\")?\)", PAGE)
    assert len(links) > 100 and sum(bool(name) for _, name in links) > 15
    for link, name in links:
        path = article_page.place().parent / link
        assert path.exists(), link
        assert not name or re.search(rf"^(def|class) {name}\b", path.read_text("utf-8"), re.M), name


def test_a_section_that_is_named_is_a_heading_of_its_notebook():
    named = re.findall(r"\]\(\.\./(\d\d)_\w+\.ipynb\), \*([^*]+)\*", PAGE)
    assert len(named) > 20
    for number, heading in named:
        assert f"## {heading}\n" in HAVE[number].read_text(encoding="utf-8") + "\n", heading


def test_what_is_to_come_is_not_there_yet():
    coming = set(re.findall(r"\b(\d\d), to come", PAGE))
    for states in re.findall(r"to come in ([\d, and]+) \|", PAGE):
        coming |= set(re.findall(r"\d\d", states))
    assert len(coming) > 7 and not coming & set(HAVE)
    assert all(number <= "18" for number in coming)


@pytest.mark.parametrize("row", DATA.rows, ids=lambda row: row.part)
def test_a_row_says_in_one_of_four_ways_where_its_part_is(row):
    [line] = [
        line
        for line in PAGE.splitlines()
        if re.match(rf"\| \*\*([\d., ]+: )?{row.part}\*\* ", line)
    ]
    cells = [text.strip() for text in re.split(r"(?<!\\)\|", line)][1:-1]
    assert len(cells) == 4 and all(cells) and row.chinese in cells[0]
    kind = re.match(r"built differently: |built|to come in |left out: ", cells[3])
    assert kind
    if kind[0].startswith("built"):
        assert "](" in cells[2] and (".ipynb)" in cells[2] or not row.later)
    if kind[0] == "to come in ":
        assert row.later and ".ipynb)" not in cells[2]


PARTS = """efficiency; generalisation; better decisions; saved resources; stability; sharing eases
    conflict; data input; task definition; training; prediction; evaluation; feedback; shared
    network and task networks; encoder and decoders; cleaning; standardising; augmentation;
    concatenation; cross-entropy; squared error; SGD; Adam; accuracy; recall; weighted loss;
    hierarchical loss; adaptive loss; weighted loss as a formula; encoder as a formula;
    gradient split; gradient descent; worked example with a yes or no; worked example with a
    squared error; update rule; network; Flatten; compile; fit; evaluation print-out; many
    scenarios in one model; browsing; search intent; purchase; product recommendation; content
    recommendation; advertisement recommendation; product classification; product ranking;
    inventory forecasting; logistics and routes; medicine; finance; traffic; task imbalance;
    conflict and competition; choosing a model; designing a model; privacy; interpretability;
    computing power; tools; set-up on Windows, macOS and Linux; books, papers and courses;
    references; five frequent questions; large pre-trained models"""


def test_every_part_of_the_syllabus_table_has_its_row_and_none_stands_twice():
    parts = [row.part for row in DATA.rows]
    assert {" ".join(part.split()) for part in PARTS.split(";")} <= set(parts)
    assert len(parts) == len(set(parts))


def test_no_section_number_is_printed_but_the_two_that_are_known():
    assert {row.section for row in DATA.rows} == {"", "4.1.3, 4.2.2"}
    assert set(re.findall(r"\b\d\.\d\.\d\b", PAGE)) == {"4.1.3", "4.2.2"}


TRADITIONAL = "預測學習場務權損優網據標準類圖書問題參數與義資為這個對時單實覽購買廣庫點擊訓練"


def test_headings_are_english_and_simplified_chinese():
    headings = re.findall(r"^#+ (.+)$", PAGE, re.M)
    assert len(headings) > 18
    for heading in headings:
        assert re.fullmatch(r"[A-Z][ -~]+ \([^()]*[\u4e00-\u9fff][^()]*\)", heading), heading
    assert not set(TRADITIONAL) & set(PAGE)


def test_the_first_paragraph_says_which_terms_the_article_joins():
    first = PAGE.split("\n\n")[2]
    for word in ("**task** (任务)", "**scenario** (场景)", "多任务学习", "多场景学习"):
        assert word in first


# ------------------------------------------------------------------------------------- numbers


def from_the_files(notebook, candidate, task, reference=None, metric="auc", **where):
    """The mean over shops of candidate minus reference, or of the spread, from the text file."""
    frame = pl.read_csv(lesson.path(notebook, "evidence") / "runs.csv")
    spread = where.pop("spread", False)
    for column, value in {"task": task, "metric": metric, **where}.items():
        frame = frame.filter(pl.col(column) == value)

    def seeds(name):
        mine = frame.filter(pl.col("candidate") == name).sort("shop")
        return mine.select(r"^seed \d+$").to_numpy()  # (shop, seed)

    values = seeds(candidate) if reference is None else seeds(candidate) - seeds(reference)
    assert len(values) == 5
    return values.std(axis=1, ddof=1).mean() if spread else values.mean(axis=1).mean()


@pytest.mark.parametrize("name", [n for n, f in DATA.numbers.items() if "record" not in f])
def test_a_number_is_what_the_stored_tables_give_in_another_way(name):
    fields = dict(DATA.numbers[name])
    notebook, times = fields.pop("notebook"), fields.pop("times", 1)
    found = number_of(notebook, {**fields, "times": times})
    fields.pop("says", None), fields.pop("sign", None)
    wide = [key for key, value in fields.items() if isinstance(value, list)]
    assert len(wide) <= 1
    each = [{**fields, wide[0]: v} for v in fields[wide[0]]] if wide else [fields]
    wanted = [times * from_the_files(notebook, **one) for one in each]
    np.testing.assert_allclose(found.values, wanted, rtol=1e-6)


def test_every_number_is_named_in_a_text_or_is_a_claim_with_a_verdict():
    told = " ".join(chapter.text for chapter in DATA.chapters)
    for name, fields in DATA.numbers.items():
        assert f"{{{name}" in told or "says" in fields, name


def test_the_answers_hold_no_typed_digit_and_each_question_has_a_number():
    questions = BY_HEADING["Five frequent questions"]
    assert questions.measured and BY_HEADING["Large pre-trained models"].measured
    answers = re.split(r"^### ", questions.text, flags=re.M)[1:]
    assert [answer.split(":")[0] for answer in answers] == (
        ["First", "Second", "Third", "Fourth", "Fifth"]
    )
    assert all(re.search(r"\{\w+", answer) for answer in answers)
    assert len(re.findall(r"^- \*\*Step (one|two|three|four|five|six),", answers[3], re.M)) == 6


def test_works_are_at_most_fifteen_and_stand_in_the_sources_of_the_notebooks_named():
    works = re.findall(r"^- (.+(?:\n  .+)*)", BY_HEADING[list(BY_HEADING)[-1]].text, re.M)
    assert 10 <= len(works) <= 15
    named = 0
    for work in works:
        first = re.split(r" and others|,|:", work)[0].split()[-1]
        for number in re.findall(r"\[\[(\d\d)\]\]", work):
            source = HAVE[number].read_text(encoding="utf-8").partition('["sources"]')[2]
            assert first in source, (first, number)
            named += 1
    assert named > 6


# -------------------------------------------------------------------------- what is refused


def data(**row):
    """Data of one chapter with one row, as YAML."""
    fields = {"part": "a", "chinese": "甲", "says": "b", "here": "[[02]]"} | row
    kept = {key: value for key, value in fields.items() if value is not None}
    chapter = {"heading": "A", "chinese": "甲", "rows": [kept]}
    return {"lead": "x", "numbers": {}, "chapters": [chapter]}


def problems(tmp_path, content, folders=HERE):
    path = tmp_path / "article.yaml"
    text = content if isinstance(content, str) else yaml.safe_dump(content, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
    try:
        article_page.page(article.read(path), folders)
    except ArticleError as error:
        assert str(error) == "\n".join(error.problems)
        return error.problems
    return []


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"part": None}, "row 1: 'part' is missing"),
        ({"chinese": None}, "a: 'chinese' is missing"),
        ({"chinese": "a"}, "a: 'a' is no Chinese"),
        ({"says": ""}, "a: 'says' must be a text"),
        ({"wher": "x"}, "a: unknown key 'wher'; known: part, chinese"),
        ({"here": None}, "a: say where it is: 'here', 'later', or 'left_out'"),
        ({"here": "in 02"}, "a: 'here' names no place; write a link such as [[02]]"),
        ({"left_out": "no"}, "a: what is left out is neither 'here' nor 'later'"),
        ({"here": None, "later": ["09"], "differently": "x"}, "'differently' must say 'here'"),
        ({"here": "[[run.py]]", "later": ["09"], "differently": "x"}, "by a notebook, [[02]]"),
        ({"later": ["9"]}, "a: 'later' must be a list of notebooks"),
        ({"later": ["19"]}, "a: 'later' must be a list of notebooks"),
        ({"later": "09"}, "a: 'later' must be a list of notebooks"),
        ({"section": "four"}, "a: 'section' must be a number of the article"),
        ({"here": "[[18]]"}, "a: there is no notebook 18 yet; name it in 'later'"),
        ({"later": ["03"]}, "a: notebook 03 is there now; say under 'here' what it shows"),
        ({"says": "[[to come 03]]"}, "a: notebook 03 is there now; link it"),
        ({"here": "[[02 traps]]"}, "a: 0 sections of notebook 02 have the tag 'traps'"),
        ({"here": "[[02 exercise]]"}, "sections of notebook 02 have the tag 'exercise'"),
        ({"here": "[[mtlkit/gone.py]]"}, "a: there is no mtlkit/gone.py"),
        ({"here": "[[run.py::test_x]]"}, "a: run.py has no 'test_x'"),
        ({"says": "{gain:.2f}"}, "a: KeyError: 'gain'"),
    ],
)
def test_what_does_not_hold_is_said_in_one_sentence(tmp_path, row, sentence):
    found = problems(tmp_path, data(**row))
    assert len(found) == 1 and found[0].startswith("article.yaml: ")
    assert sentence in found[0]


GAIN = {
    "notebook": "02", "candidate": "shared, chosen weight", "reference": "separate",
    "task": "purchase", "correlation": 0.95, "rows": 60000, "says": "better",
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (GAIN | {"says": "worse"}, "it says 'worse', the stored tables say 'better'"),
        (GAIN | {"candidate": "best"}, "no candidate 'best'"),
        (GAIN | {"notebook": "00"}, "no evidence for notebook '00'"),
        (GAIN | {"spread": True}, "a spread is one candidate's own: leave out 'reference'"),
        ({"notebook": "02", "record": "gone", "value": "x"}, "0 records are named 'gone'"),
        ({"record": "gone", "value": "x"}, "'notebook' is missing"),
    ],
)
def test_a_number_that_is_not_stored_is_refused(tmp_path, fields, sentence):
    [found] = problems(tmp_path, data() | {"numbers": {"gain": fields}})
    assert found.startswith("article.yaml: number 'gain': ") and sentence in found
    assert problems(tmp_path, data(says="{gain:.2f}") | {"numbers": {"gain": GAIN}}) == []


def measured(text):
    chapter = {"heading": "A", "chinese": "甲", "text": text, "measured": True}
    return {"lead": "x", "numbers": {"gain": GAIN}, "chapters": [chapter]}


@pytest.mark.parametrize("text", ["a gain of 0.03", "on 4 of 5 shops", "50 %", "{gain:.2f}, or 3"])
def test_a_digit_typed_into_a_measured_chapter_is_refused(tmp_path, text):
    [found] = problems(tmp_path, measured(text))
    assert "it is measured, so write its numbers as {name:.2f}" in found


def test_names_with_a_digit_links_and_placeholders_may_stand_there(tmp_path):
    assert problems(tmp_path, measured("P5, [[02]], {gain:.2f}, {gain.holds}")) == []


@pytest.mark.parametrize(
    "text", ["", "[]", "lead: x", "lead: [", "lead: x\nnumbers: {}\nchapters: []", "a: 1\na: 2"]
)
def test_a_file_of_another_form_is_refused(tmp_path, text):
    [found] = problems(tmp_path, text)
    assert found.startswith("article.yaml")


@pytest.mark.parametrize("indent", ["", "  ", "      - "])
def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path, indent):
    text = yaml.safe_dump(measured("x") | data(), allow_unicode=True)
    key = {"": "lead: x", "  ": "  heading: A", "      - ": "    says: b"}[indent]
    [line] = [line for line in text.splitlines() if line.endswith(key.strip())]
    begin = " " * (len(line) - len(line.lstrip("- ")))
    text = text.replace(line, f"{line}\n{begin}{key.strip()}")
    [found] = problems(tmp_path, text)
    number = text.splitlines().index(line) + 2
    assert found == f"article.yaml: line {number}: {key.split(':')[0].strip()!r} stands twice"


def test_a_notebook_that_arrives_is_told_for_every_row_that_waits_for_it(tmp_path):
    folders = Folders(tmp_path / "notebooks", tmp_path / "lessons", tmp_path / "slides")
    folders.sources.mkdir(parents=True)
    for number in ("08", "12"):
        (folders.sources / f"{number}_new.py").write_text("", encoding="utf-8")
    with pytest.raises(ArticleError) as refused:
        article_page.page(DATA, folders)
    waiting = [row.part for row in DATA.rows for number in row.later if number in ("08", "12")]
    told = [sentence for sentence in refused.value.problems if "is there now" in sentence]
    assert len(waiting) > 5
    assert [sentence.split(": ")[1] for sentence in told] == waiting


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"here": "[[02]]"}, "built"),
        ({"here": "[[a.py]]"}, "built"),
        ({"here": "[[02]]", "later": ("12",)}, "built; more to come in 12"),
        ({"here": "[[a.py]]", "later": ("08", "12")}, "to come in 08 and 12"),
        ({"later": ("07", "08", "12")}, "to come in 07, 08 and 12"),
        ({"here": "[[02]]", "differently": "x"}, "built differently: x"),
        (
            {"here": "[[02]]", "differently": "x", "later": ("12",)},
            "built differently: x; more to come in 12",
        ),
        ({"left_out": "x"}, "left out: x"),
    ],
)
def test_a_state_follows_from_the_places(fields, state):
    assert Row("a", "甲", "b", **fields).state == state


def test_build_writes_the_page_and_check_says_when_it_is_stale(tmp_path, capsys):
    folders = Folders(tmp_path / "notebooks", tmp_path / "lessons", tmp_path / "slides")
    folders.sources.mkdir(parents=True)
    folders.lessons.mkdir()
    source = folders.lessons / article.NAME
    (tmp_path / "a.py").write_text("", encoding="utf-8")
    source.write_text(yaml.safe_dump(data(here="[[a.py]]"), allow_unicode=True), encoding="utf-8")
    page = article_page.place(folders)
    assert build.main(["--check"], folders) == 1 and not page.exists()
    assert "notebooks/appendix/article.md: differs" in capsys.readouterr().err
    assert build.main([], folders) == 0 and "**a** (甲)" in page.read_text(encoding="utf-8")
    assert build.main(["--check"], folders) == 0
    source.write_text(yaml.safe_dump(data(here="[[b.py]]"), allow_unicode=True), encoding="utf-8")
    assert build.main([], folders) == 1
    assert "there is no b.py" in capsys.readouterr().err
    source.unlink()
    assert build.main(["--check"], folders) == 1
    assert "article.md: its source is gone; delete it" in capsys.readouterr().err
