"""Stored evidence: a contest run for several shops, stored, read back, and told when stale."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mtlkit.__main__ import main as mtlkit_main
from mtlkit.comparison import across_shops
from mtlkit.course import evidence
from mtlkit.course.learner.evidence import Evidence
from mtlkit.course.runner import contests, keys, table_makers
from mtlkit.course.runner import evidence as command
from tests.course.temporary_lesson import GOLDEN, mounted

CONTEST = """
import polars as pl

from mtlkit.lessons.nb96 import gains

USES = ("small", "SharedBottom")


def contest(shop, size, store):
    rows = [
        (share, name, "click", metric, seed, base + sign * gain * (1 + shop) + 0.0001234567 * seed)
        for share in (0.5, 1.0)
        for name, gain in gains.GAINS.items()
        for metric, base, sign in (("auc", 0.7, 1), ("log_loss", 0.3, -1), ("own", 5.0, 1))
        for seed in range(size.seeds)
    ]
    columns = ["share", "candidate", "task", "metric", "seed", "value"]
    runs = pl.DataFrame(rows, schema=columns, orient="row")
    chosen = pl.DataFrame({"candidate": list(gains.GAINS), "rate": ["0.1", "", None]})
    return {"runs": runs, "chosen": chosen}
"""
GAINS = 'GAINS = {"plain": 0.0, "good": 0.01, "bad": -0.02}\n'
FILES = {
    "__init__": "",
    "sizes": 'SIZES = {"seeds": (2, 3), "rows": (10, 100)}\n',
    "gains": GAINS,
    "contest": CONTEST,
}


@pytest.fixture
def small(tmp_path, monkeypatch):
    with mounted(FILES, tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def run(small, tmp_path):
    """Run the command with a store of its own; the exit code."""

    def call(*arguments):
        return command.main(["96", "--store", str(tmp_path / "store"), *arguments])

    return call


def test_the_command_stores_compact_tables_and_a_key(small, run, capsys):
    assert run("--shops", "0", "3") == 0
    said = capsys.readouterr().out
    assert "Notebook 96, shop 0: 0 s (1 of 2)" in said and "shop 3: 0 s (2 of 2)" in said
    assert sorted(small.stored()) == ["chosen.csv", "key.json", "runs.csv"]
    lines = small.stored()["runs.csv"].decode("utf-8").split("\n")
    assert lines[0] == "shop,share,candidate,task,metric,seed 0,seed 1,seed 2"
    assert lines[1] == "0,0.5,plain,click,auc,0.7,0.70012,0.70025"
    assert len(lines) == 2 + 2 * 2 * 3 * 3  # head and last end, shops, shares, candidates, metrics
    assert not any(b"\r" in content for content in small.stored().values())
    assert small.key()["shops"] == [0, 3] and small.key()["seeds"] == 3
    assert sorted(small.key()["code"]) == ["__init__.py", "contest.py", "gains.py"]
    assert small.key()["sizes"] == {"seeds": "3", "rows": "100"}
    names = ["small, seed 1: live", "small: demand", "SharedBottom: ten steps"]
    assert list(small.key()["golden"]) == names
    assert "+" not in small.key()["torch"]


def test_what_is_read_is_what_was_stored(small, run):
    run("--shops", "0", "3")
    found = evidence("96")
    assert (found.shops, found.seeds, found.groups) == ((0, 3), (0, 1, 2), ("share",))
    assert found.candidates == ("plain", "good", "bad")
    assert found.table("chosen")["rate"].to_list() == ["0.1", "", None] * 2
    assert found.table("chosen")["shop"].to_list() == [0, 0, 0, 3, 3, 3]
    assert "2 shops, 3 seeds; candidates: plain, good, bad" in repr(found)


def test_a_difference_is_paired_on_each_shop_and_the_shop_is_the_unit(run):
    run("--shops", "0", "1", "2")
    found = evidence("96").difference("good", "plain", task="click", share=0.5)
    by_hand = across_shops({shop: np.full(3, 0.01 * (1 + shop)) for shop in range(3)})
    assert found.headline == pytest.approx(by_hand.headline, abs=1e-4)
    assert list(found.shops) == [0, 1, 2]
    assert found.sentence().endswith("better on 3 of 3 shops, worse on none")
    worse = evidence("96").difference("plain", "good", task="click", share=0.5)
    assert worse.worse_on == 3


def test_a_mean_is_over_seeds_and_then_over_shops(run):
    run("--shops", "0", "2")
    found = evidence("96")
    # .7 + .01 (1 + shop) + .0001234567 seed, over shops 0 and 2, and seeds 0, 1, 2
    wanted = 0.7 + 0.01 * 2 + 0.0001234567
    assert found.mean("good", task="click", share=0.5) == pytest.approx(wanted, abs=1e-5)
    with pytest.raises(ValueError, match="also say share="):
        found.mean("good", task="click")


def test_where_lower_is_better_the_metric_says_so_and_a_metric_of_ones_own_can(run):
    run("--shops", "0", "1")
    found = evidence("96")
    loss = found.difference("good", "plain", task="click", metric="log_loss", share=1.0)
    assert loss.headline.mean < 0 and loss.better_on == 2
    own = {"task": "click", "metric": "own", "share": 1.0}
    assert found.difference("good", "plain", **own).verdict == "no direction"
    assert found.difference("good", "plain", sign=1, **own).better_on == 2
    assert found.difference("good", "plain", sign=-1, **own).worse_on == 2


def test_all_differences_are_a_table_with_one_row_a_candidate(run):
    run("--shops", "0", "1")
    table = evidence("96").differences("plain", task="click", share=1.0)
    assert table.columns == [
        "candidate",
        "mean",
        "low",
        "high",
        "better on",
        "worse on",
        "of shops",
    ]
    rows = {row["candidate"]: row for row in table.to_dicts()}
    assert list(rows) == ["good", "bad"]
    assert (rows["good"]["better on"], rows["bad"]["worse on"]) == (2, 2)
    one = evidence("96").difference("bad", "plain", task="click", share=1.0)
    assert (rows["bad"]["mean"], rows["bad"]["low"], rows["bad"]["high"]) == one.headline


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ({"candidate": "best"}, "no candidate 'best'; there are: plain, good, bad"),
        ({"reference": "equal"}, "no candidate 'equal'; there are: plain, good, bad"),
        ({"task": "cart"}, "no task 'cart'; there are: click"),
        ({"metric": "AUC"}, "no metric 'AUC'; there are: auc, log_loss, own"),
        ({"share": 0.7}, "no share 0.7; there are: 0.5, 1.0"),
        ({"rows": 100}, "no group 'rows'; there are: share"),
        ({"share": None}, "no share None"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_those_that_are(run, call, told):
    run("--shops", "0")
    given = {"candidate": "good", "reference": "plain", "task": "click", "share": 0.5, **call}
    with pytest.raises(ValueError, match=told):
        evidence("96").difference(given.pop("candidate"), given.pop("reference"), **given)


def test_a_group_that_is_not_named_is_asked_for(run):
    run("--shops", "0")
    with pytest.raises(ValueError, match=r"several rows a shop: also say share= one of 0\.5, 1\.0"):
        evidence("96").difference("good", "plain", task="click")


def test_other_notebooks_and_tables_are_refused_by_name(run):
    with pytest.raises(ValueError, match=r"no evidence for notebook '96'.*some for: none"):
        evidence("96")
    run("--shops", "0")
    for other in ("95", "../nb96", 96):
        with pytest.raises(ValueError, match=r"no evidence for notebook .*some for: 96"):
            evidence(other)
    with pytest.raises(ValueError, match="no table 'choice'; there are: runs, chosen"):
        evidence("96").table("choice")


def test_later_shops_join_or_replace_those_of_the_same_key(small, run, capsys):
    run("--shops", "2")
    run("--shops", "0", "2")
    assert small.key()["shops"] == [0, 2] == list(evidence("96").shops)
    assert evidence("96").runs.filter(shop=2).height == 18
    together = small.stored()
    run("--shops", "0", "2")
    assert small.stored() == together
    assert "dropped" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda made: made.edit("gains", '"good"', '"new name"'), "gains.py moved"),
        (lambda made: made.edit("contest", "0.7", "0.8"), "contest.py moved"),
        (lambda made: made.edit("sizes", "100", "200"), r"size rows (100, now 200) moved"),
        (lambda made: made.freeze({"a": {**GOLDEN["shop"], "small: demand": "x",
                                         "SharedBottom: ten steps": [0.5, 0.25]}}),
         'the frozen number "small: demand" moved'),
        (lambda made: made.freeze({"a": {"small: demand": "bb",
                                         "SharedBottom: ten steps": [0.5, 0.25]}}),
         'the frozen number "small, seed 1: live", which is gone moved'),
    ],
)  # fmt: skip
def test_what_moved_is_named_and_the_old_shops_are_dropped(small, run, capsys, change, told):
    run("--shops", "0", "1")
    assert command.main(["--check"]) == 0
    change(small)
    before = small.stored()
    assert command.main(["--check"]) == 1
    said = capsys.readouterr().out
    assert (
        f"The evidence of notebook 96 is stale: {told}; run `python -m mtlkit evidence 96`" in said
    )
    assert small.stored() == before
    assert run("--shops", "4") == 0
    assert f"The shops stored before are dropped: {told}." in capsys.readouterr().out
    assert small.key()["shops"] == [4]
    assert command.main(["--check"]) == 0


def test_another_torch_is_told_and_its_build_is_not(small, run, monkeypatch):
    import torch

    monkeypatch.setattr(torch, "__version__", "2.99.0+cu129")
    run("--shops", "0")
    monkeypatch.setattr(torch, "__version__", "2.99.0+cpu")
    assert command.stale() == []
    monkeypatch.setattr(torch, "__version__", "2.99.1")
    assert "torch (2.99.0, now 2.99.1) moved" in command.stale()[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.freeze({**GOLDEN, "new": {"small: clicks": "zz", "MMoE: more": 1}}),
        lambda made: made.freeze({**GOLDEN, "training": {"SharedBottom: ten steps": [0.5, 0.25]}}),
        lambda made: made.write("checks", "CHECKS = 1\n"),
        lambda made: made.edit("sizes", "10,", "11,"),
        lambda made: made.edit("contest", "\n\n\ndef", "   \n\n\ndef"),
        lambda made: (made.folder / "contest.py").write_bytes(
            CONTEST.replace("\n", "\r\n").encode()
        ),
        lambda made: (made.folder / "evidence" / "runs.csv").write_bytes(
            made.stored()["runs.csv"].replace(b"\n", b"\r\n")
        ),
    ],
    ids=["newly frozen", "another model", "checks", "smoke size", "spaces", "CR LF", "CR LF table"],
)
def test_what_the_numbers_do_not_rest_on_makes_nothing_stale(small, run, change):
    run("--shops", "0")
    rows = evidence("96").runs
    change(small)
    assert command.stale() == []
    assert evidence("96").runs.equals(rows)


def test_smoke_prints_the_tables_and_stores_none(small, run, capsys):
    assert run("--smoke", "--shops", "0", "1") == 0
    said = capsys.readouterr().out
    assert "seed 1" in said and "seed 2" not in said and "nothing is stored" in said
    assert small.stored() == {}


def test_a_table_changed_by_hand_or_lost_is_refused_and_told(small, run, capsys):
    run("--shops", "0")
    path = small.folder / "evidence" / "runs.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("0.71", "0.91"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"runs\.csv differs from what was written"):
        evidence("96")
    assert command.main(["--check"]) == 1
    assert "cannot be read" in capsys.readouterr().out
    path.unlink()
    with pytest.raises(ValueError, match=r"runs\.csv is missing"):
        evidence("96")
    run("--shops", "0")
    assert "dropped" in capsys.readouterr().out and evidence("96").shops == (0,)
    (small.folder / "evidence" / "key.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"key\.json is damaged"):
        evidence("96")
    assert "cannot be read" in command.stale()[0]


def test_a_table_that_the_contest_no_longer_gives_goes(small, run):
    run("--shops", "0")
    small.edit("contest", '{"runs": runs, "chosen": chosen}', '{"runs": runs}')
    run("--shops", "0")
    assert sorted(small.stored()) == ["key.json", "runs.csv"]


def test_a_contest_without_evidence_and_evidence_without_a_contest_are_told(small, run):
    assert command.stale() == [
        "Notebook 96 has a contest and no evidence: run `python -m mtlkit evidence 96`."
    ]
    run("--shops", "0")
    (small.folder / "contest.py").unlink()
    assert "has evidence and no contest: delete mtlkit/lessons/nb96/evidence" in command.stale()[0]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"SharedBottom")', '"SharedTop")', "USES: no frozen number in .* begins with 'SharedTop'"),
        ('"SharedBottom")', '"Shared")', "begins with 'Shared'; there are: small, tiny, SharedB"),
        ("USES =", "USED =", "USES must be a tuple"),
        ('("small", "SharedBottom")', '("small")', "USES must be a tuple"),
        ("def contest", "def context", r"define contest\(shop, size, store\)"),
        ('{"runs": runs, ', "{", 'dictionary with "runs"'),
        ('"chosen": chosen', '"Chosen ones": chosen', "small letters"),
        ('"chosen": chosen', '"chosen": [1]', "'chosen' must be a polars DataFrame, not a list"),
        ('"share", "candidate", "task", "metric", "seed", "value"]', '"shop", "candidate", "task", '
         '"metric", "seed", "value"]', "leave out the column shop"),
        ('"seed", "value"]', '"seed", "auc"]', '"runs" lacks the column value'),
        ("in range(size.seeds)", "in [0, 0]", '"runs" has 36 rows of the same run, first'),
        ("in range(size.seeds)", "in []", '"runs" has no rows'),
        ("in range(size.seeds)", "in [0.5]", "seed must be whole numbers"),
        ('"rate": [', '"rate": [[1], [2], [3]], "rest": [', "column 'rate': cannot store List"),
        ("for name, gain in", "for name, gain in [(f'c{shop}', 1.0)] or",
         "not for shop 0. Name candidates alike|the row 0.5, c1, click, auc for shop 1, not for"),
    ],
)  # fmt: skip
def test_a_contest_that_breaks_a_rule_is_told_by_file_and_nothing_is_stored(
    small, run, capsys, old, new, told
):
    small.edit("contest", old, new)
    assert run("--shops", "0", "1") == 1
    said = capsys.readouterr().err
    assert "mtlkit/lessons/nb96/contest.py" in said
    assert re.search(told, said), said
    assert small.stored() == {}


def test_a_contest_with_sizes_of_its_own_rests_on_those_alone(small, run, capsys):
    own = 'CONTEST_SIZES = {"seeds": (2, 4), "rows": (10, 200)}\n'
    small.write("sizes", 'SIZES = {"rows": (10, 100)}\n' + own)
    assert run("--shops", "0") == 0
    assert small.key()["sizes"] == {"seeds": "4", "rows": "200"} and small.key()["seeds"] == 4
    small.edit("sizes", "100", "150")
    assert not command.stale("96")
    small.edit("sizes", "200", "300")
    assert "size rows (200, now 300) moved" in command.stale("96")[0]


def test_a_lesson_without_contest_or_sizes_and_bad_shops_are_refused(small, run, capsys):
    assert command.main(["7"]) == 1
    assert "notebook '07' has no contest" in capsys.readouterr().err
    for shops in (["0", "0"], ["-1"]):
        with pytest.raises(SystemExit):
            run("--shops", *shops)
    with pytest.raises(SystemExit):
        command.main([])
    (small.folder / "sizes.py").unlink()
    assert run("--shops", "0") == 1
    assert "no sizes for notebook '96'" in capsys.readouterr().err


def test_without_a_checkout_the_command_says_so(small, capsys):
    small.golden.unlink()
    for arguments in (["96"], ["--check"]):
        assert command.main(arguments) == 1
        assert "in a git clone of mtlkit" in capsys.readouterr().err


def test_it_is_a_command_of_mtlkit(small, capsys):
    assert mtlkit_main(["evidence", "--check"]) == 1
    assert "Notebook 96 has a contest and no evidence" in capsys.readouterr().out


TRAINED = """
from pathlib import Path

