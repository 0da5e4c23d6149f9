"""The glossary: its format, its data, its page, and what the build says of them."""

import re

import pytest

from mtlkit.course.author import build, glossary, glossary_page, lint_terms
from mtlkit.course.author.folders import HERE, source_paths
from mtlkit.course.author.glossary import GlossaryError, Term, read

GOOD = {"term": "loss", "chinese": "损失", "meaning": "How wrong.", "notebook": '"01"'}


def entry(**fields):
    """An entry as YAML; a value of None leaves the field out."""
    rows = [f"{key}: {value}" for key, value in (GOOD | fields).items() if value is not None]
    return "- " + "\n  ".join(rows) + "\n"


def problems(tmp_path, text):
    path = tmp_path / "glossary.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        read(path)
    except GlossaryError as error:
        assert str(error) == "\n".join(error.problems)
        return error.problems
    return []


def test_an_entry_is_read_with_all_its_fields(tmp_path):
    path = tmp_path / "glossary.yaml"
    more = {"symbol": r"L_k", "also": "[cost, error]", "chinese_also": "[误差]"}
    path.write_text(entry(**more, unlike="A cost in euro.", method="true"), encoding="utf-8")
    [term] = read(path)
    assert term == Term(
        "loss", "损失", "How wrong.", "01", "L_k", ("cost", "error"), ("误差",),
        "A cost in euro.", True,
    )  # fmt: skip
    assert term.forms == ("loss", "cost", "error")
    path.write_text(entry(method="false"), encoding="utf-8")
    assert read(path) == [Term("loss", "损失", "How wrong.", "01")]


OTHER = entry(term="cost", chinese="成本")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (entry(chinse="损失"), "1: 'loss': unknown key 'chinse'; known: term, chinese, meaning"),
        (OTHER + entry(chinese=None), "5: 'loss': 'chinese' is missing"),
        (entry(chinese='""'), "1: 'loss': 'chinese' is missing"),
        (entry(meaning=None), "1: 'loss': 'meaning' is missing"),
        (entry(notebook=None), "1: 'loss': 'notebook' is missing"),
        (entry(term='""'), "1: 'an entry without a term': 'term' is missing"),
        (entry() + entry(chinese="误差"), "5: 'loss': the word 'loss' stands for itself already"),
        (OTHER + entry(also="[Cost]"), "5: 'loss': the word 'Cost' stands for 'cost' already"),
        (entry(also="[loss]"), "1: 'loss': the word 'loss' stands for itself already"),
        (entry() + entry(term="cost"), "5: 'cost': the Chinese '损失' stands for 'loss' already"),
        (OTHER + entry(chinese_also="[成本]"), "5: 'loss': the Chinese '成本' stands for 'cost'"),
        (
            entry(symbol="L") + entry(term="length", chinese="长度", symbol="L"),
            "6: 'length': the symbol 'L' stands for 'loss' already",
        ),
        (entry(chinese="loss"), "1: 'loss': 'loss' is no Chinese term"),
        (entry(chinese="损失 loss"), "1: 'loss': '损失 loss' is no Chinese term"),
        (entry(chinese="AUC"), "1: 'loss': 'AUC' is no Chinese term"),
        (entry(chinese_also="[ロス]"), "1: 'loss': 'ロス' is no Chinese term"),
        (entry(meaning="How wrong"), "'meaning' must be one line that ends with a full stop"),
        (entry(meaning='"How\\nwrong."'), "'meaning' must be one line that ends with a full stop"),
        (entry(unlike="a cost"), "'unlike' must be one line that ends with a full stop"),
        (entry(notebook="1"), "'notebook' must be two digits, 00 to 18, found '1'"),
        (entry(notebook="19"), "'notebook' must be two digits, 00 to 18, found '19'"),
        (entry(notebook="to come"), "'notebook' must be two digits, 00 to 18, found 'to come'"),
        (entry(method="yes"), "'method' must be true or false, found 'yes'"),
        (entry(also="cost"), "1: 'loss': 'also' must be a list of texts"),
        (entry(also="[{a: b}]"), "1: 'loss': 'also' must be a list of texts"),
        (entry(chinese="[损失]"), "1: 'loss': 'chinese' must be one text"),
        (entry() + "  meaning: Again.\n", "1: 'loss': the key 'meaning' stands 2 times"),
        ("- loss\n", "1: an entry must be 'key: value' lines that begin with 'term', found 'loss'"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said_in_one_sentence_with_its_line(
    tmp_path, text, sentence
):
    found = problems(tmp_path, text)
    assert len(found) == 1 and found[0].startswith("glossary.yaml:")
    assert sentence in found[0]


@pytest.mark.parametrize("text", ["", "loss: 1\n", "[]\n", "text\n"])
def test_a_file_without_a_list_is_refused(tmp_path, text):
    assert problems(tmp_path, text) == [
        "glossary.yaml must be a list of entries, each '- term: ...'"
    ]


def test_what_is_no_yaml_is_refused(tmp_path):
    [sentence] = problems(tmp_path, "- term: [\n")
    assert sentence.startswith("glossary.yaml is not YAML")


def test_all_problems_are_said_at_once(tmp_path):
    text = entry(chinese=None) + entry(notebook="99") + entry(term="cost", method="x")
    assert len(problems(tmp_path, text)) == 3


TERMS = read(glossary.place())


def test_the_glossary_reaches_every_notebook_and_what_is_to_come():
    numbers = {term.notebook for term in TERMS}
    assert {path.stem[:2] for path in source_paths()} <= numbers
    assert len(TERMS) >= 60


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.term)
def test_a_chinese_term_is_made_of_chinese_characters_and_latin_abbreviations(term):
    for text in (term.chinese, *term.chinese_also):
        rest = re.sub(r"[A-Z][A-Z0-9/]*", "", text)
        assert rest and all("\u4e00" <= letter <= "\u9fff" for letter in rest)


