"""Any sharing model with any link, any balancer and any scenario model: every two names meet.

Names come from the registries, so a new one is in here without anybody remembering. Not the full
product: each balancer (those that read gradients: at the parameters and at the representation)
meets each link, and the sharing models go round, so that every two names of different registries
meet at least once. The table has every kind of task, missing labels, an unknown scenario, empty
sequences, censored counts, and a last batch of one row.
"""

import itertools

import pytest
import torch

from mtlkit.balance import BALANCERS, DecaySchedule, FixedWeights, MetaBalance
from mtlkit.models import ADAPTING, LINKS, SHARING
from mtlkit.train import fit, seeded
from tests.models import registry

ALONE = "no link"
# what does not go with what, and why
READS_PICTURES_ONLY = {"article"}  # no ids, no sequences: it stands in no pair
SHARES_NOTHING = {"single-task"}  # a rule of gradients has nothing to combine
WHOLE_SUMS = {"excess-mtl"}  # refused at the representation: its rule is a running sum of columns
OWN = {
    "fixed": lambda: FixedWeights({"click": 2.0}),
    "schedule": lambda: DecaySchedule({"click": (2.0, 0.9)}, every="step"),
    "metabalance": lambda: MetaBalance("purchase"),
}
NETWORKS = [name for name in (*SHARING, *ADAPTING) if name not in READS_PICTURES_ONLY]


def reads_gradients(name):
    kind = BALANCERS[name]
    return kind.needs_gramian or kind.needs_gradients


def rules():
    """(balancer, where it takes gradients), for all."""
    for name in BALANCERS:
        yield name, "parameters"
        if reads_gradients(name) and not BALANCERS[name].weighs_heads and name not in WHOLE_SUMS:
            yield name, "representation"


def combinations():
    """(network, link, balancer, shared) such that every two names meet that may."""
    links = [ALONE, *LINKS]
    for j, (rule, shared) in enumerate(rules()):
        fitting = NETWORKS
        if reads_gradients(rule):
            fitting = [name for name in NETWORKS if name not in SHARES_NOTHING]
        for i in range(max(len(links), len(fitting))):
            yield fitting[(i + j) % len(fitting)], links[i % len(links)], rule, shared


CASES = list(combinations())


def test_every_two_names_of_different_registries_meet():
    met = set()
    for network, link, rule, shared in CASES:
        met |= set(itertools.combinations((network, link, (rule, shared)), 2))
    for network, link in itertools.product(NETWORKS, [ALONE, *LINKS]):
        assert (network, link) in met
    for network, (rule, shared) in itertools.product(NETWORKS, rules()):
        if not (reads_gradients(rule) and network in SHARES_NOTHING):
            assert (network, (rule, shared)) in met, (network, rule)
    for link, rule in itertools.product([ALONE, *LINKS], rules()):
        assert (link, rule) in met


@pytest.mark.parametrize(("network", "link", "rule", "shared"), CASES)
def test_any_two_names_train_together(network, link, rule, shared):
    table = registry.table(rows=17)
    with seeded(3):
        model = registry.make(network if link == ALONE else link, network)
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    history = fit(
        model, table, epochs=1, batch_size=16, learning_rate=0.01, device="cpu", progress=False,
        balancer=OWN.get(rule, BALANCERS[rule])(), shared=shared,
    )  # fmt: skip
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert history.steps == 2  # 16 rows and 1 row
    assert after.isfinite().all() and not torch.equal(before, after)
    assert all(loss == loss for loss in history.rows[0]["train"].values())
