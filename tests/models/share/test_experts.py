"""Networks of experts: each equals a slow loop, and each fact of its paper is a test."""

from functools import partial

import pytest
import torch

from mtlkit.models import (
    CGC,
    PLE,
    SHARING,
    STEM,
    AdaTT,
    CrossStitch,
    HoMEExperts,
    MMoE,
    OMoE,
    SharedBottom,
    SingleTask,
)  # fmt: skip
from mtlkit.train import fit, seeded
from tests import tiny
from tests.models.share import slow

SIZES = {"embedding_dim": 4, "hidden": (8, 5), "tower": (6,)}
NAMES = ("click", "category", "orders")
VARIANTS = {  # every number of experts and levels that the code tells apart
    "cross-stitch": (CrossStitch, {}),
    "omoe": (OMoE, {"experts": 3}),
    "mmoe": (MMoE, {"experts": 3}),
    "cgc": (CGC, {"own_experts": 2, "shared_experts": 3}),
    "ple of 1": (PLE, {"levels": 1}),
    "ple of 2": (PLE, {"levels": 2, "own_experts": 2, "shared_experts": 3}),
    "ple of 3": (PLE, {"levels": 3}),
    "adatt": (AdaTT, {"levels": 2, "experts": 2, "shared_modules": 2}),
    "adatt of 1": (AdaTT, {"levels": 1, "experts": 1}),
    "adatt of 3": (AdaTT, {"levels": 3, "experts": 1}),
    "adatt-sp": (AdaTT, {"levels": 2, "experts": 2, "shared_modules": 0}),
    "stem": (STEM, {"own_experts": 2, "shared_experts": 3}),
    "home-experts": (HoMEExperts, {"experts": 3, "rank": 2}),
}


def make(variant: str, seed: int = 0):
    """A model whose gates, stitches and residuals are far from their start."""
    kind, options = VARIANTS[variant]
    with seeded(seed):
        model = kind(tiny.schema(*NAMES), **SIZES, **options).double()
        for name, parameter in model.named_parameters():
            if "gate" in name or name.split(".")[-1] in ("A", "residual"):
                torch.nn.init.normal_(parameter)
            elif "biases" in name or (name.startswith("towers.") and name.endswith(".bias")):
                torch.nn.init.uniform_(parameter, 0.1, 0.5)
    return model


def batch_of(rows: int = 40, seed: int = 0):
    batch = tiny.all_rows(tiny.table(tiny.schema(*NAMES), rows, seed))
    batch.dense = batch.dense.double()
    return batch


def gradients(model, task: str, batch) -> dict[str, torch.Tensor]:
    """{parameter: gradient of one task's loss}, zeros where there is none."""
    model.zero_grad()
    losses = model.losses(model(batch), batch)
    losses[model.schema.task_index(task)].backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for n, p in model.named_parameters()}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [True, False])
