"""Score fusion: what each formula is, what it does not mind, and the search for its weights."""

import numpy as np
import pytest

from mtlkit.online import ExpectedValue, Product, WeightedSum, search
from mtlkit.online.fusion import relative_to_page

RNG = np.random.default_rng(0)
SCORES = {"click": RNG.uniform(0.01, 0.5, 60), "purchase": RNG.uniform(0.001, 0.3, 60)}
SCORES["return"] = RNG.uniform(0, 1, 60)
PAGE = np.repeat(np.arange(6), 10)


def order(scores):
    return np.argsort(-scores, kind="stable").tolist()


def scaled(factor, name="purchase"):
    return {**SCORES, name: factor * SCORES[name]}


def test_each_fusion_is_its_formula():
    click, purchase, back = SCORES.values()
    assert WeightedSum({"click": 2, "return": -0.5})(SCORES) == pytest.approx(2 * click - back / 2)
    found = Product({"click": 2.0, "purchase": 0.5}, {"purchase": 0.1})(SCORES)
    assert found == pytest.approx(click**2 * np.sqrt(purchase + 0.1))
    price = np.linspace(1, 9, 60)
    rule = ExpectedValue("price", further={"return": -3.0, "click": 0.1}, after=("return",))
    expected = click * purchase * (price - 3 * back) + 0.1 * click
    assert rule({**SCORES, "price": price}) == pytest.approx(expected)
    more = ExpectedValue(0.0, further={"click": 0.5, "return": 2.0, "purchase": 3.0})
    assert more(SCORES) == pytest.approx(0.5 * click + 2 * click * back + 3 * click * purchase)
    seen = ExpectedValue(0.0, click="return", further={"return": 0.5})
    assert seen(SCORES) == pytest.approx(0.5 * back)
    assert ExpectedValue(20.0)(SCORES) == pytest.approx(20 * click * purchase)


def test_a_product_without_bias_does_not_mind_a_factor_and_a_sum_does():
    product, biased = Product({"click": 1, "purchase": 0.7}), {"purchase": 0.05}
    total = WeightedSum({"click": 1, "purchase": 1})
    for factor in (0.1, 3.0):
        assert order(product(scaled(factor))) == order(product(SCORES))
        assert order(total(scaled(factor))) != order(total(SCORES))
        soft = Product({"click": 1, "purchase": 0.7}, biased)
        assert order(soft(scaled(factor))) != order(soft(SCORES))


def test_relative_to_the_page_a_sum_does_not_mind_a_factor_either():
    total = WeightedSum({"click": 1, "purchase": 1}, relative=True)
    assert total(scaled(5.0), page=PAGE) == pytest.approx(total(SCORES, page=PAGE))
    by_hand = SCORES["click"][:10] / SCORES["click"][:10].mean()
    assert relative_to_page(SCORES["click"], PAGE)[:10] == pytest.approx(by_hand)
    mixed = RNG.permutation(60)
    shuffled = {name: values[mixed] for name, values in SCORES.items()}
    assert total(shuffled, page=PAGE[mixed]) == pytest.approx(total(SCORES, page=PAGE)[mixed])
    soft = Product({"click": 1, "purchase": 1}, {"click": 1, "purchase": 1}, relative=True)
    assert soft(scaled(5.0), page=PAGE) == pytest.approx(soft(SCORES, page=PAGE))
    pages = relative_to_page(np.array([0.0, 0, 3, 1]), np.array([7, 7, 2, 2]))
    assert pages.tolist() == [1, 1, 1.5, 0.5]  # on a page of zeros nothing stands out


def test_all_powers_zero_or_one_weight_alone_are_what_they_say():
    assert Product({"click": 0.0})(SCORES).tolist() == [1.0] * 60
    assert order(WeightedSum({"click": 7.0})(SCORES)) == order(SCORES["click"])


