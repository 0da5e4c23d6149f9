"""Rules about words: bold where they are introduced, not used before, not too many at once.

A bold word that is no term is a warning, all else an error. What counts is the learner's text: no
code, nor what it prints, no formulas, no headings, no list of goals or sources. A title card may
introduce a term, and may name what comes later. Methods (`method: true`) are names, not new terms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mtlkit.course.author import copies
from mtlkit.course.author.glossary import Term
from mtlkit.course.author.source import Cell, Source

MOST_TERMS = 12
LONGEST = 4  # words of a bold term; more are a sentence
_APART = {"goals", "sources"}  # they name things before and after they are explained
_CARDS = {"title", "exercise"}  # fields above `---`, text below
_SILENT = re.compile(
    r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$(?:[^$\n]|\n(?!\n))+\$"
    r"|<!--.*?-->|^#{1,6} [^\n]*|\]\([^)]*\)",
    re.DOTALL | re.MULTILINE,
)
_BOLD = re.compile(r"\*\*((?:[^*\n]|\n(?!\s*\n))+)\*\*")
Rule = Iterator[tuple[int, str, bool]]  # line, sentence, whether it is an error


@dataclass(frozen=True)
class Use:
    """One place where a notebook's text uses a term."""

    term: Term
    form: str
    line: int
    bold: bool


def rules(source: Source, terms: list[Term]) -> Rule:
    """What one notebook breaks; nothing where there is no glossary."""
    if not terms:
        return
    own = [term for term in terms if term.notebook == source.number and not term.method]
    if len(own) > MOST_TERMS:
        yield 1, f"it introduces {len(own)} new terms; at most {MOST_TERMS}", True
    found = uses(source, terms)
    for term in own:
        yield from _introduced(term, [use for use in found if use.term is term])
    yield from _early(source, found)
    for line, words in strangers(source, terms):
        yield line, f"bold {words!r} is no term of the glossary", False


def _introduced(term: Term, found: list[Use]) -> Rule:
    if not found:
        yield 1, f"the term {term.term!r} of this notebook never stands in its text", True
        return
    bold = next((use.line for use in found if use.bold), None)
    if bold is None:
        yield found[0].line, f"the new term {term.term!r} is never set bold", True
    elif found[0].line < bold:
        text = f"{found[0].form!r} is used before the new term {term.term!r} is set bold"
        yield found[0].line, f"{text} (line {bold})", True


def _early(source: Source, found: list[Use]) -> Rule:
    later = [use for use in found if use.term.notebook > source.number and not use.term.method]
    for term in dict.fromkeys(use.term for use in later):
        places = [use for use in later if use.term is term]
        times = f"{len(places)} times" if len(places) > 1 else "once"
        text = f"{places[0].form!r} is used {times}, but notebook {term.notebook} introduces it"
        yield places[0].line, text, True


def uses(source: Source, terms: list[Term]) -> list[Use]:
    """Every use of a term in the learner's text, in order; of two that overlap, the longer one."""
    owner = {form.casefold(): term for term in terms for form in term.forms}
    pattern = _pattern([form for term in terms for form in term.forms])
    found = []
    for cell, text in prose(source):
        spans = [match.span() for match in _bold(text)]
        for match in pattern.finditer(text):
            form = " ".join(match["form"].split())
            bold = any(low <= match.start() and match.end() <= high for low, high in spans)
            if "title" in cell.tags and not bold:
                continue
            found.append(Use(owner[form.casefold()], form, _line(cell, text, match), bold))
    return found


def strangers(source: Source, terms: list[Term]) -> list[tuple[int, str]]:
    """(line, words) of each bold word or short phrase that holds no term of the glossary."""
    pattern = _pattern([form for term in terms for form in term.forms])
    found = []
    for cell, text in prose(source):
        for match in _bold(text):
            words = " ".join(match[1].split())
            if words and not words.endswith((".", ":", "?", "!")) and not pattern.search(match[1]):
                found.append((_line(cell, text, match), words))
    return found


def prose(source: Source) -> Iterator[tuple[Cell, str]]:
    """The learner's markdown cells; what is no prose is blank there, and every line stays one."""
    for cell in copies.kept(source, "learner"):
        if cell.kind == "markdown" and not _APART & set(cell.tags):
            text = cell.source
            if _CARDS & set(cell.tags):
                head, mark, body = text.partition("\n---")
                text = _blank(head + mark) + body
            yield cell, _SILENT.sub(lambda match: _blank(match[0]), text)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _bold(text: str) -> list[re.Match]:
    return [match for match in _BOLD.finditer(text) if len(match[1].split()) <= LONGEST]


def _line(cell: Cell, text: str, match: re.Match) -> int:
    return cell.line + 1 + text.count("\n", 0, match.start())


def _pattern(forms: list[str]) -> re.Pattern:
    """Any of the forms or its plural, the longest first; capitals count where a form has one."""
    alternatives = []
    for form in sorted(forms, key=len, reverse=True):
        plain = r"\s+".join(map(re.escape, form.split()))
        alternatives.append(plain if form != form.lower() else f"(?i:{plain})")
    return re.compile(rf"(?<![\w-])(?P<form>{'|'.join(alternatives)})(?:e?s)?(?![\w-])")