def test_each_equals_a_slow_loop_over_experts_in_outputs_and_gradients(variant, training):
    model, batch = make(variant), batch_of()
    model.train(training)
    name = next(n for n in slow.SLOW if variant.startswith(n))
    found, expected = model(batch), slow.logits(name, model, batch)
    for task in NAMES:
        torch.testing.assert_close(found[task], expected[task])
    weights = list(model.parameters())
    both = [model.losses(logits, batch).sum() for logits in (found, expected)]
    fast, plain = (torch.autograd.grad(loss, weights, allow_unused=True) for loss in both)
    for one, two in zip(fast, plain, strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            torch.testing.assert_close(one, two)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_has_a_gradient_and_changes_the_output(variant):
    model, batch = make(variant), batch_of()
    totals = {n: 0.0 for n, _ in model.named_parameters()}
    for task in NAMES:
        for name, gradient in gradients(model, task, batch).items():
            totals[name] += float(gradient.abs().sum())
    assert [name for name, total in totals.items() if total == 0] == []
    model.eval()
    before = torch.cat([v.flatten() for v in model(batch).values()]).detach()
    for name, parameter in model.named_parameters():
        kept = parameter.data.clone()
        parameter.data += 0.1 * torch.randn_like(parameter)
        after = torch.cat([v.flatten() for v in model(batch).values()])
        assert not torch.equal(before, after), name
        parameter.data = kept


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_belongs_to_a_task_learns_from_no_other_and_what_is_shared_from_several(variant):
    model, batch = make(variant), batch_of(rows=80)
    by_task = {task: gradients(model, task, batch) for task in NAMES}
    names = {id(p): n for n, p in model.named_parameters()}
    for task in NAMES:
        for parameter in model.task_parameters(task):
            own = names[id(parameter)]
            assert by_task[task][own].abs().sum() > 0
            assert all(by_task[t][own].abs().sum() == 0 for t in NAMES if t != task), own
    for parameter in model.shared_parameters():
        own = names[id(parameter)]
        assert sum(bool(by_task[t][own].abs().sum() > 0) for t in NAMES) > 1, own


@pytest.mark.parametrize("variant", VARIANTS)
def test_experts_that_start_equal_stay_equal_so_ours_do_not(variant):
    kind, options = VARIANTS[variant]
    table = tiny.table(tiny.schema(*NAMES), 60)
    table.dense = table.dense.double()
    with seeded(0):
        model = kind(tiny.schema(*NAMES), **SIZES, **options).double()
    stacked = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.dim() == 3 and len(parameter) > 1 and name.split(".")[-1] != "A"
    }
    for name, parameter in stacked.items():  # of a bank with several experts
        if "biases" not in name:
            assert not torch.equal(parameter[0], parameter[1]), name
    if variant == "cross-stitch":
        return  # its columns have towers of their own, which part them
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 3:
                parameter.copy_(parameter[:1].expand_as(parameter))
            elif "gate" in name:
                parameter.zero_()
    fit(model, table, epochs=3, batch_size=16, progress=False, row_prior=None)
    for name, parameter in stacked.items():
        torch.testing.assert_close(parameter, parameter[:1].expand_as(parameter), msg=name)


def permute(bank, order) -> None:
    for stacked in (*bank.weights, *bank.biases):
        stacked.data = stacked.data[order]


@pytest.mark.parametrize("variant", ["omoe", "mmoe", "cgc", "ple of 2", "stem", "adatt"])
def test_permuting_experts_of_a_bank_with_their_gate_columns_changes_nothing(variant):
    model, batch = make(variant), batch_of()
    before = {task: logits.detach() for task, logits in model(batch).items()}
    order = torch.tensor([1, 0])  # of the first two experts of a bank

    def swap(gate, start):
        columns = gate.linear.weight.data
        columns[[start, start + 1]] = columns[[start + 1, start]]

    if variant in ("omoe", "mmoe"):
        permute(model.experts, torch.tensor([1, 0, 2]))
        for gate in [model.gate] if variant == "omoe" else model.gates:
            swap(gate, 0)
    elif variant in ("cgc", "ple of 2"):
        for level in [model.level] if variant == "cgc" else model.levels:
            permute(level.own[1], order)
            swap(level.gates[1], 0)
            if level.shared_gate is not None:
                swap(level.shared_gate, 2)
    elif variant == "stem":
        permute(model.own[1], order)
        for gate in model.gates:
            swap(gate, 2)
    else:
        for level in model.levels:
            permute(level.banks[1], order)
            for fusion in level.fusions:
                swap(fusion.gate, 2)
            residual = level.fusions[1].residual.data
            residual[[0, 1]] = residual[[1, 0]]
    for task, logits in model(batch).items():
        torch.testing.assert_close(logits, before[task])


def test_gates_of_zeros_give_the_mean_of_the_experts():
    batch = batch_of()
    for variant in ("omoe", "mmoe", "cgc", "home-experts"):
        model = make(variant).eval()
        for name, parameter in model.named_parameters():
            if name.startswith(("gate.", "gates.", "level.gates.")):
                torch.nn.init.zeros_(parameter)
        x = model.embed(batch)
        means = [h.mean(0) for h in slow_experts(variant, model, x)]
        towers = model.towers(dict(zip(NAMES, means, strict=True)))
        for task, logits in model(batch).items():
            torch.testing.assert_close(logits, towers[task], msg=variant)


