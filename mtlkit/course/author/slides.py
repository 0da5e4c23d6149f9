"""The command `mtlkit slides`: decks checked, their figures written, and made HTML.

It writes the figures and, where Marp is installed, one HTML file a deck that needs no network;
`lint_slides` holds the rules of a deck.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mtlkit.course.author.deck import Deck, SlideError, decks
from mtlkit.course.author.deck_figures import Figure, deck_figures, is_of
from mtlkit.course.author.deck_minutes import card_of, with_minutes
from mtlkit.course.author.folders import HERE, Folders
from mtlkit.course.author.lint_slides import lint, warnings
from mtlkit.files import write_bytes, write_text

MARP = "@marp-team/marp-cli@4.5.1"


def fingerprint(deck: Deck, alts: dict[str, str], theme: str) -> str:
    """What an HTML file was made of: it is stale when this changes."""
    parts = json.dumps([deck.text, alts, theme, MARP], sort_keys=True)
    return hashlib.sha256(parts.encode("utf-8")).hexdigest()


def find_marp(folder: Path) -> list[str] | None:
    """The command that starts Marp: of the folder's own packages, or on the search path."""
    own = shutil.which("marp", path=str(folder / "node_modules" / ".bin"))
    marp = own or shutil.which("marp")
    return [marp] if marp else None


def _convert(marp: list[str], deck: Deck, target: Path, *options: str) -> None:
    command = [*marp, "--no-stdin", "--config-file", str(deck.path.parent / "marp.yml"), *options]
    command += ["--theme-set", str(deck.path.parent / "theme.css")]
    draft = deck.path.with_name(f".{deck.path.name}")
    try:
        write_text(draft, deck.text)
        done = subprocess.run(
            [*command, "--output", str(target), str(draft)],
            capture_output=True, check=False, cwd=deck.path.parent,
        )  # fmt: skip
    finally:
        draft.unlink(missing_ok=True)
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
    write_text(target, f"{page}\n<!-- made of {mark} -->\n")
    return target


def check(deck: Deck, folders: Folders) -> list[str]:
    """What is stale beside a deck: figures that differ from the notebook's, and the HTML."""
    found = deck_figures(deck, folders)
    stale = []
    for path, figure in found.items():
        file = folders.slides / path
        if not file.exists() or not is_of(file.read_bytes(), figure):
            stale.append(f"{file} is not the figure of the notebook: run `mtlkit slides`")
    page = deck.path.with_suffix(".html")
    theme = (folders.slides / "theme.css").read_text(encoding="utf-8")
    told = with_minutes(deck, card_of(deck, folders))
    mark = fingerprint(told, {path: figure.alt for path, figure in found.items()}, theme)
    if not page.exists() or mark not in page.read_text(encoding="utf-8"):
        stale.append(f"{page} is older than its deck: run `mtlkit slides` (needs Marp)")
    return stale


def main(argv: Sequence[str] | None = None, folders: Folders = HERE) -> int:
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
    try:
        chosen = decks(folders.slides, options.only)
        wrong = [finding for deck in chosen for finding in lint(deck, folders)]
        for warning in [text for deck in chosen for text in warnings(deck, folders)]:
            print(warning)
        if options.check and not wrong:
            wrong = [finding for deck in chosen for finding in check(deck, folders)]
        if not options.check and not wrong:
            return _write(chosen, folders, options.pdf)
    except SlideError as problem:
        wrong = [str(problem)]
    for finding in wrong:
        print(finding, file=sys.stderr)
    return 1 if wrong else 0


def _write(chosen: list[Deck], folders: Folders, pdf: bool) -> int:
    marp = find_marp(folders.slides)
    theme = (folders.slides / "theme.css").read_text(encoding="utf-8")
    wanted = set()
    for deck in chosen:
        told = with_minutes(deck, card_of(deck, folders))
        found = deck_figures(deck, folders)
        for path, figure in found.items():
            file = folders.slides / path
            if not file.exists() or not is_of(file.read_bytes(), figure):
                write_bytes(file, figure.png)
            wanted.add(file)
        for file in (folders.slides / "figures").glob(f"{deck.number}-*.png"):
            if file not in wanted:
                file.unlink()
        if marp:
            mark = fingerprint(told, {path: figure.alt for path, figure in found.items()}, theme)
            print(make_html(marp, told, found, mark))
        if marp and pdf:
            target = deck.path.with_suffix(".pdf")
            _convert(marp, told, target, "--allow-local-files", "--pdf-notes", "--pdf-outlines")
            print(target)
    if not marp:
        print(
            "The figures are written; HTML needs Marp (Node.js): "
            f"npm install --prefix slides {MARP}",
            file=sys.stderr,
        )
        return 1
    return 0
