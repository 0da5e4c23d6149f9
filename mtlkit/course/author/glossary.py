"""The course's words as data: `mtlkit/lessons/glossary.yaml`, read and checked.

The file is a list. Each entry has a `term`, its `chinese`, its `meaning` in one sentence and the
`notebook` that introduces it ("00" to "18"). It may have a `symbol` (LaTeX without dollar signs),
other English and Chinese words for the same thing (`also`, `chinese_also`), what it is `unlike`,
and `method: true` for a method's name, which is no new term for a learner.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlkit.course.author.folders import HERE, Folders

NAME = "glossary.yaml"
LAST = 18  # the number of the last notebook that the course plans
NEEDED = ("term", "chinese", "meaning", "notebook")
LISTS = ("also", "chinese_also")
FIELDS = (*NEEDED, "symbol", *LISTS, "unlike", "method")
_CHINESE = re.compile(r"(?=.*[\u4e00-\u9fff])(?:[\u4e00-\u9fff]|[A-Z][A-Z0-9/]*)+")


class GlossaryError(ValueError):
    """The glossary breaks its format; the message lists every problem with file and line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True)
class Term:
    """One word of the course; `notebook` is the number of the one that introduces it, "02"."""

    term: str
    chinese: str
    meaning: str
    notebook: str
    symbol: str = ""
    also: tuple[str, ...] = ()
    chinese_also: tuple[str, ...] = ()
    unlike: str = ""
    method: bool = False

    @property
    def forms(self) -> tuple[str, ...]:
        """All English words that count as this term."""
        return (self.term, *self.also)


def place(folders: Folders = HERE) -> Path:
    """Where the glossary lies (or would lie)."""
    return folders.lessons / NAME


def known(folders: Folders = HERE) -> list[Term]:
    """All terms of a course; none where there is no glossary, or where `read` refuses it."""
    path = place(folders)
    try:
        return read(path) if path.is_file() else []
    except GlossaryError:
        return []  # `mtlkit build` says what is wrong


def read(path: Path | str) -> list[Term]:
    """All terms in the order of the file; raises GlossaryError with a sentence a problem."""
    import yaml

    path = Path(path)
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise GlossaryError([f"{path.name} is not YAML: {error}"]) from None
    if not isinstance(root, yaml.SequenceNode) or not root.value:
        raise GlossaryError([f"{path.name} must be a list of entries, each '- term: ...'"])
    problems: list[str] = []
    terms: dict[int, Term] = {}  # by line
    for node in root.value:
        line = node.start_mark.line + 1
        found = list(_wrong(node))
        problems += [f"{path.name}:{line}: {sentence}" for sentence in found]
        if not found:
            terms[line] = _term(_fields(node))
    problems += [f"{path.name}:{line}: {sentence}" for line, sentence in _doubled(terms)]
    if problems:
        raise GlossaryError(problems)
    return list(terms.values())


def _fields(node: Any) -> dict[str, Any]:
    """{key: text, list of texts, or None for any other kind of value} of one entry."""
    return {str(key.value): _value(value) for key, value in node.value}


def _value(node: Any) -> Any:
    if node.id == "sequence" and all(entry.id == "scalar" for entry in node.value):
        return [entry.value for entry in node.value]
    return node.value if node.id == "scalar" else None


def _wrong(node: Any) -> Iterator[str]:
    """What is wrong with one entry alone."""
    if node.id != "mapping":
        yield f"an entry must be 'key: value' lines that begin with 'term', found {_value(node)!r}"
        return
    keys, fields = [str(key.value) for key, _ in node.value], _fields(node)
    name = fields.get("term") or "an entry without a term"
    for key in dict.fromkeys(keys):
        kind = list if key in LISTS else str
        if keys.count(key) > 1:
            yield f"{name!r}: the key {key!r} stands {keys.count(key)} times"
        if key not in FIELDS:
            yield f"{name!r}: unknown key {key!r}; known: {', '.join(FIELDS)}"
        elif not isinstance(fields[key], kind):
            yield f"{name!r}: {key!r} must be {'a list of texts' if kind is list else 'one text'}"
            return
    for key in NEEDED:
        if not fields.get(key):
            yield f"{name!r}: {key!r} is missing"
    yield from _malformed(name, fields)


def _malformed(name: str, fields: dict[str, Any]) -> Iterator[str]:
    for text in (fields.get("chinese"), *(fields.get("chinese_also") or ())):
        if text and not _CHINESE.fullmatch(text):
            yield f"{name!r}: {text!r} is no Chinese term (simplified characters, AUC and the like)"
    number = fields.get("notebook")
    for key in ("meaning", "unlike"):
        if fields.get(key) and not re.fullmatch(r"[^\n]*[^\s.]\.", fields[key]):
            yield f"{name!r}: {key!r} must be one line that ends with a full stop"
    if number and not (re.fullmatch(r"\d\d", number) and int(number) <= LAST):
        yield f"{name!r}: 'notebook' must be two digits, 00 to {LAST}, found {number!r}"
    if fields.get("method", "true") not in ("true", "false"):
        yield f"{name!r}: 'method' must be true or false, found {fields['method']!r}"


def _term(fields: dict[str, Any]) -> Term:
    values = {key: tuple(value) if key in LISTS else value for key, value in fields.items()}
    return Term(**(values | {"method": fields.get("method") == "true"}))


def _doubled(terms: dict[int, Term]) -> Iterator[tuple[int, str]]:
    """Words and symbols that stand for two things: (line of the second, sentence)."""
    seen: dict[tuple[str, str], str] = {}
    for line, term in terms.items():
        owned = [("word", form.casefold(), form) for form in term.forms]
        owned += [("Chinese", text, text) for text in (term.chinese, *term.chinese_also)]
        owned += [("symbol", term.symbol, term.symbol)] if term.symbol else []
        for what, key, shown in owned:
            if (what, key) in seen:
                first = seen[what, key]
                other = "itself" if first == term.term else repr(first)
                yield line, f"{term.term!r}: the {what} {shown!r} stands for {other} already"
            seen.setdefault((what, key), term.term)
