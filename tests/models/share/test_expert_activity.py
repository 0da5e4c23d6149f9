"""What experts do: dead, idle, owned or equal ones are found, and all numbers are those by hand."""

import math

import numpy as np
import polars as pl
import pytest
import torch

from mtlkit.layers import ExpertLevel, ExpertReader, Towers
from mtlkit.models import AdaTT, CrossStitch, MMoE, MultiTaskModel, expert_activity, gate_map
from tests import tiny
from tests.models import registry
from tests.models.share.test_experts import NAMES, SIZES, VARIANTS, make
from tests.models.share.test_gate_map import GATED, SCHEMA, banks, table_of, watched


def correlation(first, second):
    """abs(correlation) of two lists, None where one does not vary."""
    if max(first) == min(first) or max(second) == min(second):
        return None
    return abs(float(np.corrcoef(first, second)[0, 1]))


def similar(outputs, number):
    """Mean over other experts and units, by a loop over pairs; outputs (expert, row, unit)."""
    found = [
        correlation(outputs[number][:, unit], other[:, unit])
        for n, other in enumerate(outputs)
        if n != number
        for unit in range(other.shape[1])
    ]
    known = [value for value in found if value is not None]
    return sum(known) / len(known)


@pytest.mark.parametrize("variant", GATED)
def test_every_number_is_that_of_a_slow_loop(variant, monkeypatch):
    model, table = make(variant).eval(), table_of()
    with torch.no_grad():
        seen = watched(monkeypatch, variant, model, tiny.all_rows(table))
    frame, weights = expert_activity(model, table, batch_size=7), gate_map(model, table)
    assert frame.columns == [
        "level", "expert", "owner", "zeros", "dead", "load", "most", "similarity",
    ]  # fmt: skip
    place = 0
    for number, level in enumerate(model.expert_levels()):
        outputs = {}
        for reader in level.readers:
            outputs |= dict(zip(reader.experts, seen[reader.gate][1], strict=True))
        outputs = [outputs[n].numpy() for n in range(len(level.owners))]
        for n, h in enumerate(outputs):
            row = frame.row(place, named=True)
            place += 1
            assert (row["level"], row["expert"], row["owner"]) == (number + 1, n, level.owners[n])
            zero = [[float(value == 0) for value in line] for line in h.tolist()]
            assert row["zeros"] == pytest.approx(np.mean(zero))
            assert row["dead"] == pytest.approx(np.mean([min(unit) for unit in zip(*zero)]))
            assert row["similarity"] == pytest.approx(similar(outputs, n), abs=1e-9)
            own = weights.filter((pl.col("level") == number + 1) & (pl.col("expert") == n))
            listened = own["weight"].to_list()
            assert row["load"] == pytest.approx(sum(listened) / len(listened))
            assert row["most"] == pytest.approx(max(listened) / sum(listened))
    assert place == frame.height


@pytest.mark.parametrize("variant", ["omoe", "mmoe", "cgc", "ple of 2", "adatt", "stem"])
def test_a_dead_expert_and_a_half_dead_one_are_found_where_they_are(variant):
    model = make(variant)
    owner, bank = banks(variant, model)[-1]  # the shared one
    with torch.no_grad():
        bank.biases[-1][0].fill_(-1e6)
        bank.weights[-1][1].zero_()
        bank.biases[-1][1].copy_(torch.tensor([[1.0, -1, 1, -1, 1]]))
    frame = expert_activity(model, table_of())
    last = frame.filter(pl.col("level") == frame["level"].max())
    own = last.filter(pl.col("owner") == owner).rows(named=True)[-bank.experts :]
    assert (own[0]["zeros"], own[0]["dead"]) == (1.0, 1.0)
    assert (own[1]["zeros"], own[1]["dead"]) == (0.4, 0.4)
    assert (frame["dead"] == 1).sum() == 1


def test_normalised_experts_with_silu_never_die():
    frame = expert_activity(make("home-experts"), table_of())
    assert frame["zeros"].to_list() == frame["dead"].to_list() == [0, 0, 0]


def test_experts_that_never_parted_are_told_and_a_lone_one_has_nobody_to_be_like():
    model, table = MMoE(SCHEMA, experts=3, **SIZES), tiny.table(SCHEMA, 40)
    apart = expert_activity(model, table)["similarity"]
    assert apart.max() < 0.8
    with torch.no_grad():
        for parameter in model.experts.parameters():
            parameter.copy_(parameter[:1].expand_as(parameter))
    assert expert_activity(model, table)["similarity"].to_list() == pytest.approx([1, 1, 1])
    lone = expert_activity(MMoE(SCHEMA, experts=1, **SIZES), table).row(0, named=True)
    assert math.isnan(lone["similarity"]) and lone["load"] == 1


def test_a_shared_expert_that_one_task_alone_weighs_has_most_1():
    model, table = make("cgc"), table_of()
    for number, gate in enumerate(model.level.gates):
        weights = torch.tensor([0.5, 0.5, 0, 0, 0] if number else [0, 0.5, 0.5, 0, 0])
        gate.register_forward_hook(lambda module, given, out, w=weights: w.expand_as(out))
    frame = expert_activity(model, table).filter(pl.col("owner") == "shared")
    assert frame["most"].to_list()[0] == 1
    assert all(math.isnan(value) for value in frame["most"].to_list()[1:])
    assert frame["load"].to_list() == pytest.approx([0.5 / 3, 0, 0])