def slow_experts(variant, model, x):
    """For each task, the experts that its gate sees: (expert, batch, hidden)."""
    if variant == "cgc":
        common = slow.experts(model.level.shared, x)
        return [torch.stack(slow.experts(bank, x) + common) for bank in model.level.own]
    if variant == "home-experts":
        return [model.experts(model.features(x))] * len(NAMES)
    return [torch.stack(slow.experts(model.experts, x))] * len(NAMES)


# --- special cases that tie the architectures to each other ----------------------------------


def same_start(one, other, *parts):
    for part in ("embedding", "towers", *parts):
        getattr(one, part).load_state_dict(getattr(other, part).state_dict())


def assert_same(one, other, batch):
    expected = other(batch)
    for task, logits in one(batch).items():
        torch.testing.assert_close(logits, expected[task])


def test_one_expert_and_one_gate_are_a_shared_bottom():
    schema, batch = tiny.schema(*NAMES), batch_of()
    one, shared = OMoE(schema, experts=1, **SIZES).double(), SharedBottom(schema, **SIZES).double()
    same_start(one, shared)
    linears = [m for m in shared.bottom if isinstance(m, torch.nn.Linear)]
    for layer, linear in enumerate(linears):
        one.experts.weights[layer].data[0] = linear.weight.data.T
        one.experts.biases[layer].data[0, 0] = linear.bias.data
    assert_same(one, shared, batch)


def test_equal_gates_make_mmoe_an_omoe():
    schema, batch = tiny.schema(*NAMES), batch_of()
    one, many = make("omoe"), MMoE(schema, experts=3, **SIZES).double()
    same_start(many, one, "experts")
    for gate in many.gates:
        gate.load_state_dict(one.gate.state_dict())
    assert_same(many, one, batch)


def test_cgc_is_ple_of_one_level():
    batch = batch_of()
    kind, options = VARIANTS["cgc"]
    one, ple = make("cgc"), PLE(tiny.schema(*NAMES), levels=1, **SIZES, **options).double()
    same_start(ple, one)
    ple.levels[0].load_state_dict(one.level.state_dict())
    assert_same(ple, one, batch)
    assert sum(p.numel() for p in ple.parameters()) == sum(p.numel() for p in one.parameters())


def test_what_own_experts_leave_in_cgc_is_mixed_as_in_mmoe():
    schema, batch = tiny.schema(*NAMES), batch_of()
    mmoe, cgc = make("mmoe"), CGC(schema, own_experts=1, shared_experts=3, **SIZES).double()
    same_start(cgc, mmoe)
    cgc.level.shared.load_state_dict(mmoe.experts.state_dict())
    for gate, own in zip(cgc.level.gates, mmoe.gates, strict=True):
        gate.linear.weight.data[1:] = own.linear.weight.data
    x = mmoe.embed(batch)
    found = cgc.level.mixed([x] * 3, torch.zeros(3, len(x), 5).double(), mmoe.experts(x))
    for gate, own, mixed in zip(cgc.level.gates, mmoe.gates, found, strict=True):
        share = 1 - gate(x)[:, :1]  # what the own expert leaves to the shared ones
        torch.testing.assert_close(mixed, share * slow.gated(own, x, list(mmoe.experts(x))))


def test_no_task_moves_another_ones_experts_in_cgc():
    model, batch = make("cgc"), batch_of()
    for task in NAMES:
        found = gradients(model, task, batch)
        for owner, name in enumerate(NAMES):
            size = sum(float(g.abs().sum()) for n, g in found.items()
                       if n.startswith(f"level.own.{owner}."))  # fmt: skip
            assert (size > 0) == (name == task)