import polars as pl

from mtlkit import Market, SharedBottom, compare, split_random

USES = ("small",)
LOG = {log!r}
WIDTH = 4


def factory(schema):
    def build(seed):
        with Path(LOG).open("a") as log:
            log.write("trained\\n")
        if Path(LOG).with_name("stop").exists() and seed == 1:
            raise KeyboardInterrupt
        return SharedBottom(schema, embedding_dim=2, hidden=(WIDTH,), tower=(2,))

    return build


def contest(shop, size, store):
    split = split_random(Market("tiny", seed=shop).impressions(size.rows))
    candidates = {{"a": factory(split.train.schema)}}
    found = compare(candidates, split, seeds=range(2), by_scenario=False, progress=False, jobs=1,
                    fit_options={{"epochs": 1}}, store=store)
    runs = found.runs.filter(pl.col("metric") == "auc").drop("scenario")
    return {{"runs": runs.select("candidate", "task", "metric", "seed", "value")}}
"""


def test_an_interrupted_run_goes_on_run_by_run_until_code_or_a_frozen_number_moves(
    small, run, tmp_path, capsys
):
    log = tmp_path / "log"
    small.write("contest", TRAINED.format(log=str(log)))
    small.write("sizes", 'SIZES = {"rows": (400, 400)}\n')

    def trained():
        count = len(log.read_text(encoding="utf-8").splitlines())
        log.unlink()
        return count

    (tmp_path / "stop").touch()
    assert run("--shops", "0", "1") == 130
    assert "The same command goes on where it was." in capsys.readouterr().err
    assert trained() == 2 and small.stored() == {}  # seed 1 stopped as it began
    (tmp_path / "stop").unlink()
    assert run("--shops", "0", "1") == 0
    assert trained() == 3
    first = small.stored()
    assert run("--shops", "0", "1") == 0
    assert not log.exists() and small.stored() == first
    small.edit("contest", "WIDTH = 4", "WIDTH = 5")
    assert run("--shops", "0") == 0
    assert trained() == 2
    small.freeze({"shop": {"small: demand": "moved"}})
    assert run("--shops", "0") == 0
    assert trained() == 2


def test_numbers_that_are_missing_are_stored_and_said(small, run):
    small.edit("contest", "0.0001234567 * seed", "(float('nan') if shop else seed * 0.001)")
    small.edit("contest", "range(size.seeds)", "range(3 if shop == 0 else 2)")
    run("--shops", "0", "1")
    found = evidence("96").difference("good", "plain", task="click", share=0.5)
    assert found.verdicts == {0: "better", 1: "no interval"}
    assert found.sentence().endswith("better on 1 of 2 shops, worse on none, no number on 1")
    assert evidence("96").runs.filter(shop=1)["seed 2"].null_count() == 18
    assert isinstance(evidence("96").runs, pl.DataFrame)


def test_the_golden_names_of_this_project_can_be_used():
    frozen = keys.golden(Path(__file__).parents[1] / "golden" / "values.json")
    found = keys.golden_of(("small", "SharedBottom", "uw"), frozen, "here")
    assert {"small, seed 1: live", "SharedBottom: ten steps", "uw: ten steps"} <= set(found)
    assert not any(name.startswith(("tiny", "MMoE")) for name in found)
    with pytest.raises(ValueError, match=r"here: no frozen number .* begins with 'uncertainty'"):
        keys.golden_of(("uncertainty",), frozen, "here")


def test_an_unknown_notebook_of_the_command_is_an_error_of_contests():
    with pytest.raises(table_makers.MakerError, match=r"write mtlkit/lessons/nb99/contest\.py"):
        contests.load("99")


@pytest.mark.parametrize(
    "words, wanted",
    [
        ("rate 0.02", {"rate": 0.02}),
        ("rate 0.02, weight 0.1", {"rate": 0.02, "weight": 0.1}),
        ("rate 0.03, 5 leaves", {"rate": 0.03, "leaves": 5}),
        ("rate 1e-05, rows to the power 0.5", {"rate": 1e-5, "rows to the power": 0.5}),
    ],
)
def test_a_stored_choice_is_read_by_name(words, wanted):
    table = pl.DataFrame({"shop": [3], "candidate": ["one"], "chosen": [words]})
    runs = pl.DataFrame({"shop": [3], "candidate": ["one"]})
    found = Evidence("96", {"runs": runs, "chosen": table})
    assert found.chosen("one", shop=3) == wanted
    assert found.chosen("one", shop=8) == wanted  # a shop that the contest has not
    with pytest.raises(ValueError, match=r"0 rows of the table 'chosen' have .*'two'"):
        found.chosen("two", shop=3)
    twice = Evidence("96", {"runs": runs, "chosen": pl.concat([table, table])})
    with pytest.raises(ValueError, match="2 rows of the table"):
        twice.chosen("one", shop=3)


@pytest.mark.parametrize("notebook", ["02", "04", "06"])
def test_every_stored_choice_in_words_can_be_read(notebook):
    found = evidence(notebook)
    for row in found.table("chosen").to_dicts():
        where = {k: row[k] for k in row if k not in ("shop", "chosen") and "trial" not in k}
        assert {"rate", "leaves"} & set(found.chosen(shop=row["shop"], **where))
