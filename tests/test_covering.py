"""A sweep thinned by ``covering`` meets every pair that the full product would meet."""

import itertools

import pytest

from tests.covering import covering, pairs

LISTS = {
    "three of two": ["ab", "cd", "ef"],
    "of other lengths": ["abc", "de", "fghij", "kl"],
    "the same values in two lists": ["abc", "abc", [True, False]],
    "one value": ["a", "bcd", "ef"],
    "two lists": ["abc", "de"],
}


def never_a_with_d(first, second, *more):
    return (first, second) != ("a", "d")


@pytest.mark.parametrize("allowed", [lambda *case: True, never_a_with_d])
@pytest.mark.parametrize("name", LISTS)
def test_every_pair_of_the_product_is_met(name, allowed):
    product = [case for case in itertools.product(*LISTS[name]) if allowed(*case)]
    cases = covering(*LISTS[name], allowed=allowed)
    assert set().union(*map(pairs, cases)) == set().union(*map(pairs, product))
    assert set(cases) <= set(product) and len(set(cases)) == len(cases)
    assert all(pairs(case) - set().union(*map(pairs, cases[:i])) for i, case in enumerate(cases))
    assert cases == covering(*LISTS[name], allowed=allowed)


def test_it_is_shorter_than_the_product_and_at_least_as_long_as_its_two_longest_lists():
    cases = covering(range(5), range(4), range(3), range(2))
    assert 5 * 4 == len(cases) < 5 * 4 * 3 * 2
    assert covering("abc", "de") == list(itertools.product("abc", "de"))