def test_the_search_tries_the_grid_and_marks_the_front():
    target = SCORES["click"] + 3 * SCORES["purchase"]

    def fit(fusion):
        return float(np.corrcoef(fusion(SCORES), target)[0, 1])

    def kind(fusion):
        return -float(fusion(SCORES) @ SCORES["return"])

    grid = {"click": [1.0], "purchase": [0.0, 1.0, 3.0, 9.0], "return": [0.0, -1.0]}
    found = search(WeightedSum, grid, {"fit": fit, "kind": kind})
    assert found.columns == ["click", "purchase", "return", "fit", "kind", "front"]
    assert len(found) == 8 and found.row(0, named=True)["purchase"] == 3.0
    assert found["fit"].to_list() == sorted(found["fit"], reverse=True)
    points = found.select("fit", "kind").rows()
    slow = [not any((f >= a and k > b) or (f > a and k >= b) for f, k in points) for a, b in points]
    assert found["front"].to_list() == slow and 0 < sum(slow) < 8
    again = search(Product, {"click": [0.0, 1.0]}, {"fit": lambda fusion: fusion.numbers["click"]})
    assert again["click"].to_list() == [1.0, 0.0]


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match="weights: no tasks"):
        WeightedSum({})
    with pytest.raises(ValueError, match="powers: that of 'click' must be finite"):
        Product({"click": float("inf")})
    with pytest.raises(ValueError, match="bias: 'cart' has no power"):
        Product({"click": 1}, {"cart": 1})
    with pytest.raises(ValueError, match="bias: that of 'click' must be 0 or more"):
        Product({"click": 1}, {"click": -1})
    with pytest.raises(ValueError, match="after: 'return' is not in further"):
        ExpectedValue(1.0, after=("return",))
    with pytest.raises(ValueError, match="scores: no predictions of 'cart'"):
        WeightedSum({"cart": 1})(SCORES)
    with pytest.raises(ValueError, match="one finite number a row"):
        WeightedSum({"click": 1})({"click": np.array([np.nan])})
    with pytest.raises(ValueError, match="give a larger bias"):
        Product({"click": 0.5})({"click": np.array([-0.1])})
    with pytest.raises(ValueError, match="give a larger bias"):
        Product({"click": -1})({"click": np.array([0.0])})
    with pytest.raises(ValueError, match="page: relative=True needs"):
        WeightedSum({"click": 1}, relative=True)(SCORES)
    with pytest.raises(ValueError, match="page: shape"):
        WeightedSum({"click": 1}, relative=True)(SCORES, page=PAGE[:3])
    with pytest.raises(ValueError, match="scores: 'scores' goes down to -1; scores relative"):
        relative_to_page(-np.ones(2), np.zeros(2))
    with pytest.raises(ValueError, match="scores: 'click' goes down to -3; scores relative"):
        WeightedSum({"click": 1}, relative=True)({"click": np.array([-3.0, 9])}, page=np.zeros(2))
    for name in ("click", "purchase"):
        with pytest.raises(ValueError, match=f"after: '{name}' does not follow a purchase"):
            ExpectedValue(1.0, further={name: 1.0}, after=(name,))
    with pytest.raises(ValueError, match="grid: 'front' is a column of the answer"):
        search(WeightedSum, {"front": [1.0]}, {"fit": lambda fusion: 1.0})
    with pytest.raises(ValueError, match="grid: nothing to try"):
        search(WeightedSum, {"click": []}, {"fit": lambda fusion: 1.0})
    with pytest.raises(ValueError, match="objectives: none"):
        search(WeightedSum, {"click": [1]}, {})
    with pytest.raises(ValueError, match="objectives: 'click' is a column already"):
        search(WeightedSum, {"click": [1]}, {"click": lambda fusion: 1.0})
    with pytest.raises(ValueError, match="'fit' is nan"):
        search(WeightedSum, {"click": [1]}, {"fit": lambda fusion: float("nan")})
