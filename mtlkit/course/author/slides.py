"""Slide decks: `slides/NN_topic.md` in plain Marp Markdown, with figures out of the notebook.

A figure is named by words of its title: ``![The gain](figures/02-the-gain.png)`` asks for the one
figure of notebook 02's solution copy whose description holds these words. So a deck shows what the
notebook computed, and is refused when the notebook no longer has such a figure.
`mtlkit slides` writes the figures and, where Marp is installed, one HTML file a deck that needs no
network; `lint_slides` holds the rules of a deck.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mtlkit.course.author import build

KINDS = ("question", "picture", "idea", "equation", "live", "vote", "exercise", "recap")
MARP = "@marp-team/marp-cli@4.5.1"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
_DIRECTIVE = re.compile(r"_?(class|paginate|header|footer|color|background\w+|size|theme|math):")
_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")


class SlideError(ValueError):
    """A deck that cannot be read or built; the message names the file, the line and the remedy."""


@dataclass(frozen=True)
class Slide:
    """One slide: where it starts, its kind, what is shown and what is said."""

    line: int
    kind: str
    heading: str
    shown: str  # without comments
    notes: str
    images: list[tuple[str, str]] = field(default_factory=list)  # words, path
    code: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Deck:
    """A deck as read: ``front`` is its front matter."""

    path: Path
    text: str
    front: dict[str, str]
    slides: list[Slide]

    @property
    def number(self) -> str:
        return self.path.stem[:2]


@dataclass(frozen=True)
class Figure:
    """A figure of an executed notebook: its description in words, and its file."""

    alt: str
    png: bytes


def read_deck(path: Path) -> Deck:
    """Read a deck; raises ``SlideError`` where front matter or a code block does not end."""
    text = path.read_text(encoding="utf-8")
    rows = text.split("\n")
    if rows[0] != "---" or "---" not in rows[1:]:
        raise SlideError(f"{path}:1: a deck starts with front matter between two lines of ---")
    end = rows.index("---", 1)
    front = {}
    for row in rows[1:end]:
        name, _, value = row.partition(":")
        front[name.strip()] = value.strip().strip('"')
    starts, inside = [end + 1], False
    for number in range(end + 1, len(rows)):
        if rows[number].startswith("```"):
            inside = not inside
        elif rows[number] == "---" and not inside:
            starts.append(number + 1)
    if inside:
        raise SlideError(f"{path}: a code block is not closed with ```")
    stops = [*(start - 1 for start in starts[1:]), len(rows)]
    slides = [_read_slide("\n".join(rows[a:b]), a + 1) for a, b in zip(starts, stops, strict=True)]
    return Deck(path, text, front, slides)


def _read_slide(text: str, line: int) -> Slide:
    comments = [part.strip() for part in _COMMENT.findall(text)]
    kinds = [part.partition(":")[2].strip() for part in comments if part.startswith("_class:")]
    notes = [part for part in comments if not _DIRECTIVE.match(part)]
    shown = _COMMENT.sub("", text).strip()
    headings = re.findall(r"^#{1,2} (.+)$", _FENCE.sub("", shown), re.MULTILINE)
    images = [(_words(alt), target) for alt, target in _IMAGE.findall(_FENCE.sub("", shown))]
    code = [body.rstrip("\n") for language, body in _FENCE.findall(shown) if language == "python"]
    return Slide(
        line, " ".join(kinds), headings[0] if headings else "", shown, "\n\n".join(notes), images,
        code,
    )  # fmt: skip


def _words(alt: str) -> str:
    """The words of a picture's label, without Marp's sizes ("w:900")."""
    return " ".join(
        part for part in alt.split() if not re.match(r"^(w|h|bg|width|height)\b:?", part)
    )


def figures(notebook: Path) -> list[Figure]:
    """The figures of an executed notebook, in order."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    found = []
    for cell in cells:
        for output in cell.get("outputs", ()):
            coded = output.get("data", {}).get("image/png")
            if coded:
                alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
                found.append(Figure(alt, base64.b64decode("".join(coded))))
    return found


def file_name(number: str, words: str) -> str:
    """Where a deck's figure lies: ("02", "What the helper adds") -> a path below slides."""
    slug = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
    return f"figures/{number}-{slug}.png"


def find_figure(available: Sequence[Figure], words: str) -> Figure:
    """The one figure whose description holds the words; ``SlideError`` for none or several."""
    fitting = [figure for figure in available if words and words in figure.alt]
    if len(fitting) != 1:
        titles = "; ".join(figure.alt[:60] for figure in available)
        raise SlideError(
            f"{len(fitting)} figures of the notebook are described by {words!r}; take words that "
            f"only one has. Descriptions begin: {titles or 'none, the notebook was not executed'}"
        )
    return fitting[0]


def fingerprint(deck: Deck, alts: dict[str, str], theme: str) -> str:
    """What an HTML file was made of: it is stale when this changes."""
    parts = json.dumps([deck.text, alts, theme, MARP], sort_keys=True)
    return hashlib.sha256(parts.encode("utf-8")).hexdigest()


def decks(folder: Path, only: Sequence[str] = ()) -> list[Deck]:
    """The decks of a folder, in order."""
    paths = sorted(folder.glob("[0-9][0-9]_*.md"))
    missing = set(only) - {path.stem[:2] for path in paths}
    if missing:
        raise SlideError(f"{folder} has no deck of notebook {', '.join(sorted(missing))}")
    return [read_deck(path) for path in paths if not only or path.stem[:2] in only]


