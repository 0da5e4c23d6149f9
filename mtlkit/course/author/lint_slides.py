"""The rules that every slide deck keeps, as sentences with file and line."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Collection, Iterator

from mtlkit.course.author.deck import KINDS, MORE_KINDS, STRICT, Deck, Slide, SlideError
from mtlkit.course.author.deck_figures import deck_figures, file_name, shown_type, solution
from mtlkit.course.author.deck_minutes import card_of, typed_minutes
from mtlkit.course.author.folders import Folders
from mtlkit.plot.sheet import LEAST

MOST_SLIDES = 12
MOST_WORDS = 60  # shown on one slide; code, formulas and picture labels do not count
MOST_VOTE_WORDS = 90
MOST_CODE = 14  # lines on one slide
MOST_COLUMNS = 80  # of a line of code
LEAST_NOTES = 12  # words to say
FRONT = {"marp": "true", "theme": "mtlkit", "math": "mathjax", "paginate": "true", "lang": "en"}
_OPTION = re.compile(r"^[-*] \*\*([A-E])\*\* +\S", re.MULTILINE)
_VERDICT = re.compile(r"^([A-E]): (.+)$", re.MULTILINE)
_RAW = re.compile(r"<(?!!--)/?[a-z][^>]*>", re.IGNORECASE)
_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
_FENCES = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def lint(deck: Deck, folders: Folders) -> list[str]:
    """Everything that breaks a rule, "file:line: sentence"."""
    card = card_of(deck, folders)
    found = [f"{deck.path.name}:1: {text}" for text in _whole(deck, card["title"])]
    cells = ["".join(c["source"]) for c in _cells(deck, folders) if c["cell_type"] == "code"]
    for slide in deck.slides:
        for text in (*_slide(slide, deck.number, card["exercises"]), *_code(slide, cells)):
            found.append(f"{deck.path.name}:{slide.line}: {text}")
    try:
        deck_figures(deck, folders)
    except SlideError as problem:
        found.append(str(problem))
    return found


def warnings(deck: Deck, folders: Folders) -> list[str]:
    """What an author should mend and no test forbids, "file:line: warning: sentence".

    A deck shows the trap of its notebook, and where the lesson holds a contest, the strict result;
    it types no minutes that are those of the plan; its figures are read from the last row.
    """
    tags = {tag for c in _cells(deck, folders) for tag in c.get("metadata", {}).get("tags", ())}
    found = list(typed_minutes(deck, card_of(deck, folders)))
    if "trap" in tags and not any(_is_trap(slide) for slide in deck.slides):
        text = "no slide shows the notebook's trap: write <!-- _class: trap --> on one"
        found.append((1, f'{text}, or "trap" into its heading'))
    contest = folders.lessons / f"nb{deck.number}" / "contest.py"
    if contest.exists() and not any(slide.strict for slide in deck.slides):
        text = "no slide shows the strict result (everyone tuned alike, several shops)"
        found.append((1, f"{text}: write <!-- {STRICT} --> on the one that does"))
    found += [(slide.line, text) for slide in deck.slides for text in _small(slide, deck, folders)]
    return [f"{deck.path.name}:{line}: warning: {text}" for line, text in sorted(found)]


def _small(slide: Slide, deck: Deck, folders: Folders) -> Iterator[str]:
    """Figures whose smallest text cannot be read from the last row."""
    for alt, target in _PICTURE.findall(slide.shown):
        file = folders.slides / target
        points = shown_type(file.read_bytes(), alt) if file.exists() else 0.0
        if not points:
            again = f"`python -m mtlkit build --only {deck.number} --execute`"
            yield f"{target} has the type of a page: {again} draws it for the slide"
        elif points < LEAST:
            yield f"the smallest type of {target} is {points:.0f} points, {LEAST:.0f} are read"


def _is_trap(slide: Slide) -> bool:
    return slide.kind == "trap" or bool(re.search(r"\btraps?\b", slide.heading, re.IGNORECASE))


def _cells(deck: Deck, folders: Folders) -> list[dict]:
    return json.loads(solution(deck, folders).read_text(encoding="utf-8"))["cells"]


def _whole(deck: Deck, name: str) -> Iterator[str]:
    for key, value in FRONT.items():
        if deck.front.get(key) != value:
            yield f"front matter: write `{key}: {value}`"
    title = f"{deck.number} · {name}"
    if deck.front.get("title") != title:
        yield f'front matter: the title is the notebook\'s: `title: "{title}"`'
    if len(deck.slides) > MOST_SLIDES:
        yield f"{len(deck.slides)} slides; at most {MOST_SLIDES}"
    kinds = [slide.kind for slide in deck.slides]
    for kind in KINDS:
        if kind not in kinds:
            yield f"no slide of kind {kind!r}: write <!-- _class: {kind} --> on one"
    if kinds and (kinds[0] != "question" or kinds[-1] != "recap"):
        yield "the first slide asks the question and the last is the recap"


def _slide(slide: Slide, number: str, known: Collection[str]) -> Iterator[str]:
    if slide.kind not in KINDS + MORE_KINDS:
        known = ", ".join(KINDS + MORE_KINDS)
        yield f"its kind {slide.kind!r} is none of {known} (<!-- _class: KIND -->)"
    if not slide.heading or not slide.shown.startswith("#"):
        yield "a slide starts with its heading"
    limit = MOST_VOTE_WORDS if slide.kind == "vote" else MOST_WORDS
    words = _count(slide.shown)
    if words > limit:
        yield f"{words} words are shown; at most {limit}: move some into the notes"
    if len(slide.notes.split()) < LEAST_NOTES:
        yield "no speaker notes: say in a comment what to tell, ask and show"
    if len(slide.images) > 1:
        yield "two pictures on one slide: give each its own"
    for name, target in slide.images:
        if target != file_name(number, name):
            yield f"the picture {name!r} belongs into {file_name(number, name)}"
    raw = _RAW.findall(_FENCES.sub("", re.sub(r"\$\$.*?\$\$|\$[^$\n]*\$|`[^`\n]*`", "", slide.shown,
                                              flags=re.DOTALL)))  # fmt: skip
    if raw:
        yield f"raw HTML {raw[0]!r}: plain Markdown only, so that any viewer shows it"
    if slide.kind == "picture" and not slide.images:
        yield "a slide of kind picture shows one"
    if slide.kind == "equation" and "$" not in slide.shown:
        yield "a slide of kind equation shows one ($...$)"
    if slide.kind == "live" and not slide.code:
        yield "a slide of kind live shows the code to type (```python)"
    if slide.kind == "vote":
        yield from _vote(slide)
    if slide.kind == "exercise":
        named = re.findall(r"\b\d+\.\d+\b", slide.shown)
        if not named or not set(named) <= set(known):
            yield f"it must name exercises of this notebook ({', '.join(known)}), not {named}"


def _vote(slide: Slide) -> Iterator[str]:
    options = _OPTION.findall(slide.shown)
    verdicts = dict(_VERDICT.findall(slide.notes))
    right = [letter for letter, text in verdicts.items() if text.lower().startswith("right")]
    if len(options) < 3 or options != sorted(set(options)):
        yield "a vote has three options or more, `- **A** ...`, in order"
    for letter in options:
        if letter not in verdicts:
            yield f"the notes of a vote judge each option: `{letter}: ...` is missing"
    if len(right) != 1:
        yield "the notes of a vote call one option right: `B: right, because ...`"


def _code(slide: Slide, cells: list[str]) -> Iterator[str]:
    for block in slide.code:
        rows = textwrap.dedent(block).split("\n")
        if len(rows) > MOST_CODE:
            yield f"{len(rows)} lines of code; at most {MOST_CODE}"
        longest = max(map(len, rows))
        if longest > MOST_COLUMNS:
            yield f"a line of code has {longest} characters; {MOST_COLUMNS} fit"
        if not any(_holds(cell.split("\n"), rows) for cell in cells):
            yield f"its code is not the notebook's (no cell holds these lines): {rows[0]!r} ..."


def _holds(cell: list[str], rows: list[str]) -> bool:
    for start in range(len(cell) - len(rows) + 1):
        piece = textwrap.dedent("\n".join(cell[start : start + len(rows)])).split("\n")
        if piece == rows:
            return True
    return False


def _count(shown: str) -> int:
    plain = re.sub(r"^```.*?^```$|\$\$.*?\$\$", " ", shown, flags=re.MULTILINE | re.DOTALL)
    plain = re.sub(r"!\[[^\]]*\]\([^)]*\)|\$[^$\n]*\$|\]\([^)]*\)", " ", plain)
    return len(re.findall(r"[^\W_][\w'’.-]*", plain))