ARTICLE = {
    "shared network": "共享网络", "task network": "任务网络", "weighted loss": "加权损失",
    "hierarchical loss": "层次损失", "adaptive loss": "自适应损失", "click rate": "点击率",
    "multi-task learning": "多任务学习", "multi-scenario learning": "多场景",
    "negative transfer": "负迁移", "gradient conflict": "梯度冲突", "encoder": "编码器",
    "decoder": "解码器", "task imbalance": "任务不平衡", "accuracy": "准确率", "recall": "召回率",
}  # fmt: skip


@pytest.mark.parametrize(("english", "chinese"), ARTICLE.items())
def test_the_words_of_the_article_are_there(english, chinese):
    [term] = [term for term in TERMS if english in term.forms]
    assert chinese in (term.chinese, *term.chinese_also)


AMBIGUOUS = (
    "encoder logit representation unit weight parameter head tower balancer paired seed interval"
)


@pytest.mark.parametrize("word", AMBIGUOUS.split())
def test_a_word_of_several_meanings_says_what_it_is_not(word):
    [term] = [term for term in TERMS if word in term.forms]
    assert term.unlike


# Words that a learner cannot be expected to know; not: network, layer, training, mean, chance.
SPECIAL = """activation attention backbone backward bias convex deviance entropy feature hyper
    inference jacobian latent likelihood logit loss metric norm objective posterior regulari relu
    scalar sigmoid softmax stochastic tensor trunk variance vector gradient gramian batch epoch
    optimi embedding encoder tower propensity prior calibrat label impression scenario task"""


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.term)
def test_a_meaning_uses_only_everyday_words_and_words_of_the_glossary(term):
    known = lint_terms._pattern([form for other in TERMS for form in other.forms])
    rest = known.sub(" ", re.sub(r"`[^`]*`|\$[^$]*\$", " ", f"{term.meaning} {term.unlike}"))
    words = re.findall(r"[a-z]+", rest.lower())
    assert [w for w in words if w.startswith(tuple(SPECIAL.split()))] == []


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.term)
def test_a_meaning_is_one_short_sentence_in_other_words(term):
    assert term.meaning[0].isupper() and len(term.meaning.split()) <= 35
    assert not re.search(r"[.!?] [A-Z]", term.meaning)
    assert not re.match(rf"(An? |The )?{re.escape(term.term)}\b", term.meaning, re.IGNORECASE)


def rendered(text):
    """[[cells]] of every body row of every table, each cell's own text as a reader sees it."""
    from markdown_it import MarkdownIt

    tables, rows = [], None
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "tbody_open":
            tables.append(rows := [])
        elif token.type == "tbody_close":
            rows = None
        elif token.type == "tr_open" and rows is not None:
            rows.append([])
        elif token.type == "inline" and rows:
            rows[-1].append("".join(child.content for child in token.children))
    return tables