def solution(deck: Deck, folders: build.Folders) -> Path:
    """The executed notebook that a deck belongs to."""
    path = folders.notebooks / "solutions" / f"{deck.path.stem}.ipynb"
    if not path.exists():
        raise SlideError(f"{deck.path}: no notebook {path}; name a deck after its notebook")
    return path


def deck_figures(deck: Deck, folders: build.Folders) -> dict[str, Figure]:
    """{path below slides: figure} of a deck; ``SlideError`` names a figure that is not there."""
    available = figures(solution(deck, folders))
    found = {}
    for slide in deck.slides:
        for words, target in slide.images:
            try:
                found[target] = find_figure(available, words)
            except SlideError as problem:
                raise SlideError(f"{deck.path}:{slide.line}: {problem}") from None
    return found


def find_marp(folder: Path) -> list[str] | None:
    """The command that starts Marp: of the folder's own packages, or on the search path."""
    own = shutil.which("marp", path=str(folder / "node_modules" / ".bin"))
    marp = own or shutil.which("marp")
    return [marp] if marp else None


def _convert(marp: list[str], deck: Deck, target: Path, *options: str) -> None:
    command = [*marp, "--no-stdin", "--config-file", str(deck.path.parent / "marp.yml"), *options]
    command += ["--theme-set", str(deck.path.parent / "theme.css")]
    done = subprocess.run(
        [*command, "--output", str(target), str(deck.path)],
        capture_output=True, check=False, cwd=deck.path.parent,
    )  # fmt: skip
    if done.returncode != 0 or not target.exists():
        said = done.stderr.decode("utf-8", "replace").strip()
        raise SlideError(f"Marp could not convert {deck.path}: {said[-500:]}")


def make_html(marp: list[str], deck: Deck, found: dict[str, Figure], mark: str) -> Path:
    """Write the deck's HTML with the figures' full descriptions; returns its path."""
    target = deck.path.with_suffix(".html")
    draft = target.with_name(f".{target.name}")
    try:
        _convert(marp, deck, draft)
        page = draft.read_text(encoding="utf-8")
    finally:
        draft.unlink(missing_ok=True)
    for path, figure in found.items():
        image = f'<img src="{path}" alt="{html.escape(figure.alt, quote=True)}"'
        pieces = re.split(rf'<img src="{re.escape(path)}" alt="[^"]*"', page)
        page = image.join(pieces)
    target.write_text(f"{page}\n<!-- made of {mark} -->\n", encoding="utf-8", newline="\n")
    return target


def check(deck: Deck, folders: build.Folders) -> list[str]:
    """What is stale beside a deck: figures that differ from the notebook's, and the HTML."""
    found = deck_figures(deck, folders)
    stale = []
    for path, figure in found.items():
        file = folders.slides / path
        if not file.exists() or file.read_bytes() != figure.png:
            stale.append(f"{file} is not the figure of the notebook: run `mtlkit slides`")
    page = deck.path.with_suffix(".html")
    theme = (folders.slides / "theme.css").read_text(encoding="utf-8")
    mark = fingerprint(deck, {path: figure.alt for path, figure in found.items()}, theme)
    if not page.exists() or mark not in page.read_text(encoding="utf-8"):
        stale.append(f"{page} is older than its deck: run `mtlkit slides` (needs Marp)")
    return stale


def main(argv: Sequence[str] | None = None, folders: build.Folders | None = None) -> int:
    """`mtlkit slides`: 0 where all is well."""
    arguments = argparse.ArgumentParser(
        prog="mtlkit slides",
        description="Check the slide decks, take their figures from the notebooks, and make one "
        "HTML file a deck that works without a network.",
        epilog=f"HTML and PDF need Node.js and Marp: npm install --prefix slides {MARP}; "
        "a PDF needs Chromium, Chrome, Edge or Firefox as well.",
    )
    arguments.add_argument("--only", nargs="+", metavar="NN", default=[], help="only these decks")
    arguments.add_argument("--check", action="store_true", help="write nothing, find what is stale")
    arguments.add_argument("--pdf", action="store_true", help="make a PDF of each deck as well")
    options = arguments.parse_args(argv)
    folders = folders or build.HERE
    from mtlkit.course.author.lint_slides import lint

    try:
        chosen = decks(folders.slides, options.only)
        wrong = [finding for deck in chosen for finding in lint(deck, folders)]
        if options.check and not wrong:
            wrong = [finding for deck in chosen for finding in check(deck, folders)]
        if not options.check and not wrong:
            return _write(chosen, folders, options.pdf)
    except SlideError as problem:
        wrong = [str(problem)]
    for finding in wrong:
        print(finding, file=sys.stderr)
    return 1 if wrong else 0


def _write(chosen: list[Deck], folders: build.Folders, pdf: bool) -> int:
    marp = find_marp(folders.slides)
    theme = (folders.slides / "theme.css").read_text(encoding="utf-8")
    wanted = set()
    for deck in chosen:
        found = deck_figures(deck, folders)
        for path, figure in found.items():
            file = folders.slides / path
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(figure.png)
            wanted.add(file)
        for file in (folders.slides / "figures").glob(f"{deck.number}-*.png"):
            if file not in wanted:
                file.unlink()
        if marp:
            mark = fingerprint(deck, {path: figure.alt for path, figure in found.items()}, theme)
            print(make_html(marp, deck, found, mark))
        if marp and pdf:
            target = deck.path.with_suffix(".pdf")
            _convert(marp, deck, target, "--allow-local-files", "--pdf-notes", "--pdf-outlines")
            print(target)
    if not marp:
        print(
            "The figures are written; HTML needs Marp (Node.js): "
            f"npm install --prefix slides {MARP}",
            file=sys.stderr,
        )
        return 1
    return 0
