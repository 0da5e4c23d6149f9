"""A report says in figure, table and sentence what the source's own numbers say, and no more."""

import math

import numpy as np
import polars as pl
import pytest

from mtlkit import report
from mtlkit.comparison import across_shops, paired, paired_interval
from mtlkit.comparison.table import Comparison
from mtlkit.course import record
from mtlkit.course.learner.evidence import Evidence
from mtlkit.course.learner.record import read_records
from mtlkit.plot.style import Picture

SCORES = {
    "alone": [0.60, 0.62, 0.61, 0.63],
    "shared": [0.66, 0.67, 0.68, 0.69],
    "noise": [0.61, 0.60, 0.63, 0.61],
    "broken": [0.50, 0.51, 0.52, 0.50],
}
SEEDS = range(4)


def comparison() -> Comparison:
    rows = [
        (name, seed, task, "all", metric, sign * value + shift)
        for task, metric, sign, shift in (("click", "auc", 1, 0.0), ("click", "log_loss", -1, 1.0))
        for name, values in SCORES.items()
        for seed, value in enumerate(values)
    ]
    columns = ["candidate", "seed", "task", "scenario", "metric", "value"]
    runs = pl.DataFrame(rows, schema=columns, orient="row")
    costs = pl.DataFrame({"candidate": list(SCORES)})
    main = {"click": ("auc", 1)}
    return Comparison(runs, costs, tuple(SCORES), "alone", tuple(SEEDS), main, "test", 0.95, {})


def stored() -> Evidence:
    """Three shops; shop 2 is turned round. A second group holds two candidates only."""
    rows = []
    for shop in range(3):
        for group, names in (("few", list(SCORES)), ("many", ["alone", "shared"])):
            for name in names:
                values = np.array(SCORES[name]) * (-1 if shop == 2 else 1) + shop
                seeds = {f"seed {n}": v for n, v in enumerate(values)}
                where = {"shop": shop, "candidate": name, "task": "click", "metric": "auc"}
                rows.append({**where, "rows": group, **seeds})
    return Evidence("99", {"runs": pl.DataFrame(rows)})


SOURCES = {
    "numbers": (SCORES, {}),
    "a comparison": (comparison(), {"task": "click"}),
    "evidence": (stored(), {"task": "click", "rows": "few"}),
}


@pytest.fixture(params=SOURCES)
def source(request):
    return SOURCES[request.param]


def test_the_table_has_each_candidates_mean_and_its_difference_as_the_source_says(source):
    given, where = source
    found = report.against(given, "alone", title="T", label="AUC", **where)
    assert found.table.columns == ["candidate", "mean", "minus alone"]
    assert found.table["candidate"].to_list() == list(SCORES)
    assert found.table["minus alone"].to_list()[0] == ""
    for name, mean, told in found.table.rows()[1:]:
        if given is SCORES:
            gap = paired(SCORES[name], SCORES["alone"])
        else:
            gap = given.difference(name, "alone", **where)
        assert told == gap.short()
        own = given.mean(name, **where) if isinstance(given, Evidence) else np.mean(SCORES[name])
        assert mean == pytest.approx(own)


def test_the_sentence_names_every_candidate_once_under_its_verdict(source):
    given, where = source
    found = report.against(given, "alone", title="T", label="AUC", **where)
    for name, gap in found.gaps.items():
        start = gap.verdict.capitalize()
        said = [s for s in found.sentence.split(". ") if s.startswith(start)]
        assert len(said) == 1 and name in said[0]
        assert found.sentence.count(name) == 1
    assert ("than alone" in found.sentence) == any(
        gap.verdict in ("better", "worse") for gap in found.gaps.values()
    )


def test_seeds_alone_say_what_the_interval_says():
    said = report.against(SCORES, "alone", title="T", label="AUC").sentence
    assert said == "Better than alone: shared. Worse than alone: broken. No difference seen: noise."
    said = report.against(SCORES, "alone", title="T", label="loss", sign=-1).sentence
    assert said.startswith("Better than alone: broken. Worse than alone: shared.")


def test_a_name_with_a_comma_stays_one_name():
    scores = {"alone": SCORES["alone"], "shared, equal": SCORES["shared"], "b": SCORES["shared"]}
    said = report.against(scores, "alone", title="T", label="AUC").sentence
    assert said == "Better than alone: shared, equal; b."


def test_the_figure_tells_the_same_numbers_in_words(source):
    given, where = source
    found = report.against(given, "alone", title="A title", label="AUC of click", **where)
    assert isinstance(found.picture, Picture)
    for part in ("A title", "AUC of click", *SCORES):
        assert part in found.picture.alt


def test_names_choose_and_rename_and_the_guess_is_marked(source):
    given, where = source
    names = {"together": "shared"}
    found = report.against(given, "alone", title="T", label="AUC", names=names, **where)
    assert found.table["candidate"].to_list() == ["alone", "together"]
    marked = report.against(given, "alone", title="T", label="AUC", marked="shared", **where)
    assert "your guess" in marked.picture.alt and "your guess" not in found.picture.alt