def test_the_page_shows_every_term_with_all_that_is_known_of_it():
    english, chinese = rendered(glossary_page.page(TERMS))
    assert len(english) == len(TERMS) and {len(row) for row in english} == {5}
    names = [row[0].partition(";")[0].removesuffix(" (method)") for row in english]
    assert names == sorted(names, key=str.casefold)
    by_name = {term.term: term for term in TERMS}
    for name, row in zip(names, english):
        term = by_name[name]
        assert row[1] == "、".join((term.chinese, *term.chinese_also))
        assert row[2].startswith(re.sub("`", "", term.meaning)[:20])
        assert ("Not:" in row[2]) == bool(term.unlike)
        assert row[3] == (f"${term.symbol}$" if term.symbol else "")
        assert all(form in row[0] for form in term.forms)
    assert [row[0] for row in chinese] == sorted(row[0] for row in chinese)
    assert len(chinese) == sum(1 + len(term.chinese_also) for term in TERMS)


def test_a_notebook_that_is_there_is_linked_and_another_is_to_come():
    text = glossary_page.page(TERMS)
    have = {path.stem[:2]: path.name.replace(".py", ".ipynb") for path in source_paths()}
    for term in TERMS:
        [line] = [row for row in text.splitlines() if row.startswith(f"| **{term.term}**")]
        name = have.get(term.notebook)
        end = f"| [{term.notebook}](../{name}) |" if name else f"| {term.notebook}, to come |"
        assert line.endswith(end)
        assert name is None or (HERE.notebooks / name).is_file()
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (glossary_page.place().parent / link).exists(), link


def test_pipes_tags_and_line_breaks_do_not_break_a_row():
    odd = Term("a|b", "词", "If a|b, `c|d` or <b>x.", "01", symbol="a|b", also=("x\ny",))
    [[row], _] = rendered(glossary_page.page([odd]))
    assert row[0] == "a|b; also x y" and row[2] == "If a|b, c|d or <b>x." and row[3] == "$a|b$"


def test_the_page_in_the_appendix_is_up_to_date():
    assert glossary_page.place().read_text(encoding="utf-8") == glossary_page.page(TERMS)


def test_the_build_writes_the_page_and_its_check_finds_an_old_one(folders, capsys):
    folders.lessons.mkdir(exist_ok=True)
    data, page = glossary.place(folders), glossary_page.place(folders)
    assert build.main([], folders) == 0 and not page.exists()
    data.write_text(entry(), encoding="utf-8")
    assert build.main(["--check"], folders) == 1
    assert (
        "notebooks/appendix/glossary.md: differs from what glossary.yaml" in capsys.readouterr().err
    )
    assert build.main([], folders) == 0 and b"\r" not in page.read_bytes()
    assert build.main(["--check"], folders) == 0
    before = page.read_bytes()
    data.write_text(entry(meaning="How bad."), encoding="utf-8")
    assert build.main(["--check"], folders) == 1 and page.read_bytes() == before
    assert build.main([], folders) == 0 and b"How bad." in page.read_bytes()
    data.unlink()
    capsys.readouterr()
    assert build.main(["--check"], folders) == 1
    assert "notebooks/appendix/glossary.md: its source is gone" in capsys.readouterr().err


def test_broken_data_are_named_and_the_page_stays_as_it_is(folders, capsys):
    folders.lessons.mkdir(exist_ok=True)
    data, page = glossary.place(folders), glossary_page.place(folders)
    data.write_text(entry(), encoding="utf-8")
    build.main([], folders)
    before = page.read_bytes()
    data.write_text(entry(chinese=None), encoding="utf-8")
    for flags in ([], ["--check"], ["--lint"]):
        capsys.readouterr()
        assert build.main(flags, folders) == 1
        assert "glossary.yaml:1: 'loss': 'chinese' is missing" in capsys.readouterr().err
        assert page.read_bytes() == before


def test_the_course_links_its_glossary():
    root = HERE.notebooks.parent
    assert "](notebooks/appendix/glossary.md)" in (root / "README.md").read_text(encoding="utf-8")
    guide = (HERE.notebooks / "README.md").read_text(encoding="utf-8")
    assert "](appendix/glossary.md)" in guide


def test_the_guides_example_is_an_entry_of_the_glossary(tmp_path):
    guide = (HERE.notebooks / "README.md").read_text(encoding="utf-8")
    [text] = re.findall(r"^```yaml\n(- term: .*?)^```", guide, re.DOTALL | re.MULTILINE)
    path = tmp_path / "glossary.yaml"
    path.write_text(text, encoding="utf-8")
    assert set(read(path)) <= set(TERMS)
