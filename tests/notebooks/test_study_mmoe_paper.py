"""The synthetic experiment of the MMoE paper: its tasks on paper, its loop, and what is stored."""

import math
from types import SimpleNamespace

import pytest
import torch

from mtlkit.course.learner.evidence import SEED
from mtlkit.course.learner.study import study as stored_study
from mtlkit.lessons.nb07.studies import mmoe_paper as paper
from mtlkit.train import seeded

FULL = SimpleNamespace(**{name: pair[1] for name, pair in paper.SIZES.items()})


@pytest.mark.parametrize("p", FULL.correlations)
def test_the_weights_have_length_c_and_the_cosine_p(p):
    tasks = paper.Tasks(range(5), p, d=30, c=0.7, m=4)
    for w in tasks.w.double():  # (d, 2)
        assert w.norm(dim=0).tolist() == pytest.approx([0.7, 0.7], rel=1e-5)
        assert (w[:, 0] @ w[:, 1]).item() / 0.49 == pytest.approx(p, abs=1e-5)
    assert not torch.equal(tasks.w[0], tasks.w[1]) and not torch.equal(tasks.a[0], tasks.a[1])


def test_labels_are_the_formula_plus_noise_of_variance_one_hundredth():
    tasks = paper.Tasks(range(3), 0.5, d=6, c=1.0, m=3)
    x, y = tasks.rows(4_000, paper.luck("rows", 1))
    for seed in range(3):
        for task in range(2):
            z = x[seed] @ tasks.w[seed, :, task]
            exact = z.clone()
            for a, b in zip(tasks.a[seed], tasks.b[seed], strict=True):
                exact += torch.sin(a * z + b)
            noise = y[seed, :, task] - exact
            assert noise.var().item() == pytest.approx(0.01, rel=0.15)
            assert abs(noise.mean().item()) < 0.01


def test_a_seed_has_the_same_tasks_whatever_stands_beside_it_and_at_every_correlation():
    alone, among = paper.Tasks(range(2, 3), 0.5, 8, 1.0, 3), paper.Tasks(range(4), 0.5, 8, 1.0, 3)
    other = paper.Tasks(range(2, 3), 0.9, 8, 1.0, 3)
    assert torch.equal(alone.w[0], among.w[2]) and torch.equal(alone.a[0], among.a[2])
    assert torch.equal(alone.w[0][:, 0], other.w[0][:, 0]) and torch.equal(alone.b, other.b)


def test_a_seed_trained_among_others_is_the_seed_trained_by_a_plain_loop():
    size = SimpleNamespace(steps=6, every=3, batch_size=8, test_rows=20)
    seeds, rates = range(3), {"MMoE": [0.01], "PLE": [0.001]}
    found = paper.train(seeds, 0.5, paper.BASE, rates, size)
    tasks, generator = paper.Tasks(seeds, 0.5, **paper.BASE), paper.luck("rows", 0)
    test = tasks.rows(20, generator)
    rows = [tasks.rows(8, generator) for _ in range(6)]
    made = paper.networks(100)  # before the seed: finding the widths draws numbers
    for name, (rate,) in rates.items():
        for seed in seeds:
            with seeded(seed):
                model = made[name]()
            adam = torch.optim.Adam([p for p in model.parameters() if p.numel()], lr=rate)
            for x, y in rows:
                logits = model(paper.as_batch(x[seed : seed + 1], y[seed : seed + 1]))
                loss = sum(((logits[t] - y[seed, :, k]) ** 2).mean() for k, t in enumerate(logits))
                adam.zero_grad()
                loss.backward()
                adam.step()
            last = found.filter(network=name, seed=seed, step=6).row(0, named=True)
            with torch.no_grad():
                logits = model(paper.as_batch(*(part[seed : seed + 1] for part in test)))
            for k, task in enumerate(("first", "second")):
                mine = ((logits[task] - test[1][seed, :, k]) ** 2).mean().item()
                assert last[task] == pytest.approx(mine, rel=1e-3)


@pytest.mark.parametrize("d", [100, 512])
def test_all_networks_are_as_large_within_two_per_cent_gates_counted(d):
    sizes = {n: make().parameter_count()["total"] for n, make in paper.networks(d).items()}
    assert all(abs(size / sizes["MMoE"] - 1) < 0.02 for size in sizes.values()), sizes
    gates = sum(p.numel() for p in paper.networks(d)["MMoE"]().gates.parameters())
    assert gates == 2 * 8 * d  # what the paper's 113 units leave out


def test_a_setting_changes_one_value():
    assert paper.setting("base") == paper.BASE
    assert paper.setting("c 0.3") == {"d": 100, "c": 0.3, "m": 10}
    assert paper.setting("d 512") == {"d": 512, "c": 1.0, "m": 10}


@pytest.fixture(scope="module")
def stored():
    return stored_study("07", "mmoe_paper")


def test_the_stored_runs_are_complete_and_finite(stored):
    finals = stored.table("finals")
    for row in finals.iter_rows(named=True):
        values = [v for n, v in row.items() if n.startswith(SEED) and v is not None]
        wanted = FULL.seeds_of_variants
        if row["setting"] == "base":
            ours = row["network"] in paper.PAPERS
            wanted = FULL.seeds if ours else FULL.seeds_of_others
        assert len(values) == wanted and all(map(math.isfinite, values)), row
    base = finals.filter(setting="base")
    assert base.height == 2 * len(FULL.correlations) * len(paper.KINDS)
    assert set(finals["setting"]) == {"base", *FULL.variants}


def test_everyone_had_the_same_rates_and_got_the_best_of_them(stored):
    rates, finals = stored.table("rates"), stored.table("finals")
    for (setting, network), tried in rates.group_by("setting", "network"):
        assert sorted(tried["rate"]) == list(FULL.rates)
        best = tried.sort("loss")["rate"][0]
        used = finals.filter(setting=setting, network=network)["rate"].unique().to_list()
        assert used == [best], (setting, network)