def test_one_seed_has_a_table_and_no_figure():
    found = report.against({"a": [1.0], "b": [2.0]}, "a", title="T", label="AUC")
    assert found.picture is None
    assert found.table["minus a"].to_list()[1] == "+1.000 (one pair: no interval), no interval"
    assert found.sentence == "No interval: b."


def test_a_candidate_that_a_group_lacks_is_left_out_of_that_group_alone():
    found = report.against(stored(), "alone", title="T", label="AUC", task="click", rows="many")
    assert found.table["candidate"].to_list() == ["alone", "shared"]


CELLS = {
    "mean": ({"show": "mean"}, lambda e, w: e.mean("shared", **w)),
    "interval": ({"show": "interval"}, lambda e, w: f"{e.interval('shared', **w):.3f}"),
    "short": ({"minus": "alone"}, lambda e, w: e.difference("shared", "alone", **w).short()),
    "sentence": (
        {"minus": "alone", "show": "sentence"},
        lambda e, w: e.difference("shared", "alone", **w).sentence(),
    ),
    "counts": ({"minus": "alone", "show": "counts"}, lambda e, w: "2/1"),
    "gap": (
        {"minus": "alone", "show": "gap"},
        lambda e, w: e.difference("shared", "alone", **w).headline.mean,
    ),
    "per cent": (
        {"minus": "alone", "show": "gap", "times": 100},
        lambda e, w: 100 * e.difference("shared", "alone", **w).headline.mean,
    ),
    "two digits": (
        {"minus": "alone", "digits": 1},
        lambda e, w: e.difference("shared", "alone", **w).short(1),
    ),
}


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_of_a_grid_is_what_the_evidence_says(kind):
    spec, truth = CELLS[kind]
    where = {"task": "click", "rows": "few"}
    table = report.grid(stored(), ["shared"], {"cell": {**where, **spec}}).table
    wanted = truth(stored(), where)
    assert table["cell"].item() == (wanted if isinstance(wanted, str) else pytest.approx(wanted))


def test_a_grid_has_rows_of_any_spec_and_a_candidate_minus_itself_is_empty():
    rows = {
        "few": {"candidate": "shared", "rows": "few"},
        "base": {"candidate": "alone", "rows": "few"},
    }
    columns = {
        "AUC": {"task": "click"},
        "gain": {"task": "click", "minus": "alone"},
        "points": {"task": "click", "minus": "alone", "show": "gap"},
    }
    table = report.grid(stored(), rows, columns, first="place").table
    assert table.columns == ["place", "AUC", "gain", "points"]
    assert table["gain"].to_list()[1] == "" and table["points"].to_list()[1] is None


def test_lower_is_better_needs_no_word_where_the_metric_is_known():
    where = {"task": "click", "metric": "log_loss"}
    found = report.against(comparison(), "alone", title="T", label="log-loss", **where)
    assert found.gaps["shared"].verdict == "better"  # its loss is lower
    assert (
        "lower is better"
        in report.lines(
            comparison(), {"x": {"candidate": "shared", "minus": "alone", **where}}
        ).sentence
    )


def test_lines_are_sentences_of_the_source_one_a_line(source):
    given, where = source
    rest = {key: value for key, value in where.items() if key != "task"}
    if given is SCORES:
        specs = {"shared": {"candidate": "shared", "minus": "alone"}}
        found = report.lines(given, specs | {"mean": {"candidate": "shared"}})
        gap, label = paired(SCORES["shared"], SCORES["alone"]), "shared"
        assert found.sentence.split("\n")[1] == f"- mean: {paired_interval(SCORES['shared']):.3f}"
    else:
        found = report.lines(given, [("click", "shared", "alone")], **rest)
        gap, label = given.difference("shared", "alone", **where), "click, shared minus alone"
    assert found.sentence.split("\n")[0] == f"- {label}: {gap.sentence()}"
    assert found.table is None


def test_scaled_differences_keep_their_verdict_and_scale_every_end():
    gaps = {0: [0.01, 0.02, 0.03], 1: [0.02, 0.02, 0.05]}
    from mtlkit.report.specs import scaled

    for gap in (across_shops(gaps), paired(SCORES["shared"], SCORES["alone"])):
        hundred = scaled(gap, 100)
        assert list(hundred.headline) == pytest.approx([100 * v for v in gap.headline])
        assert hundred.verdict == gap.verdict and hundred.counts() == gap.counts()
        with pytest.raises(ValueError, match="above 0"):
            scaled(gap, -1)