def test_ple_of_two_levels_reaches_other_experts_through_the_shared_output_alone():
    model, batch = make("ple of 2"), batch_of(rows=80)

    def reached():
        """{(level, owner): whether click's loss moves its experts}."""
        found = gradients(model, "click", batch)
        return {
            (level, owner): any(
                bool(g.abs().sum() > 0)
                for n, g in found.items()
                if n.startswith(f"levels.{level}.own.{owner}.")
            )
            for level in range(2)
            for owner in range(3)
        }

    assert reached() == {
        (0, 0): True, (0, 1): True, (0, 2): True,  # below: through the shared output
        (1, 0): True, (1, 1): False, (1, 2): False,  # last level: its own alone
    }  # fmt: skip
    whole = model.levels[0].passed_on
    model.levels[0].passed_on = lambda shared, experts: whole(shared, experts).detach()
    assert reached() == {
        (0, 0): True, (0, 1): False, (0, 2): False,
        (1, 0): True, (1, 1): False, (1, 2): False,
    }  # fmt: skip


def test_the_last_level_builds_no_gate_that_nobody_reads():
    for levels in (1, 2, 3):
        model = PLE(tiny.schema(*NAMES), levels=levels, **SIZES)
        have = [level.shared_gate is not None for level in model.levels]
        assert have == [True] * (levels - 1) + [False]
        fusing = [len(level.fusions) for level in AdaTT(tiny.schema(*NAMES), levels=levels).levels]
        assert fusing == [4] * (levels - 1) + [3]


def test_stem_stops_the_gradient_at_other_tasks_and_still_reads_them():
    model, batch = make("stem"), batch_of()
    for owner, task in enumerate(NAMES):
        found = gradients(model, task, batch)
        for other, _ in enumerate(NAMES):
            for part in (f"own.{other}.", f"embedding.{other}.", f"gates.{other}."):
                size = sum(float(g.abs().sum()) for n, g in found.items() if n.startswith(part))
                assert (size > 0) == (other == owner), (task, part)
        assert found["embedding.3.table"].abs().sum() > 0  # the shared table
    before = model(batch)["click"].detach()
    with torch.no_grad():
        for weight in model.own[1].weights:
            weight += 1.0
    assert not torch.allclose(model(batch)["click"], before)


def test_adatt_without_residual_on_one_level_is_mmoe():
    schema, batch = tiny.schema(*NAMES), batch_of()
    adatt = AdaTT(schema, levels=1, experts=2, shared_modules=0, **SIZES).double()
    mmoe = MMoE(schema, experts=6, **SIZES).double()
    same_start(adatt, mmoe)
    for layer in range(2):
        for number, bank in enumerate(adatt.levels[0].banks):
            part = slice(2 * number, 2 * number + 2)
            bank.weights[layer].data = mmoe.experts.weights[layer].data[part].clone()
            bank.biases[layer].data = mmoe.experts.biases[layer].data[part].clone()
    for fusion, gate in zip(adatt.levels[0].fusions, mmoe.gates, strict=True):
        fusion.gate.load_state_dict(gate.state_dict())
        fusion.residual.data.zero_()
    assert_same(adatt, mmoe, batch)


def test_adatt_with_silent_gates_and_one_expert_is_networks_apart(monkeypatch):
    schema, batch = tiny.schema(*NAMES), batch_of()
    adatt = AdaTT(schema, levels=1, experts=1, shared_modules=1, **SIZES).double()
    monkeypatch.setattr("mtlkit.models.share.adatt.mix", lambda gate, experts: 0 * experts[0])
    alone = SingleTask(schema, **SIZES).double()
    for number, network in enumerate(alone.networks):
        network.embedding.load_state_dict(adatt.embedding.state_dict())
        network.towers[0].load_state_dict(adatt.towers[number].state_dict())
        bank = adatt.levels[0].banks[number]
        linears = [m for m in network.bottom if isinstance(m, torch.nn.Linear)]
        for layer, linear in enumerate(linears):
            linear.weight.data = bank.weights[layer].data[0].T.clone()
            linear.bias.data = bank.biases[layer].data[0, 0].clone()
    assert_same(adatt, alone, batch)


