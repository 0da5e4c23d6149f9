"""The first notebook in a real JupyterLab: a browser runs it and answers through the widgets."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from mtlkit import __main__ as command

NOTEBOOK = command.CHECKOUT / "notebooks" / "00_start_here.ipynb"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((path for path in map(shutil.which, BROWSERS) if path), None)
PATIENCE = 120_000  # milliseconds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.notebook,
    pytest.mark.timeout(420),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None,
        reason="needs playwright: pip install playwright",
    ),
    pytest.mark.skipif(BROWSER is None, reason="needs a Chromium or Chrome on the search path"),
]


@pytest.fixture
def lab(tmp_path):
    """JupyterLab as `mtlkit lab` starts it, in a copy of the checkout; (address, checkout)."""
    checkout = tmp_path / "checkout"
    (checkout / "notebooks").mkdir(parents=True)
    shutil.copy(NOTEBOOK, checkout / "notebooks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=open"]
    options.append("--ServerApp.ip=127.0.0.1")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MTLKIT_")}
    environment = {
        **ours,
        "MTLKIT_MODE": "smoke",
        "OMP_NUM_THREADS": "1",
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MTLKIT_HOME", raising=False)
        added = command.lab_environment(checkout)
    added["PYTHONPATH"] += os.pathsep + str(command.CHECKOUT)
    added["MTLKIT_RECORD"] = str(tmp_path / "records")
    log = tmp_path / "lab.log"
    with log.open("w", encoding="utf-8") as file:
        server = subprocess.Popen(
            command.lab_command(True, options, checkout),
            env={**environment, **added},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(server, f"http://127.0.0.1:{port}/api", log)
        yield (
            f"http://127.0.0.1:{port}/lab/tree/notebooks/{NOTEBOOK.name}?token=open&reset",
            checkout,
        )
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(30)


def wait_for(server, address, log, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    text = log.read_text(encoding="utf-8", errors="replace")
    pytest.fail(f"JupyterLab did not start:\n{text[-2000:]}")


@pytest.fixture
def page():
    """A page of a headless browser that asks the network for nothing of its own."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=flags)
        try:
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            page.set_default_timeout(PATIENCE)
            yield page
        finally:
            browser.close()


def wait_for_kernel(address, seconds=90):
    """Until the notebook has a kernel that is ready: JupyterLab shows its menus earlier."""
    sessions = address.partition("/lab/")[0] + "/api/sessions?token=open"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with urllib.request.urlopen(sessions, timeout=5) as reply:
            states = [session["kernel"]["execution_state"] for session in json.load(reply)]
        if states == ["idle"]:
            return
        time.sleep(0.5)
    pytest.fail(f"The notebook's kernel was not ready after {seconds} seconds: {states}")


def run_all_cells(page):
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()


def test_a_learner_runs_the_first_notebook_and_answers_with_the_mouse(lab, page):
    address, checkout = lab
    page.goto(address)
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    wait_for_kernel(address)
    kernel_question = page.get_by_role("button", name="Select", exact=True)
    page.add_locator_handler(kernel_question, lambda: kernel_question.click())
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").first.wait_for()
    folded = page.locator(".jp-OutputPlaceholder")
    folded.get_by_text("First your guess").first.wait_for(state="attached")
    run_all_cells(page)

    page.get_by_role("button", name="Answer", exact=True).wait_for()  # the quiz is the last but one
    assert folded.count() == 0  # running a cell unfolds it, and the answer waits for the guess
    held = page.get_by_text("The answer waits for your guess 0.p1")
    held.first.wait_for(state="attached")
    answer = page.locator("img[alt*='products clicked, of 100 shown']")
    assert answer.count() == 0
    page.get_by_placeholder("a number").first.fill("20")
    page.get_by_role("button", name="This is my guess").first.click()
    page.get_by_text("Noted: 20").wait_for()
    answer.first.wait_for(state="attached")
    assert held.count() == 0 and "your guess was 20" in answer.first.get_attribute("alt")

    choices = page.locator(".widget-radio-box input[type=radio]")
    assert choices.count() == 9
    for number in (0, 3, 6):  # the first option of each question
        choices.nth(number).check()
    page.get_by_role("button", name="Answer", exact=True).click()
    page.get_by_text("of 3 right.").wait_for()

    assert page.locator(".jp-RenderedText[data-mime-type*=stderr]").count() == 0
    assert page.get_by_text("Traceback").count() == 0
    assert page.get_by_text("Jupyter news").count() == 0
    stored = json.loads((checkout / ".mtlkit" / "progress.json").read_text(encoding="utf-8"))
    assert stored["guesses"]["0.p1"] == 20
    assert stored["quizzes"]["0.exit"]["answers"] == [1, 1, 1]
    assert stored["checks"]["0.1"]["status"] == "not attempted"