def test_intervals_stand_for_themselves():
    found = report.intervals({"a": [0.9, 1.0, 1.1, math.nan], "b": [2.0]}, label="ratio")
    assert found.picture is None
    assert found.table.rows() == [("a", f"{paired_interval([0.9, 1.0, 1.1]):.2f}"), ("b", "2.00")]
    drawn = report.intervals(
        {"a": [0.9, 1.1]}, label="ratio", title="T", overall=1.0, overall_label="right"
    )
    assert "Right: 1" in drawn.picture.alt


WRONG = {
    "unknown reference": (lambda: report.against(SCORES, "x", title="T", label="A"), "'x'"),
    "unknown name": (
        lambda: report.against(SCORES, "alone", title="T", label="A", names=["x"]),
        "'x'",
    ),
    "the reference alone": (
        lambda: report.against({"a": [1.0]}, "a", title="T", label="A"),
        "only the reference",
    ),
    "a task of plain numbers": (
        lambda: report.against(SCORES, "alone", title="T", label="A", task="click"),
        "have no task",
    ),
    "another source": (lambda: report.against([1.0], "a", title="T", label="A"), "not list"),
    "no rows": (lambda: report.grid(SCORES, [], {"a": {}}), "at least one row"),
    "a heading twice": (lambda: report.grid(SCORES, ["alone"], {"candidate": {}}), "first="),
    "a row without candidate": (lambda: report.grid(SCORES, {"r": {}}, {"c": {}}), "row 'r'"),
    "a show of the other kind": (
        lambda: report.grid(SCORES, ["alone"], {"c": {"show": "short"}}),
        "column 'c'.*mean, interval",
    ),
    "an unknown task in a cell": (
        lambda: report.grid(comparison(), ["alone"], {"c": {"task": "x"}}),
        "column 'c'.*'x' is no task",
    ),
    "an unknown group": (
        lambda: report.lines(stored(), [("click", "shared", "alone")], rows="none"),
        "line 'click, shared minus alone'.*no rows 'none'",
    ),
    "no lines": (lambda: report.lines(SCORES, {}), "at least one"),
    "no values": (lambda: report.intervals({}, label="x"), "at least one"),
    "drawing without a figure": (
        lambda: report.intervals({"a": [1.0]}, label="x", overall=1.0),
        "give it a title",
    ),
    "a part of another kind": (lambda: report.show("a", 3), "not int"),
    "unequal seeds": (lambda: paired([1.0], [1.0, 2.0]), "on both sides"),
    "an infinite number": (lambda: paired([math.inf], [1.0]), "finite"),
    "another sign": (lambda: paired([1.0], [1.0], sign=2), "sign"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_reported_is_said_in_a_sentence(case):
    call, words = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_nothing_is_shown_where_a_part_is_refused(capsys):
    with pytest.raises(TypeError):
        report.show("first", object())
    assert capsys.readouterr().out == ""


def test_outside_a_notebook_reports_are_printed_whole(capsys):
    many = {f"candidate number {n}": [n / 100, n / 90, n / 95] for n in range(30)}
    report.show(report.intervals(many, label="score", digits=3), "a text")
    out = capsys.readouterr().out
    assert all(name in out for name in many) and "…" not in out and out.endswith("a text\n")


def test_a_notebook_gets_picture_table_and_sentence_in_this_order(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.get_ipython", lambda: object())
    monkeypatch.setattr("IPython.display.display", lambda piece, **options: shown.append(piece))
    report.against(SCORES, "alone", title="T", label="AUC")._ipython_display_()
    picture, table, sentence = shown
    assert isinstance(picture, Picture) and type(sentence).__name__ == "Markdown"
    page = table["text/html"]
    assert "<td>shared</td>" in page and "0.675" in page  # no quotes, three decimals
    for part in ("shape:", "&quot;", ">str<", ">f64<", "null"):
        assert part not in page and part not in table["text/plain"]


def test_a_report_is_recorded_by_its_table_or_else_its_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("MTLKIT_RECORD", str(tmp_path))
    found = report.against(SCORES, "alone", title="T", label="AUC")
    record("table", found)
    record("text", report.lines(SCORES, {"a": {"candidate": "alone"}}))
    by_name = {entry["name"]: entry for entry in read_records(tmp_path)}
    assert by_name["table"]["columns"] == found.table.columns
    assert by_name["text"]["value"].startswith("- a: 0.615")


def test_the_example_of_the_package_is_true():
    import doctest

    assert doctest.testmod(report).failed == 0 and doctest.testmod(report).attempted == 3


def test_evidence_has_an_interval_over_shops():
    where = {"task": "click", "rows": "few"}
    means = [stored().runs.filter(shop=s, candidate="shared", rows="few") for s in range(3)]
    means = [float(m.select(pl.mean_horizontal(r"^seed .*$")).item()) for m in means]
    assert stored().interval("shared", **where) == pytest.approx(paired_interval(means))
    assert stored().interval("shared", **where).mean == pytest.approx(
        stored().mean("shared", **where)
    )
