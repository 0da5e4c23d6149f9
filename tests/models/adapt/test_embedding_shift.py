"""Embedding shift: at its start the network itself; then ids that differ by scenario."""

import pytest
import torch

from mtlkit.layers import ShiftedEmbedding
from mtlkit.models import ADAPTING, SHARING, EmbeddingShift
from mtlkit.train.row_prior import RowPrior, reads
from tests import tiny
from tests.models.adapt.twelve import (
    SCHEMA,
    SIZES,
    TEN,
    UNKNOWN,
    batch_of,
    fresh,
    of_every_row,
    plain,
    trained,
)  # fmt: skip


def without_shifts(model):
    """The state of a model but for its shifts."""
    return {k: v for k, v in model.state_dict().items() if "shifts" not in k}


@pytest.mark.parametrize("network", ["shared-bottom", "mmoe", "ple", "single-task"])
def test_at_its_start_it_is_its_network_to_the_last_digit(network):
    model = EmbeddingShift(SCHEMA, SHARING[network], **SIZES).double()
    alone, batch = SHARING[network](SCHEMA, **SIZES).double(), batch_of()
    alone.load_state_dict(without_shifts(model.network))
    assert torch.equal(of_every_row(model(batch)), of_every_row(alone(batch)))


def test_every_id_of_a_row_has_its_own_embedding_and_the_shift_of_the_rows_scenario():
    model, network = trained("embedding-shift"), plain()
    inside = model.network
    state = without_shifts(inside)
    batch = batch_of()
    found = of_every_row(model(batch))
    common, shifts = inside.embedding.table.detach(), inside.embedding.shifts
    per_set = shifts.table.detach().view(UNKNOWN + 1, shifts.rows, -1)
    scenario_rows = slice(17, 18 + UNKNOWN)  # users and items come before, sequences share theirs
    for scenario in (0, 2, TEN, UNKNOWN):
        own = common.clone()
        kept = torch.cat([own[: scenario_rows.start], own[scenario_rows.stop :]])
        kept = kept + per_set[scenario]
        own[: scenario_rows.start] = kept[: scenario_rows.start]
        own[scenario_rows.stop :] = kept[scenario_rows.start :]
        network.load_state_dict(state | {"embedding.table": own})
        rows = batch.scenario == scenario
        right = of_every_row(network(batch))[rows]
        torch.testing.assert_close(found[rows], right, rtol=1e-9, atol=1e-11)


def test_a_shift_learns_from_rows_of_its_scenario_and_the_embedding_from_all():
    model = trained("embedding-shift")
    shifts = model.network.embedding.shifts
    for scenario in (2, TEN):
        model.zero_grad()
        batch = batch_of(scenario=[scenario] * 30)
        model.losses(model(batch), batch).sum().backward()
        moved = (shifts.table.grad.view(UNKNOWN + 1, shifts.rows, -1) != 0).flatten(1).any(1)
        assert moved.nonzero().flatten().tolist() == [scenario]
        assert (model.network.embedding.table.grad != 0).any()


def test_the_row_prior_holds_a_shift_back_by_its_own_reads():
    model, table = fresh("embedding-shift").float(), tiny.table(SCHEMA, 200, seed=4)
    embeddings = list(model.embeddings())
    common, own = reads(embeddings, table)
    rows = model.network.embedding.shifts.rows
    assert own.view(UNKNOWN + 1, rows).sum() == common.sum() - len(table)  # but the scenario's row
    assert (own.view(UNKNOWN + 1, rows).sum(1)[:-1] > 0).all()
    prior = RowPrior(embeddings, table, 0.1)
    assert prior.strength[1].max() > prior.strength[0].max() / 2


def test_any_model_takes_the_inputs():
    batch = batch_of()
    for name in ("mlora", "star", "scenario-towers", "hmoe", "pepnet"):
        with_shifts = ADAPTING[name](SCHEMA, **SIZES, inputs=ShiftedEmbedding).double().eval()
        without = ADAPTING[name](SCHEMA, **SIZES).double().eval()
        without.load_state_dict(without_shifts(with_shifts))
        assert torch.equal(of_every_row(with_shifts(batch)), of_every_row(without(batch))), name
        more = with_shifts.parameter_count()["embedding"] - without.parameter_count()["embedding"]
        assert more == (UNKNOWN + 1) * (17 + more_rows(without)) * SIZES["embedding_dim"], name


def more_rows(model):
    """Rows of the table that are neither users, items nor scenarios: own ids of sequences."""
    (table,) = {id(e): e for e in model.embeddings()}.values()
    return len(table.table) - 18 - UNKNOWN
