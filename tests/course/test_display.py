"""Tables in notebooks: text without quotes, a dash for a missing value, settings given back."""

import polars as pl
import pytest
from IPython.core.interactiveshell import InteractiveShell

from mtlkit.course import plain_tables
from mtlkit.report.tables import table_html

FRAME = pl.DataFrame({"task": ['say "yes"', "a < b", None], "value": [1.23456, None, 2.0]})


@pytest.fixture
def shell():
    shell = InteractiveShell.instance()
    yield shell
    shell.display_formatter.formatters["text/html"].pop(pl.DataFrame, None)
    InteractiveShell.clear_instance()


def test_text_has_no_quotes_and_a_missing_value_is_a_dash():
    with plain_tables():
        page = table_html(FRAME)
    assert "<td>a &lt; b</td>" in page and "null" not in page
    assert "<td>say &quot;yes&quot;</td>" in page
    assert page.count("<td>–</td>") == 2
    assert page.count("<td>") == 6


def test_a_notebook_shows_tables_so_after_the_call(shell):
    shown = shell.display_formatter.format(FRAME)[0]["text/html"]
    assert "&quot;a" in shown
    with plain_tables(float_precision=2):
        shown = shell.display_formatter.format(FRAME)[0]["text/html"]
        assert "<td>a &lt; b</td>" in shown and "<td>1.23</td>" in shown
        assert "str" not in shown and "shape" not in shown
    shown = FRAME._repr_html_()
    assert "shape" in shown and "1.23456" in shown  # the settings are polars' own again


def test_without_a_notebook_only_the_settings_change():
    with plain_tables():
        assert "shape" not in FRAME._repr_html_()
