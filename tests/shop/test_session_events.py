"""The log of events tells the same sessions as the frame, and what came after."""

import numpy as np
import polars as pl
import pytest

from mtlkit.shop.market import Market

ROWS, START = 400, 3_900  # over a block's edge


@pytest.mark.parametrize("preset", ["tiny", "shopper"])
def test_events_and_frame_agree(preset):
    market = Market(preset, seed=3)
    frame, log = market.sessions_frame(ROWS, START), market.session_events(ROWS, START)
    sessions = log.partition_by("session", maintain_order=True)
    assert len(sessions) == ROWS and frame["purchase"].sum() > 10
    for one, events in zip(frame.iter_rows(named=True), sessions, strict=True):
        n = len(one["history"])
        kinds = ["view"] * n + ["search", "view"] + ["purchase"] * one["purchase"]
        assert events["kind"].to_list() == kinds
        assert set(events["session"]) == {one["session"]} and set(events["user"]) == {one["user"]}
        assert events["item"].to_list()[:n] == one["history"]
        assert events["category"].to_list()[:n] == one["history_category"]
        assert events["words"].to_list() == [None] * n + [one["query"]] + [None] * (
            len(kinds) - n - 1
        )
        assert events["item"][n] is None and events["category"][n] is None
        assert events["category"][n + 1] == one["next_category"]
        assert len(set(events["item"].to_list()[n + 1 :])) == 1
        time = events["time"].to_numpy()
        assert (np.diff(time) > 0).all()
        begin = 60 * (24 * one["day"] + one["hour"])
        assert begin <= time[0] < begin + 60
        gaps = one["history_gap"] if preset == "shopper" else [0] + [1] * (n - 1)
        assert np.allclose(np.diff(time[:n]), gaps[1:], atol=2e-4)


def test_items_belong_to_their_categories_and_the_next_one_is_a_popular_one():
    market = Market("shopper", seed=3)
    seen = market.session_events(4_000).filter(pl.col("kind") != "search")
    names = np.array(market.categories)[market.items["category"][seen["item"].to_numpy()]]
    assert (names == seen["category"].to_numpy()).all()
    last = seen.filter(pl.col("kind") == "view").group_by("session").last()["item"].to_numpy()
    counts = np.bincount(last, minlength=market.dials.items)
    assert np.corrcoef(counts, market.items["popularity"])[0, 1] > 0.6


def test_time_tells_the_intent_only_in_the_gaps():
    """When a session begins and how long typing takes is the same for every intent."""
    market = Market("shopper", seed=3)
    frame, log = market.sessions_frame(4_000), market.session_events(4_000)
    first = log.group_by("session", maintain_order=True).first()["time"].to_numpy() % 60
    spans = log.with_columns(span=pl.col("time").diff()).filter(pl.col("kind") == "search")["span"]
    intent = frame["intent"].to_numpy()
    for name in set(intent):
        for value, low, high in ((first, 0, 60), (spans.to_numpy(), 0.1, 0.5)):
            part = (value[intent == name] - low) / (high - low)
            assert abs(part.mean() - 0.5) * np.sqrt(12 * len(part)) < 4


def test_a_log_is_the_same_wherever_it_starts():
    market = Market("shopper", seed=3)
    whole, part = market.session_events(4_200), market.session_events(150, start=4_050)
    assert whole.filter(pl.col("session").is_between(4_050, 4_199)).equals(part)


@pytest.mark.parametrize(("rows", "start"), [(0, 0), (1, -1), (2.5, 0), (True, 0)])
def test_rows_and_start_are_whole_numbers(rows, start):
    with pytest.raises(ValueError, match=r"rows|start"):
        Market("tiny").session_events(rows, start)
