"""Decks: read, held to their rules, figures from the notebook, HTML where Marp is installed."""

import json
import shutil

import pytest

from mtlkit import plot
from mtlkit.course.author import lint_slides, slides
from mtlkit.course.author.deck import KINDS, SlideError, read_deck
from mtlkit.course.author.deck_figures import Figure, figures, find_figure
from mtlkit.course.author.folders import HERE, Folders

GAIN = "The gain of sharing"
DECK = """---
marp: true
theme: mtlkit
math: mathjax
paginate: true
lang: en
title: "97 · A small one"
---
<!-- _class: question -->

# Does it pay?

<!-- Ask everybody to raise a hand for yes or for no before you go on to the picture. -->

---
<!-- _class: picture -->

## What came out

![w:900 The gain of sharing](figures/97-the-gain-of-sharing.png)

<!-- Read one point aloud, then ask two people what the second point says about the question. -->

---
<!-- _class: idea -->

## A sum

- One layer, two heads.

<!-- Draw the two arrows back and let somebody say in a sentence what happens where they meet. -->

---
<!-- _class: equation -->

## In symbols

$$L = L_1 + L_2$$

<!-- Read it from left to right, then ask which letter would change with a third task. -->

---
<!-- _class: live -->

## Type this

```python
total = losses.sum()
total.backward()
```

<!-- Before the second line ask where the gradient will be found afterwards, and who uses it. -->

---
<!-- _class: vote -->

## What moves the layer?

- **A** The larger loss
- **B** The sum
- **C** Both in turn

<!--
Everyone votes alone first.

A: louder is not alone.
B: right, the gradient of a sum is the sum of gradients.
C: one backward pass brings both.
-->

---
<!-- _class: exercise -->

## Your turn: 97.1

<!-- Walk around and look for those who multiply where they should add; give it six minutes. -->

---
<!-- _class: recap -->

## What stays

- It is a sum.

<!-- Return to the hands of the first slide and ask who has changed their mind, and why. -->
"""


@pytest.fixture
def folders(tmp_path):
    folders = Folders(tmp_path / "notebooks", tmp_path / "lessons", tmp_path / "slides")
    (folders.notebooks / "solutions").mkdir(parents=True)
    lesson = folders.lessons / "nb97"
    lesson.mkdir(parents=True)
    (folders.slides / "figures").mkdir(parents=True)
    for name in ("theme.css", "marp.yml"):
        shutil.copy(HERE.slides / name, folders.slides)
    card = {"title": "A small one", "exercises": {"97.1": {}}}
    (lesson / "cards.json").write_text(json.dumps(card), encoding="utf-8")
    picture = plot.lines([1, 2], {"AUC": [0.5, 0.6]}, title=GAIN, xlabel="epoch", ylabel="AUC")
    data, metadata = picture._repr_mimebundle_()
    code = ["if ready:\n", "    total = losses.sum()\n", "    total.backward()\n"]
    cells = [
        {"cell_type": "code", "source": code, "outputs": [{"data": data, "metadata": metadata}]},
        {"cell_type": "markdown", "source": ["total = nothing"]},
    ]
    notebook = json.dumps({"cells": cells})
    path = folders.notebooks / "solutions" / "97_small.ipynb"
    path.write_text(notebook, encoding="utf-8")
    (folders.slides / "97_small.md").write_text(DECK, encoding="utf-8")
    return folders


def said(folders, old="", new=""):
    """What the lint says of the deck with one text replaced."""
    assert old in DECK
    path = folders.slides / "97_small.md"
    path.write_text(DECK.replace(old, new, 1) if old else DECK, encoding="utf-8")
    return "\n".join(lint_slides.lint(read_deck(path), folders))


def test_a_deck_is_read_slide_by_slide(folders):
    deck = read_deck(folders.slides / "97_small.md")
    assert [slide.kind for slide in deck.slides] == list(KINDS)
    assert deck.number == "97" and deck.front["title"] == "97 · A small one"
    assert deck.slides[1].images == [(GAIN, "figures/97-the-gain-of-sharing.png")]
    assert deck.slides[4].code == ["total = losses.sum()\ntotal.backward()"]
    assert deck.slides[2].heading == "A sum" and "_class" not in deck.slides[2].notes
    rows = DECK.split("\n")
    for slide in deck.slides:
        assert rows[slide.line - 1] == f"<!-- _class: {slide.kind} -->"


def test_a_line_of_dashes_in_code_parts_no_slides(folders):
    path = folders.slides / "97_small.md"
    path.write_text(DECK.replace("total.backward()", "---"), encoding="utf-8")
    assert len(read_deck(path).slides) == len(KINDS)


def test_a_good_deck_has_no_findings(folders):
    assert said(folders) == ""


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("theme: mtlkit", "theme: default", "write `theme: mtlkit`"),
        ("A small one", "Another one", 'title: "97 · A small one"'),
        ("_class: idea", "_class: thought", "its kind 'thought' is none of"),
        ("_class: idea", "_class: recap", "no slide of kind 'idea'"),
        ("## A sum", "A sum", "starts with its heading"),
        ("- It is a sum.", "word " * 61, "words are shown; at most 60"),
        ("<!-- Draw the two arrows back", "<!-- Draw.\n-->\n<!-- _footer: x", "no speaker notes"),
        ("![w:900 The gain of sharing](figures/97-the-gain-of-sharing.png)", "", "shows one"),
        ("97-the-gain-of-sharing.png", "97-1.png", "belongs into figures/97-the-gain-of-sharing"),
        (GAIN, "A gain", "0 figures of the notebook are described by 'A gain'"),
        ("$$L = L_1 + L_2$$", "a sum", "kind equation shows one"),
        ("total = losses.sum()", "total = losses.mean()", "its code is not the notebook's"),
        ("```python", "```text", "kind live shows the code"),
        ("- **C** Both in turn\n", "", "three options or more"),
        ("C: one backward", "One backward", "`C: ...` is missing"),
        ("B: right, the", "B: the", "call one option right"),
        ("Your turn: 97.1", "Your turn: 97.9", "must name exercises of this notebook"),
        ("- One layer, two heads.", "- One <b>layer</b>.", "raw HTML '<b>'"),
    ],
)  # fmt: skip
def test_each_rule_is_held(folders, old, new, sentence):
    assert sentence in said(folders, old, new)


