"""Rules about text and structure of a notebook: lengths, sections, headings, goals, links."""

import re
import statistics
from collections.abc import Iterator
from pathlib import Path

from mtlkit.course.author import copies
from mtlkit.course.author.counts import code_lines, count_words
from mtlkit.course.author.folders import Folders
from mtlkit.course.author.make import Built
from mtlkit.course.author.source import SECTIONS, Cell
from mtlkit.course.learner import questions

CELLS = (30, 45)
WORDS = (900, 1500)
CODE_LINES = (80, 140)
LONGEST_CELL = 30
MEDIAN_CELL = (4, 7)
RELAXED = {"00"}  # the start-here notebook keeps only the upper limits and the sections below
RELAXED_SECTIONS = ("title", "goals", "setup", "exercise", "exit")
_VAGUE = re.compile(r"^[-*]\s+\**(understand|know|learn|appreciate|be aware|see)\b", re.IGNORECASE)
_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)[^)]*\)")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)[^)]*\)")
Rule = Iterator[tuple[int, str, bool]]  # line, sentence, whether it is an error


def rules(built: Built, folders: Folders) -> Rule:
    """All findings about text and structure: (line, sentence, whether it is an error)."""
    for rule in (_lengths, _sections, _headings, _goals, _translations):
        yield from rule(built)
    yield from _links(built, folders)


def shown(built: Built) -> Iterator[tuple[Cell, str]]:
    """The learner copy's cells: where each comes from, and its text as drawn."""
    texts = [cell.source for cell in built.learner.cells]
    yield from zip(copies.kept(built.source, "learner"), texts, strict=True)


def _lengths(built: Built) -> Rule:
    relaxed = built.source.number in RELAXED
    words = sum(count_words(text) for cell, text in shown(built) if cell.kind == "markdown")
    solved = zip(copies.kept(built.source, "solution"), built.solution.cells, strict=True)
    code = [
        (cell, new.source)
        for cell, new in solved
        if cell.kind == "code" and not {"hide-input", "solution"} & set(cell.tags)
    ]
    lines = [code_lines(text) for _, text in code]
    for count, (low, high), what in (
        (len(built.learner.cells), CELLS, "cells"),
        (words, WORDS, "words"),
        (sum(lines), CODE_LINES, "lines of code"),
    ):
        if count > high or (count < low and not relaxed):
            yield 1, f"{count} {what}; the rule is {low} to {high}", True
    for cell, text in code:
        length = sum(bool(row.strip()) for row in text.split("\n"))
        if length > LONGEST_CELL:
            yield cell.line, f"a code cell of {length} lines; at most {LONGEST_CELL}", True
    if lines and not relaxed:
        median = statistics.median(lines)
        low, high = MEDIAN_CELL
        if not low <= median <= high:
            yield 1, f"the median code cell has {median:g} lines; {low} to {high} read best", False


def _sections(built: Built) -> Rule:
    opened = [(tag, cell) for cell in built.source.cells for tag in cell.tags if tag in SECTIONS]
    if built.source.number in RELAXED:
        for section in RELAXED_SECTIONS:
            if section not in [tag for tag, _ in opened]:
                yield 1, f"no section is tagged {section!r}", True
        return
    wanted = list(SECTIONS)
    have = [tag for tag, _ in opened]
    position = 0
    for at, section in enumerate(wanted):
        if section in have[position:]:
            position += have[position:].index(section) + 1
        elif section != "challenge":
            if have.count(section) >= wanted[: at + 1].count(section):
                line = opened[have.index(section)][1].line
                order = ", ".join(wanted)
                yield line, f"section {section!r} is out of order; the order is {order}", True
            elif section in have:
                yield 1, f"a second section tagged {section!r} is missing after 'compare'", True
            else:
                yield 1, f"no section is tagged {section!r}", True
    for tag, cell in opened:
        needs_heading = tag not in ("title", "exercise", "predict") and cell.kind == "markdown"
        if needs_heading and not cell.source.startswith("## "):
            yield cell.line, f"the section {tag!r} does not start with a '## ' heading", True


def _headings(built: Built) -> Rule:
    before, titles = 0, 0
    for cell, text in shown(built):
        if cell.kind != "markdown":
            continue
        plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        for mark, heading in re.findall(r"^(#{1,6})\s+(.+)$", plain, flags=re.MULTILINE):
            level = len(mark)
            titles += level == 1
            if level > before + 1:
                yield cell.line, f"heading {heading!r} skips a level (h{before} to h{level})", True
            if level == 1 and titles > 1:
                yield cell.line, f"a second '# ' heading, {heading!r}: use '## '", True
            before = level


def _goals(built: Built) -> Rule:
    identifiers = set(built.source.exercises)
    for cell in built.source.cells:
        if "goals" in cell.tags and cell.kind == "markdown":
            goals = re.findall(r"^[-*] .+(?:\n  .+)*", cell.source, flags=re.MULTILINE)
            if not goals:
                yield cell.line, "the goals are not a list of '- ' lines", True
            for goal in goals:
                first = goal.split("\n")[0]
                if not identifiers & set(re.findall(r"\d+\.\d+", goal)):
                    yield cell.line, f"the goal {first!r} names no exercise", False
                if _VAGUE.match(goal):
                    yield (
                        cell.line,
                        f"the goal {first!r} cannot be checked: use a doing verb",
                        False,
                    )
    number = str(int(built.source.number))
    recall = questions.load(built.source.number)["quizzes"].get(f"{number}.recall", ())
    if len(recall) < 3 and built.source.number not in RELAXED:
        yield 1, f"the quiz {number}.recall has {len(recall)} questions; three are asked", False


def _translations(built: Built) -> Rule:
    before: Cell | None = None
    for cell in built.source.cells:
        if "lang-zh" in cell.tags:
            if before is None or "lang-en" not in before.tags:
                yield cell.line, "a lang-zh cell must stand right below its lang-en cell", True
            else:
                current = copies.fingerprint(before.source)
                if cell.translates != current:
                    yield (
                        cell.line,
                        "the translation is stale: its English text has changed; translate it "
                        f'again and write of="{current}"',
                        True,
                    )
        before = cell


def _links(built: Built, folders: Folders) -> Rule:
    for cell, text in shown(built):
        if cell.kind != "markdown":
            continue
        plain = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
        for alt, _ in _IMAGE.findall(plain):
            if not alt.strip():
                yield cell.line, "a picture without alt text", True
        for tag in re.findall(r"<img\b[^>]*>", plain):
            if not re.search(r"""alt=["'][^"']+["']""", tag):
                yield cell.line, "an <img> without alt text", True
        for target in [*_LINK.findall(plain), *(path for _, path in _IMAGE.findall(plain))]:
            if re.match(r"[a-z][a-z0-9+.-]*:", target) or target.startswith("#"):
                continue
            path = folders.notebooks / Path(target.split("#")[0])
            generated = path.suffix == ".ipynb" and (folders.sources / f"{path.stem}.py").exists()
            if not path.exists() and not generated:
                yield cell.line, f"the link {target!r} leads nowhere", True
