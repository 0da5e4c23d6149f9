"""Lesson pictures: one schema for real and drawn ones, labels hidden and shuffled as said."""

import pytest
import torch

from mtlkit.data.real.fashion import fashion_available
from mtlkit.data.splits import check_disjoint
from mtlkit.shop.product_pictures import (
    CATEGORIES,
    WINTER,
    keep_labels,
    picture_source,
    product_pictures,
    shuffle_labels,
)


@pytest.fixture(scope="module")
def drawn():
    return product_pictures("drawn", rows=600)


def test_the_environment_variable_chooses_the_pictures(monkeypatch):
    monkeypatch.setenv("MTLKIT_PICTURES", "drawn")
    assert picture_source() == "drawn"
    monkeypatch.delenv("MTLKIT_PICTURES")
    assert picture_source() == ("real" if fashion_available() else "drawn")
    with pytest.raises(ValueError, match="auto, real, drawn"):
        picture_source("painted")


def test_parts_share_no_picture_and_follow_the_fractions(drawn):
    check_disjoint(*drawn)
    assert [len(table) for table in drawn] == [360, 120, 120]
    again = product_pictures("drawn", rows=600)
    assert torch.equal(again.train.dense, drawn.train.dense)
    other = product_pictures("drawn", rows=600, seed=1)
    assert not torch.equal(other.train.row_id, drawn.train.row_id)


def test_real_and_drawn_pictures_have_one_schema(drawn):
    if not fashion_available():
        pytest.skip("the Fashion-MNIST sample is not on this machine")
    assert product_pictures("real").train.schema == drawn.train.schema


def test_binary_tasks_follow_from_the_category(drawn):
    table = drawn.train
    members = [CATEGORIES.index(name) for name in WINTER]
    wanted = torch.isin(table.label("category"), torch.tensor(members, dtype=torch.float32))
    assert torch.equal(table.label("winter").bool(), wanted)
    assert 0.2 < float(wanted.float().mean()) < 0.4


def test_kept_labels_are_nested_and_hidden_ones_are_zero(drawn):
    table = drawn.train
    few, more = keep_labels(table, "winter", 20, seed=3), keep_labels(table, "winter", 50, seed=3)
    assert int(few.mask("winter").sum()) == 20 and int(more.mask("winter").sum()) == 50
    assert bool((few.mask("winter") <= more.mask("winter")).all())
    assert float(few.label("winter")[~few.mask("winter")].abs().sum()) == 0
    assert torch.equal(few.label("category"), table.label("category"))
    assert int(table.mask("winter").sum()) == len(table)  # the original is untouched
    with pytest.raises(ValueError, match="cannot keep"):
        keep_labels(table, "winter", len(table) + 1)


def test_shuffled_labels_keep_their_counts_and_lose_their_place(drawn):
    table = drawn.train
    shuffled = shuffle_labels(table, "category", seed=1)
    before, after = table.label("category"), shuffled.label("category")
    assert torch.equal(before.sort().values, after.sort().values)
    assert float((before == after).float().mean()) < 0.25  # one in ten agrees by chance
    assert torch.equal(shuffled.label("winter"), table.label("winter"))


@pytest.mark.parametrize("bad", [{"rows": 5}, {"rows": 10**6}, {"fractions": (0.5, 0.5, 0.5)}])
def test_impossible_sizes_are_refused(bad):
    with pytest.raises(ValueError, match=r"rows must be|fractions must be"):
        product_pictures("drawn", **bad)