def test_code_must_stand_in_one_cell_without_a_gap(folders):
    text = "total = losses.sum()\n\ntotal.backward()"
    assert "its code is not" in said(folders, "total = losses.sum()\ntotal.backward()", text)


def test_too_many_slides_are_counted(folders):
    more = "- One layer, two heads.\n\n<!-- " + "note " * 12 + "-->\n\n---\n<!-- _class: idea -->\n"
    assert "13 slides; at most 12" in said(
        folders, "- One layer, two heads.\n", (more + "\n## A\n\n") * 5
    )


def test_words_that_fit_two_figures_are_refused():
    two = [Figure("Gain of A. 1", b""), Figure("Gain of B. 2", b"")]
    assert find_figure(two, "Gain of B") is two[1]
    with pytest.raises(SlideError, match="2 figures"):
        find_figure(two, "Gain")


@pytest.mark.parametrize(
    ("text", "sentence"), [("# No front", "front matter"), (DECK + "\n```python\n", "not closed")]
)
def test_what_is_no_deck_is_refused_by_name(folders, text, sentence):
    path = folders.slides / "97_small.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SlideError, match=sentence) as problem:
        read_deck(path)
    assert "97_small.md" in str(problem.value)


def test_without_marp_figures_are_written_and_the_way_to_html_is_told(folders, monkeypatch, capsys):
    monkeypatch.setattr(slides, "find_marp", lambda folder: None)
    (folders.slides / "figures" / "97-old.png").write_bytes(b"")
    assert slides.main([], folders) == 1
    assert "npm install --prefix slides" in capsys.readouterr().err
    found = figures(folders.notebooks / "solutions" / "97_small.ipynb")[0]
    written = sorted((folders.slides / "figures").iterdir())
    assert [path.name for path in written] == ["97-the-gain-of-sharing.png"]
    assert written[0].read_bytes() == found.png and found.png.startswith(b"\x89PNG")


def test_html_is_made_of_deck_figures_and_theme_and_stale_when_one_changes(
    folders, monkeypatch, capsys
):
    """A stand-in for Marp, so that this holds on machines without it."""

    def convert(marp, deck, target, *options):
        target.write_text('<img src="figures/97-the-gain-of-sharing.png" alt="x">', "utf-8")

    monkeypatch.setattr(slides, "find_marp", lambda folder: ["marp"])
    monkeypatch.setattr(slides, "_convert", convert)
    assert slides.main(["--check"], folders) == 1
    assert slides.main([], folders) == 0
    page = (folders.slides / "97_small.html").read_text(encoding="utf-8")
    assert f'alt="Line chart: {GAIN}.' in page  # the whole description, not the label
    assert slides.main(["--check"], folders) == 0
    assert [path.name for path in folders.slides.glob(".*")] == []
    for path, change in (
        (folders.slides / "theme.css", "h1 {}"),
        (folders.slides / "97_small.md", "\n"),
    ):
        before = path.read_text(encoding="utf-8")
        path.write_text(before + change, encoding="utf-8")
        assert slides.main(["--check"], folders) == 1
        assert "97_small.html is older than its deck" in capsys.readouterr().err
        path.write_text(before, encoding="utf-8")
    (folders.slides / "figures" / "97-the-gain-of-sharing.png").write_bytes(b"other")
    assert slides.main(["--check"], folders) == 1
    assert "is not the figure of the notebook" in capsys.readouterr().err


def test_a_deck_that_is_not_there_is_named(folders, capsys):
    assert slides.main(["--only", "12"], folders) == 1
    assert "no deck of notebook 12" in capsys.readouterr().err


# --- the decks of the course -------------------------------------------------------------------

DECKS = sorted(HERE.slides.glob("[0-9][0-9]_*.md"))


@pytest.mark.parametrize("path", DECKS, ids=[path.stem for path in DECKS])
def test_the_deck_keeps_the_rules_and_is_up_to_date(path):
    deck = read_deck(path)
    assert lint_slides.lint(deck, HERE) == []
    assert slides.check(deck, HERE) == []


MARP = slides.find_marp(HERE.slides)


@pytest.mark.skipif(MARP is None, reason="needs Marp (Node.js), see slides/README.md")
def test_marp_makes_the_committed_html(tmp_path, monkeypatch):
    """One deck is enough: same Marp, same page."""
    shutil.copytree(HERE.slides, tmp_path / "slides",
                    ignore=shutil.ignore_patterns("node_modules"))  # fmt: skip
    folders = Folders(HERE.notebooks, HERE.lessons, tmp_path / "slides")
    monkeypatch.setattr(slides, "find_marp", lambda folder: MARP)
    committed = DECKS[0].with_suffix(".html").read_bytes()
    assert slides.main(["--only", DECKS[0].stem[:2]], folders) == 0
    assert (tmp_path / "slides" / f"{DECKS[0].stem}.html").read_bytes() == committed
