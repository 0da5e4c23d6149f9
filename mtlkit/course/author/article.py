"""Where the survey article's parts live in the course, as data: `mtlkit/lessons/article.yaml`.

The file has a `lead`, `numbers` and `chapters`. A number has a `notebook` and the fields that a
`finding.yaml` gives it (`notebooks/README.md`); texts name it as `{name:.2f}`. A chapter has a
`heading`, its `chinese`, and a `text`, `rows` or both; where it is `measured`, no digit of it is
typed. A row is one part of the article:

    part, chinese   what it is called; `section` is its number in the article, where that is known
    says            what the article says of it, in our words
    here            where it lives, with links: [[02]], [[02 trap]] (a section by its tag),
                    [[mtlkit/losses/tasks.py]], [[tests/losses/test_tasks.py::test_name]]
    later           numbers of notebooks that are to come (in a text: [[to come 09]])
    differently     how the course does it in another way; left_out: why it is not here
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlkit.course.author import glossary
from mtlkit.course.author.folders import HERE, Folders

NAME = "article.yaml"
ROOT = ("lead", "numbers", "chapters")
CHAPTER = ("heading", "chinese", "text", "rows", "measured")
ROW = ("part", "chinese", "section", "says", "here", "later", "differently", "left_out")
LINK = re.compile(r"\[\[([^\]\[]+)\]\]")
NOTEBOOK = re.compile(r"\[\[\d\d\b")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_TYPED = re.compile(r"(?<![A-Za-z])\d")  # the digit of P5 is part of a name
_PLACEHOLDER = re.compile(r"\{[^}]*\}")


class ArticleError(ValueError):
    """The article's data break their format, or say what does not hold; lists every problem."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True)
class Row:
    """One part of the article; `later` holds numbers of notebooks to come, "09"."""

    part: str
    chinese: str
    says: str
    section: str = ""
    here: str = ""
    later: tuple[str, ...] = ()
    differently: str = ""
    left_out: str = ""

    @property
    def state(self) -> str:
        """ "built", "built differently: ...", "to come in 09 and 12" or "left out: ..."."""
        if self.left_out:
            return f"left out: {self.left_out}"
        *first, last = self.later or ("",)
        to_come = f"{', '.join(first)} and {last}" if first else last
        if to_come and not NOTEBOOK.search(self.here):
            return f"to come in {to_come}"  # even if its data are there
        built = f"built differently: {self.differently}" if self.differently else "built"
        return f"{built}; more to come in {to_come}" if to_come else built


@dataclass(frozen=True)
class Chapter:
    """One heading of the page, its text and its rows."""

    heading: str
    chinese: str
    text: str = ""
    rows: tuple[Row, ...] = ()
    measured: bool = False


@dataclass(frozen=True)
class Article:
    """All that the page says; numbers are fields still, as the file has them."""

    lead: str
    numbers: Mapping[str, Mapping[str, Any]]
    chapters: tuple[Chapter, ...]

    @property
    def rows(self) -> list[Row]:
        """The parts of all chapters, in order."""
        return [row for chapter in self.chapters for row in chapter.rows]


def place(folders: Folders = HERE) -> Path:
    """Where the data lie (or would lie)."""
    return folders.lessons / NAME


def read(path: Path | str) -> Article:
    """The data of the page; raises ArticleError with a sentence a problem."""
    import yaml

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        root, problems = yaml.safe_load(text), list(_twice(yaml.compose(text)))
    except yaml.YAMLError as error:
        raise ArticleError([f"{path.name} is not YAML: {error}"]) from None
    problems = problems or list(_wrong_root(root))
    if not problems:
        for number, chapter in enumerate(root["chapters"], start=1):
            problems += _wrong_chapter(chapter, number)
    if problems:
        raise ArticleError([f"{path.name}: {sentence}" for sentence in problems])
    chapters = tuple(
        Chapter(**(chapter | {"rows": tuple(map(_row, chapter.get("rows", ())))}))
        for chapter in root["chapters"]
    )
    return Article(root["lead"], root["numbers"], chapters)


def _row(fields: Mapping[str, Any]) -> Row:
    return Row(**(dict(fields) | {"later": tuple(fields.get("later", ()))}))


def _twice(node: Any) -> Iterator[str]:
    """Keys that stand twice, of which YAML would drop one without a word."""
    if getattr(node, "id", "") == "mapping":
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield f"line {key.start_mark.line + 1}: {key.value!r} stands twice"
            seen.add(key.value)
            yield from _twice(value)
    elif getattr(node, "id", "") == "sequence":
        for entry in node.value:
            yield from _twice(entry)


