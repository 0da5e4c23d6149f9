"""Each slide as a browser lays it out: nothing runs over its edge, nothing asks the network."""

import importlib.util
import shutil

import pytest

from mtlkit.course.author.folders import HERE

DECKS = sorted(HERE.slides.glob("[0-9][0-9]_*.html"))
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((path for path in map(shutil.which, BROWSERS) if path), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None,
        reason="needs playwright: pip install playwright",
    ),
    pytest.mark.skipif(BROWSER is None, reason="needs a Chromium or Chrome on the search path"),
]

MEASURE = """
() => [...document.querySelectorAll("section")].flatMap((section, number) => {
  const edge = section.getBoundingClientRect();
  const found = [];
  if (section.scrollHeight > section.clientHeight) found.push("higher than the slide");
  if (section.scrollWidth > section.clientWidth) found.push("wider than the slide");
  for (const part of section.querySelectorAll("pre, img, table, ul, p")) {
    const box = part.getBoundingClientRect();
    if (part.scrollWidth > part.clientWidth + 1) found.push(`${part.tagName} is cut off`);
    if (box.bottom > edge.bottom + 1) found.push(`${part.tagName} below the edge`);
    if (part.tagName === "IMG" && !part.naturalWidth) found.push("a picture that is not there");
  }
  return found.map(text => `slide ${number + 1}: ${text}`);
})
"""


@pytest.fixture(scope="module")
def page():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1280, "height": 720})
        browser.close()


def test_a_slide_that_is_too_full_is_seen(page, tmp_path):
    """The measure itself can find what it looks for."""
    shutil.copy(DECKS[0], tmp_path / "deck.html")
    text = (tmp_path / "deck.html").read_text(encoding="utf-8")
    assert "</section>" in text
    full = text.replace("</section>", "<p>much</p>" * 40 + "</section>", 1)
    (tmp_path / "deck.html").write_text(full, encoding="utf-8")
    page.goto((tmp_path / "deck.html").as_uri())
    found = page.evaluate(MEASURE)
    assert "slide 1: higher than the slide" in found
    assert any("a picture that is not there" in text for text in found)  # figures lie elsewhere


@pytest.mark.parametrize("path", DECKS, ids=[path.stem for path in DECKS])
def test_every_slide_fits_and_nothing_is_fetched(page, path):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_load_state("networkidle")
    assert page.evaluate(MEASURE) == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