def test_loads_add_up_to_1_where_every_reader_reads_every_expert():
    for variant in ("omoe", "mmoe", "adatt", "stem", "home-experts"):
        frame = expert_activity(make(variant), table_of())
        sums = frame.group_by("level").agg(pl.col("load").sum())["load"]
        assert sums.to_list() == pytest.approx([1] * len(sums))


def test_a_cross_stitch_counts_absolute_numbers_and_the_columns_before_their_exchange():
    model, table = CrossStitch(SCHEMA, **SIZES), tiny.table(SCHEMA, 30)
    with torch.no_grad():
        model.stitches[0].copy_(torch.tensor([[1.0, -1, 0], [0, 1, 0], [1, 0, -3]]))
        model.columns.biases[0][2].fill_(-1e6)
    frame = expert_activity(model, table)
    first = frame.filter(pl.col("level") == 1)
    assert first["load"].to_list() == pytest.approx([0.25, 0.5, 0.25])
    assert first["most"].to_list() == pytest.approx([0.5 / 0.75, 1 / 1.5, 1])
    assert first["dead"].to_list()[2] == 1 and first["dead"].to_list()[0] < 1
    h = model.embed(tiny.all_rows(table)).expand(3, -1, -1)
    h = torch.baddbmm(model.columns.biases[0], h, model.columns.weights[0]).relu()
    h = torch.einsum("kj,jbo->kbo", model.stitches[0], h)
    h = torch.baddbmm(model.columns.biases[1], h, model.columns.weights[1]).relu()
    second = frame.filter(pl.col("level") == 2)["zeros"].to_list()
    assert second == pytest.approx((h == 0).double().mean((1, 2)).tolist())


class Said(MultiTaskModel):
    """Experts that say what they are told."""

    def __init__(self, schema, said):
        super().__init__(schema)
        self.embedding = MMoE(schema, **SIZES).embedding
        self.towers = Towers(schema, self.embedding.width)
        self.said, self.asked = said, 0

    def expert_levels(self):
        even = torch.full((len(self.said),), 1 / len(self.said))
        return [
            ExpertLevel(
                ("shared",) * len(even), (ExpertReader("all", even, tuple(range(len(even)))),)
            )
        ]

    def expert_outputs(self, batch):
        first, self.asked = self.asked, self.asked + batch.rows
        return [self.said[:, first : self.asked]]


def test_similarity_sees_through_scale_sign_and_a_large_mean_and_leaves_constants_out():
    x = torch.randn(30, generator=torch.Generator().manual_seed(0)).double()
    y = torch.randn(30, generator=torch.Generator().manual_seed(1)).double()
    still = torch.full_like(x, 0.1)
    said = torch.stack(
        [
            torch.stack([x, still], 1),
            torch.stack([1e6 - 3 * x, y], 1),
            torch.stack([y, x], 1),
        ]
    )  # (expert, row, unit)
    frame = expert_activity(Said(SCHEMA, said), tiny.table(SCHEMA, 30), batch_size=11)
    r = correlation(x.tolist(), y.tolist())
    wanted = [(1 + r) / 2, (1 + r + r) / 3, (r + r + r) / 3]
    assert frame["similarity"].to_list() == pytest.approx(wanted, abs=1e-9)
    dull = said.float().clone()
    dull[:, :, 0] = 7.3
    dull[:, :, 1] = 0
    frame = expert_activity(Said(SCHEMA, dull), tiny.table(SCHEMA, 30), batch_size=11)
    assert all(math.isnan(value) for value in frame["similarity"])
    assert frame["dead"].to_list() == frame["zeros"].to_list() == [0.5] * 3


@pytest.mark.parametrize(
    "said", [torch.zeros(2, 99), torch.zeros(2, 99, 4).transpose(0, 1), torch.zeros(3, 5, 4)]
)
def test_outputs_of_another_shape_are_refused(said):
    with pytest.raises(ValueError, match=r"Said.expert_outputs must give \(expert, batch, width\)"):
        expert_activity(Said(SCHEMA, said), tiny.table(SCHEMA, 30))


def test_a_model_that_tells_gates_alone_has_a_map_and_is_told_what_activity_needs():
    model, table = MMoE(SCHEMA, **SIZES), tiny.table(SCHEMA, 30)
    model.expert_outputs = lambda batch: MultiTaskModel.expert_outputs(model, batch)
    assert gate_map(model, table).height == 12
    with pytest.raises(ValueError, match=r"defines expert_outputs\(batch\)"):
        expert_activity(model, table)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_model_is_as_it_was_and_dropout_is_off(variant):
    model, table = make(variant).train(), table_of()
    for module in model.modules():
        if hasattr(module, "dropout"):
            module.dropout = 0.9
    before = {name: value.clone() for name, value in model.state_dict().items()}
    one, two = expert_activity(model, table), expert_activity(model, table)
    assert one.equals(two, null_equal=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in model.modules())


def test_a_link_tells_of_the_network_inside_and_adatt_of_all_its_modules():
    link, table = registry.make("esmm", "stem"), registry.table("esmm")
    assert expert_activity(link, table).equals(expert_activity(link.network, table))
    frame = expert_activity(AdaTT(SCHEMA, shared_modules=2, **SIZES), tiny.table(SCHEMA, 20))
    assert frame["owner"].to_list() == [*NAMES, "shared", "shared"] * 2