def test_one_expert_is_its_own_residual_without_a_parameter():
    one, two = (AdaTT(tiny.schema(*NAMES), experts=n, **SIZES) for n in (1, 2))
    assert not [n for n, _ in one.named_parameters() if n.endswith("residual")]
    assert all(f.residual.tolist() == [0.5, 0.5] for level in two.levels for f in level.fusions)


def test_cross_stitch_starts_near_the_identity_and_with_it_columns_stay_apart():
    schema, batch = tiny.schema(*NAMES), batch_of()
    model = CrossStitch(schema, **SIZES).double()
    for stitch in model.stitches:
        torch.testing.assert_close(stitch.sum(1), torch.ones(3).double())
        torch.testing.assert_close(stitch.diagonal(), torch.full((3,), 0.9).double())
    apart = CrossStitch(schema, keep=1.0, **SIZES).double()
    found = gradients(apart, "click", batch)
    for layer in range(2):
        sizes = found[f"columns.weights.{layer}"].abs().sum((1, 2))
        assert sizes[0] > 0 and sizes[1:].sum() == 0
    lone = CrossStitch(tiny.schema("click"), **SIZES)
    assert all(stitch.tolist() == [[1.0]] for stitch in lone.stitches)


def test_feature_gates_start_as_the_identity():
    model, batch = HoMEExperts(tiny.schema(*NAMES), **SIZES).double(), batch_of()
    x = model.embed(batch)
    assert torch.equal(model.features(x), x.expand(4, *x.shape))


def test_normalised_experts_have_mean_0_and_variance_1_over_the_batch():
    model, batch = make("home-experts"), batch_of()
    seen = []
    for norm in model.experts.norms:
        norm.register_forward_hook(lambda module, given, out: seen.append(out.detach()))
    model.train()(batch)
    assert len(seen) == 2
    for out in seen:
        torch.testing.assert_close(
            out.mean(0), torch.zeros(out.shape[1]).double(), atol=1e-7, rtol=0
        )
        torch.testing.assert_close(
            out.var(0, correction=0), torch.ones(out.shape[1]).double(), atol=1e-2, rtol=0
        )


def test_a_training_batch_of_one_row_takes_the_running_statistics():
    model = make("home-experts").train()
    before = {n: b.clone() for n, b in model.named_buffers()}
    lone = batch_of(rows=1)
    found = {t: v.detach() for t, v in model(lone).items()}
    assert all(torch.equal(b, before[n]) for n, b in model.named_buffers())
    for task, logits in model.eval()(lone).items():
        torch.testing.assert_close(found[task], logits)


WRONG = {
    "ple without a level": (partial(PLE, levels=0), "levels must be 1 or more"),
    "adatt without a level": (partial(AdaTT, levels=0), "levels must be 1 or more"),
    "adatt with fewer than no modules": (partial(AdaTT, shared_modules=-1), "shared_modules 0"),
    "no experts": (partial(OMoE, experts=0), "experts must be 1 or more"),
    "no own experts": (partial(CGC, own_experts=0), "experts must be 1 or more"),
    "no shared experts": (partial(STEM, shared_experts=0), "experts must be 1 or more"),
    "keep of 0": (partial(CrossStitch, keep=0.0), "keep must be above 0"),
    "keep above 1": (partial(CrossStitch, keep=1.5), "at most 1"),
    "rank 0": (partial(HoMEExperts, rank=0), "rank must be 1 or more"),
}


@pytest.mark.parametrize("case", WRONG)
def test_sizes_that_make_no_network_are_refused(case):
    call, words = WRONG[case]
    with pytest.raises(ValueError, match=words):
        call(tiny.schema(*NAMES))


def test_every_sharing_model_but_the_first_ones_is_held_by_a_slow_loop():
    assert set(SHARING) - set(slow.SLOW) == {"article", "single-task", "shared-bottom"}
    assert {next(n for n in slow.SLOW if v.startswith(n)) for v in VARIANTS} == set(slow.SLOW)
