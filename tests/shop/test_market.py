"""The shop's dials, presets and random streams."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mtlkit.shop
from mtlkit.shop.behaviour import Behaviour
from mtlkit.shop.deliveries import deliveries_table
from mtlkit.shop.demand import demand_table
from mtlkit.shop.dials import Dials, load_dials
from mtlkit.shop.draws import make_rng, whitened
from mtlkit.shop.impressions import ImpressionLog
from mtlkit.shop.market import Market
from mtlkit.shop.world import World

ROOT = Path(__file__).parents[2]
PINNED = {
    "rng": [137, 841, 62, 613],
    "users": [51, 26, 106, 173, 111, 162],
    "items": [45, 2, 69, 66, 64, 87],
    "labels": [798, 322, 151],
}


def fingerprint(market: Market) -> str:
    """A hash of every byte of a few tables."""
    digest = hashlib.sha256()
    for table in (market.impressions(700, start=300), market.sessions(300, start=5)):
        columns = [table.categorical, table.dense, table.labels, table.observed, table.scenario]
        columns += [*table.truth.values(), *table.keys.values()]
        columns += [tensor for pair in table.sequences.values() for tensor in pair]
        for column in columns:
            digest.update(column.numpy().tobytes())
    live = market.live(seed=2)
    outcome = live.serve(live.next(), [3, 1, 2])
    digest.update(outcome.expected_purchase.tobytes() + outcome.dwell.tobytes())
    return digest.hexdigest()


def test_the_same_seed_gives_the_same_bytes_in_another_process():
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}];"
        "from mtlkit.shop.market import Market; from test_market import fingerprint;"
        "print(fingerprint(Market('tiny', seed=4)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == fingerprint(Market("tiny", seed=4))


def test_another_seed_gives_another_shop():
    assert fingerprint(Market("tiny", seed=4)) != fingerprint(Market("tiny", seed=5))


def test_the_random_streams_are_pinned_across_versions_and_platforms():
    market = Market("tiny", seed=0)
    table = market.impressions(4000)
    assert market.rng("pin", 1, 2).integers(0, 1000, 4).tolist() == PINNED["rng"]
    assert table.keys["user"][::8][:6].tolist() == PINNED["users"]
    assert table.keys["item"][:6].tolist() == PINNED["items"]
    # a label could turn only where a probability and a draw agree to about seven digits
    labels = table.labels.sum(0)[:3].to(torch.int64).tolist()
    assert np.abs(np.array(labels) - PINNED["labels"]).max() <= 1


def test_streams_differ_by_name_number_and_seed():
    draws = {
        make_rng(seed, name, *numbers).random()
        for seed, name, numbers in [
            (0, "a", ()), (1, "a", ()), (0, "b", ()), (0, "a", (1,)),
            (0, "a", (1, 0)), (0, "a", (10,)),
        ]
    }  # fmt: skip
    assert len(draws) == 6


@pytest.mark.parametrize("name", Market.presets())
def test_every_preset_makes_a_shop_and_says_what_it_is_for(name):
    market = Market(name)
    table = market.impressions(64)
    assert len(table) == 64 and len(market.scenarios) == market.dials.scenarios
    text = (ROOT / "datasets" / "markets" / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")


def test_the_presets_of_the_course_are_there():
    wanted = ["tiny", "small", "large", "aligned", "conflicting", "many_scenarios", "biased"]
    assert set(wanted) <= set(Market.presets())


@pytest.mark.parametrize(
    ("preset", "dials", "words"),
    [
        ("smal", {}, ["smal", "Known presets", "small"]),
        ("small", {"noize": 1.0}, ["noize", "noise"]),
        ("small", {"noise": -1.0}, ["noise", "-1"]),
        ("small", {"users": 30.5}, ["users", "whole"]),
        ("small", {"noise": "much"}, ["noise", "number"]),
        ("small", {"exposure": "best"}, ["exposure", "popular"]),
        ("small", {"items": 50}, ["items", "80"]),
        ("small", {"purchase_rate": 0.5}, ["purchase_rate", "buy_now"]),
    ],
)
def test_a_bad_preset_or_dial_is_named(preset, dials, words):
    with pytest.raises(ValueError) as error:
        Market(preset, **dials)
    for word in words:
        assert word in str(error.value)


def test_a_yaml_file_of_your_own_is_a_preset_and_its_faults_name_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("users: 77\n", encoding="utf-8")
    assert Market(str(path), items=90).dials == load_dials(None, {"users": 77, "items": 90})
    path.write_text("user: 77\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.yaml.*'user'"):
        Market(str(path))


def test_default_dials_are_the_default_preset():
    assert Market().dials == Dials()


def test_whitened_columns_have_mean_0_and_identity_covariance():
    rng = np.random.default_rng(0)
    values, weights = rng.random((50, 3)) @ rng.random((3, 3)), rng.random(50)
    white = whitened(values, weights)
    assert np.allclose(np.average(white, axis=0, weights=weights), 0)
    assert np.allclose(np.cov(white.T, aweights=weights, ddof=0), np.eye(3), atol=1e-4)


def test_entities_are_complete_and_in_range():
    market = Market("small")
    dials, items, users = market.dials, market.items, market.users
    assert {len(v) for v in users.values()} == {dials.users}
    assert {len(v) for v in items.values()} == {dials.items}
    assert items["factors"].shape == (dials.items, dials.factors)
    assert items["popularity"].sum() == pytest.approx(1) and (items["price"] > 0).all()
    assert np.bincount(items["category"]).tolist() == [dials.items // 10] * 10
    assert set(np.unique(items["price_band"])) == set(range(5))
    assert market.distance_km.shape == (len(market.warehouses), len(market.regions))
    assert users["activity"].mean() == pytest.approx(1, rel=1e-4)
    assert market.traffic.sum() == pytest.approx(1)


@pytest.mark.parametrize("bad", [0, -1, 2.5, True, "10"])
def test_a_bad_number_of_rows_is_refused(bad):
    for make in (Market("tiny").impressions, Market("tiny").sessions):
        with pytest.raises(ValueError, match="rows"):
            make(bad)


def test_the_room_names_what_people_import_and_loads_it_when_it_is_used():
    code = (
        "import sys, mtlkit.shop as shop\n"
        "assert not {'torch', 'polars', 'scipy'} & set(sys.modules)\n"
        "for name in shop.__all__: assert getattr(shop, name).__name__ == name\n"
        "from mtlkit.shop.market import Market; assert shop.Market is Market\n"
        "from mtlkit.shop.pictures import draw, picture_table\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=ROOT)
    with pytest.raises(AttributeError, match="'fame'"):
        mtlkit.shop.fame


def test_every_generator_takes_a_plain_world_of_the_same_seed_and_dials():
    """A market adds tables to a world, and nothing to what is drawn."""
    market = Market("tiny", seed=3)
    world = World(3, load_dials("tiny"))
    assert isinstance(market, World)
    block = ImpressionLog(Behaviour(world)).block(0)
    for name, values in market.log.block(0).items():
        assert np.array_equal(values, block[name]), name
    for make in (demand_table, deliveries_table):
        assert torch.equal(make(world, 5).dense, make(market, 5).dense)