def _wrong_root(root: Any) -> Iterator[str]:
    if not isinstance(root, dict) or set(root) != set(ROOT):
        yield f"it must have the fields {', '.join(ROOT)}"
        return
    if not _text(root["lead"]):
        yield "'lead' must be a text"
    if not isinstance(root["chapters"], list) or not root["chapters"]:
        yield "'chapters' must be a list of entries, each '- heading: ...'"
    numbers = root["numbers"]
    if not isinstance(numbers, dict) or not all(isinstance(v, dict) for v in numbers.values()):
        yield "'numbers' must be entries such as 'gain: {notebook: \"02\", candidate: ...}'"
        return
    for name, fields in numbers.items():
        if not isinstance(fields.get("notebook"), str):
            yield f"number {name!r}: 'notebook' is missing, such as \"02\" in quotes"


def _wrong_chapter(chapter: Any, number: int) -> Iterator[str]:
    if not isinstance(chapter, dict):
        yield f"chapter {number} must be 'key: value' lines, found {chapter!r}"
        return
    name = f"chapter {chapter.get('heading') or number!r}"
    yield from _wrong_fields(chapter, name, CHAPTER, ("heading", "chinese"), ("rows", "measured"))
    text, rows = chapter.get("text", ""), chapter.get("rows", [])
    if not text and not rows:
        yield f"{name}: it needs a 'text' or 'rows'"
    if chapter.get("measured") and _TYPED.search(LINK.sub("", _PLACEHOLDER.sub("", text))):
        yield f"{name}: it is measured, so write its numbers as {{name:.2f}} and count in words"
    if not isinstance(chapter.get("measured", False), bool) or not isinstance(rows, list):
        yield f"{name}: 'rows' must be a list, 'measured' true or false"
        return
    for place_, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            yield f"{name}: row {place_} must be 'key: value' lines, found {row!r}"
            continue
        yield from _wrong_row(row, f"{name}, {row.get('part') or f'row {place_}'}")


def _wrong_row(row: dict[str, Any], name: str) -> Iterator[str]:
    yield from _wrong_fields(row, name, ROW, ("part", "chinese", "says"), ("later",))
    later = row.get("later", [])
    if not isinstance(later, list) or not all(_notebook(number) for number in later):
        yield f'{name}: \'later\' must be a list of notebooks, ["09", "12"]'
    section = row.get("section")
    if section is not None and not re.fullmatch(r"\d+(\.\d+)*(, \d+(\.\d+)*)*", str(section)):
        yield f"{name}: 'section' must be a number of the article, such as \"4.1.3, 4.2.2\""
    here, told = row.get("here"), [key for key in ("here", "later", "left_out") if row.get(key)]
    if not told:
        yield f"{name}: say where it is: 'here', 'later', or 'left_out' with the reason"
    if "left_out" in told and len(told) > 1:
        yield f"{name}: what is left out is neither 'here' nor 'later'"
    if here and not LINK.search(str(here)):
        yield f"{name}: 'here' names no place; write a link such as [[02]]"
    if row.get("differently") and not here:
        yield f"{name}: what is built 'differently' must say 'here' where"
    elif row.get("differently") and later and not NOTEBOOK.search(str(here)):
        yield f"{name}: with 'later', what is built 'differently' is shown by a notebook, [[02]]"


def _wrong_fields(
    fields: dict[str, Any], name: str, known: tuple[str, ...], needed: tuple[str, ...],
    other: tuple[str, ...],
) -> Iterator[str]:  # fmt: skip
    """Unknown and missing keys, and values that are no texts (`other` may be anything)."""
    for key, value in fields.items():
        if key not in known:
            yield f"{name}: unknown key {key!r}; known: {', '.join(known)}"
        elif key not in other and not _text(value):
            yield f"{name}: {key!r} must be a text"
    for key in needed:
        if key not in fields:
            yield f"{name}: {key!r} is missing"
    if _text(fields.get("chinese")) and not _CHINESE.search(fields["chinese"]):
        yield f"{name}: {fields['chinese']!r} is no Chinese"


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _notebook(number: Any) -> bool:
    fits = isinstance(number, str) and re.fullmatch(r"\d\d", number)
    return bool(fits) and int(number) <= glossary.LAST
