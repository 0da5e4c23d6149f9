"""Any sharing model with any link, any balancer and any scenario model.

Names come from the registries, so a new one is in here without anybody remembering. Not the full
product: every network meets every link, and every balancer (those that read gradients: at the
parameters and at the representation) meets every link. A balancer sees a network only through what
it is given, losses or gradients of one of four kinds, so every network meets each kind of balancer
and not each balancer. The table has every kind of task, missing labels, an unknown scenario, empty
sequences, censored counts, and a last batch of one row.
"""

import itertools

import pytest
import torch

from mtlkit.balance import EVERY_BALANCER, DecaySchedule, FixedWeights, MetaBalance
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
    kind = EVERY_BALANCER[name]
    return kind.needs_gramian or kind.needs_gradients


def rules():
    """(balancer, where it takes gradients), for all."""
    for name in EVERY_BALANCER:
        yield name, "parameters"
        if (
            reads_gradients(name)
            and not EVERY_BALANCER[name].weighs_heads
            and name not in WHOLE_SUMS
        ):
            yield name, "representation"


def sees(rule, shared):
    """What a balancer is given of a network."""
    kind = EVERY_BALANCER[rule]
    if not reads_gradients(rule):
        return "losses"
    heads = ", weighs heads" if kind.weighs_heads else ""
    return ("Gramian" if kind.needs_gramian else "gradients") + f" of {shared}{heads}"


def may_meet(network, rule):
    return not (reads_gradients(rule) and network in SHARES_NOTHING)


def wanted(network, link, rule, shared):
    """The pairs that a case meets, beside that of its rule and its link."""
    return {(network, link), (network, sees(rule, shared))}


def combinations():
    """(network, link, balancer, shared): every rule with every link, and networks by turns, the one
    that meets most of what is missing; of equals the one that was used least."""
    met, used = set(), dict.fromkeys(NETWORKS, 0)
    for (rule, shared), link in itertools.product(rules(), [ALONE, *LINKS]):
        gains = {
            name: (len(wanted(name, link, rule, shared) - met), -used[name])
            for name in NETWORKS if may_meet(name, rule)
        }  # fmt: skip
        network = max(gains, key=gains.__getitem__)
        met |= wanted(network, link, rule, shared)
        used[network] += 1
        yield network, link, rule, shared
    for case in itertools.product(NETWORKS, [ALONE, *LINKS], rules()):
        network, link, (rule, shared) = case
        if may_meet(network, rule) and wanted(network, link, rule, shared) - met:
            met |= wanted(network, link, rule, shared)
            yield network, link, rule, shared


CASES = list(combinations())


def test_every_network_meets_every_link_and_every_kind_of_balancer():
    met = set().union(*(wanted(*case) for case in CASES))
    kinds = {sees(*rule): rule[0] for rule in rules()}
    assert len(kinds) >= 4
    for network in NETWORKS:
        for link in [ALONE, *LINKS]:
            assert (network, link) in met
        for kind, rule in kinds.items():
            assert (network, kind) in met or not may_meet(network, rule), (network, kind)


def test_every_balancer_meets_every_link_and_several_networks():
    met = {(link, rule, shared) for _, link, rule, shared in CASES}
    assert met == {(link, *rule) for link in [ALONE, *LINKS] for rule in rules()}
    for rule in rules():
        assert len({case[0] for case in CASES if case[2:] == rule}) >= 4, rule


@pytest.mark.parametrize(("network", "link", "rule", "shared"), CASES)
def test_any_two_names_train_together(network, link, rule, shared):
    table = registry.table(rows=17)
    with seeded(3):
        model = registry.make(network if link == ALONE else link, network)
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    history = fit(
        model, table, epochs=1, batch_size=16, learning_rate=0.01, device="cpu", progress=False,
        balancer=OWN.get(rule, EVERY_BALANCER[rule])(), shared=shared,
    )  # fmt: skip
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert history.steps == 2  # 16 rows and 1 row
    assert after.isfinite().all() and not torch.equal(before, after)
    assert all(loss == loss for loss in history.rows[0]["train"].values())
