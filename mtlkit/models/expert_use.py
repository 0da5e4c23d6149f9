"""Who uses which expert: gate weights and outputs of the experts, over the rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import torch
from torch import Tensor, nn

from mtlkit.data.agreement import require_inputs, require_table
from mtlkit.data.batch import Batch
from mtlkit.data.table import Table
from mtlkit.layers.levels import ExpertLevel, ExpertReader
from mtlkit.models.base import MultiTaskModel

CONSTANT = 1e-12  # variance over mean square, below which a unit of float32 does not vary


def gate_map(
    model: MultiTaskModel, table: Table, *, by: str | None = None, batch_size: int = 4096
) -> pl.DataFrame:
    """Mean gate weights: one row a (level, reader, expert), with ``by="scenario"`` a scenario too.

    Columns: "level" (from 1), "reader" (a task; "all tasks" of ``OMoE``; "shared" for the gate of a
    shared part, "shared 1", "shared 2", ... where a level of ``AdaTT`` has several), "scenario"
    (with ``by``; "unknown" where rows have no known one, none without rows), "expert" (from 0,
    within its level), "owner" (a task, "shared", or "scenario" for an expert of which each scenario
    has one of its own, and every row meets that of its scenario), "weight" (mean over the rows,
    each counted once). The reader "scenario" is a gate of each scenario's own in the same sense
    (``HiNet``). Weights of a reader sum to 1, except in ``CrossStitch``: there a level is a layer,
    and the weights are its learned numbers, which may be negative. Of ``AdaTT`` they are the
    gate's, without the residual that adds the reader's own experts once more.

    A link shows the network inside. A model of your own defines ``expert_levels()``. The model
    is as it was afterwards. Raises ``ValueError`` for a model without experts, another ``by``, a
    table without rows, and gates that do not run once a batch or give other shapes than
    (batch, expert); ``SchemaError`` for a table with other inputs.
    """
    if by not in (None, "scenario"):
        raise ValueError(f"by must be None or 'scenario', not {by!r}.")
    model, levels = _with_levels(model)
    require_table(table)
    require_inputs(model.schema, table.schema)
    schema, readers = model.schema, _readers(levels)
    groups = [*schema.scenario_names, schema.unknown_scenario_name] if by else ["all rows"]
    rows = torch.zeros(len(groups), dtype=torch.int64)
    sums = [torch.zeros(len(groups), len(reader.experts)).double() for _, reader in readers]

    def see(batch: Batch, weights: Sequence[Tensor]) -> None:
        place = batch.scenario.cpu() if by else torch.zeros(batch.rows, dtype=torch.int64)
        rows.add_(torch.bincount(place, minlength=len(groups)))
        for total, found in zip(sums, weights, strict=True):
            total.index_add_(0, place, found)

    _run(model, table, batch_size, readers, see)
    if not int(rows.sum()):
        raise ValueError("The table has no rows to take the mean over.")
    found = []
    for (number, reader), total in zip(readers, sums, strict=True):
        owners = levels[number].owners
        for group in rows.nonzero().flatten().tolist():
            means = (total[group] / rows[group]).tolist()
            cells = sorted(zip(reader.experts, means, strict=True))
            place = (groups[group],) if by else ()
            found += [(number + 1, reader.name, *place, n, owners[n], mean) for n, mean in cells]
    names = ["level", "reader", *([by] if by else []), "expert", "owner", "weight"]
    return pl.DataFrame(found, schema=names, orient="row")


def expert_activity(model: MultiTaskModel, table: Table, *, batch_size: int = 4096) -> pl.DataFrame:
    """What each expert does and who needs it: one row a (level, expert).

    With w_r the share of expert n in the mean gate weights of reader r (``gate_map``), over the
    readers that can read it:

    - "owner": a task or "shared"
    - "zeros": share of its outputs that are exactly 0, over rows and units; above 0.9 is what Wang
      et al. 2024 (HoME, arXiv 2408.05430) call expert collapse
    - "dead": share of its units that are 0 on every row
    - "load": mean of w_r, its importance in Shazeer et al. 2017 (ICLR, section 4) a row and reader
    - "most": max w_r / sum w_r, 1 where one reader alone listens
    - "similarity": mean of abs(correlation over the rows of unit u of this expert and unit u of
      another one), over the other experts of its level and all u; pairs with a unit that does not
      vary are left out. 1: experts that never parted. Units are compared as gates add them up: the
      same unit under another number is not seen

    NaN where nothing is defined: similarity of a lone expert, "most" of one without any weight. In
    ``CrossStitch`` w_r is a share of absolute numbers. Experts run without dropout. A model of your
    own defines ``expert_levels()`` and ``expert_outputs(batch)``. Raises as ``gate_map``, and
    ``ValueError`` for outputs of another shape than (expert, batch, width).
    """
    weights = gate_map(model, table, batch_size=batch_size)
    size = pl.col("weight").abs()
    share = size / size.sum().over("level", "reader")
    use = weights.with_columns(share=share).group_by("level", "expert", "owner").agg(
        load=pl.col("share").mean(), most=pl.col("share").max() / pl.col("share").sum()
    ).sort("level", "expert")  # fmt: skip
    model, levels = _with_levels(model)
    seen = [_Outputs() for _ in levels]

    def see(batch: Batch, _: Any) -> None:
        outputs = list(model.expert_outputs(batch))
        shapes = [tuple(h.shape[:2]) for h in outputs]
        wanted = [(len(level.owners), batch.rows) for level in levels]
        if shapes != wanted or any(h.dim() != 3 for h in outputs):
            raise ValueError(
                f"{type(model).__name__}.expert_outputs must give (expert, batch, width) a level, "
                f"here {wanted} and a width, not {[tuple(h.shape) for h in outputs]}."
            )
        for level, h in zip(seen, outputs, strict=True):
            level.add(h)

    _run(model, table, batch_size, (), see)
    parts = [level.measured() for level in seen]
    measured = {name: [value for part in parts for value in part[name]] for name in parts[0]}
    order = ["level", "expert", "owner", "zeros", "dead", "load", "most", "similarity"]
    return use.with_columns(**{n: pl.Series(v) for n, v in measured.items()}).select(order)


class _Outputs:
    """Sums over the rows of what the experts of one level put out."""

    def __init__(self) -> None:
        self.rows = 0
        self.start: Tensor  # the first row, (expert, 1, unit): sums of differences keep digits
        self.zero: Any = 0  # rows on which a unit is 0, (expert, unit)
        self.total: Any = 0  # (unit, expert)
        self.products: Any = 0  # (unit, expert, expert)

    def add(self, h: Tensor) -> None:
        h = h.detach().cpu().double()  # (expert, batch, unit)
        if not self.rows:
            self.start = h[:, :1].clone()
        self.rows += h.shape[1]
        self.zero = self.zero + (h == 0).sum(1)
        apart = (h - self.start).permute(2, 0, 1)  # (unit, expert, batch)
        self.total = self.total + apart.sum(2)
        self.products = self.products + apart @ apart.mT

    def measured(self) -> dict[str, list[float]]:
        """{"zeros", "dead", "similarity": one an expert}."""
        mean = self.total / self.rows
        covariance = self.products / self.rows - mean.unsqueeze(2) * mean.unsqueeze(1)
        variance = covariance.diagonal(dim1=1, dim2=2)  # (unit, expert)
        square = variance + (mean + self.start.squeeze(1).T).square()
        varies = variance > CONSTANT * square
        spread = torch.where(varies, variance, 1.0).sqrt()
        correlation = covariance.abs() / (spread.unsqueeze(2) * spread.unsqueeze(1))
        pairs = varies.unsqueeze(2) & varies.unsqueeze(1) & ~torch.eye(mean.shape[1]).bool()
        known = torch.where(pairs, correlation.clamp(max=1), 0.0).sum((0, 2))
        return {
            "zeros": (self.zero.double().mean(1) / self.rows).tolist(),
            "dead": (self.zero == self.rows).double().mean(1).tolist(),
            "similarity": (known / pairs.sum((0, 2))).tolist(),
        }


def _with_levels(model: Any) -> tuple[MultiTaskModel, Sequence[ExpertLevel]]:
    """The model (that inside of a compiled one) and its levels of experts."""
    inner = getattr(model, "_orig_mod", model)
    if not isinstance(inner, MultiTaskModel):
        raise ValueError(
            f"{type(inner).__name__} is no model of mtlkit: mtlkit.wrap(module, schema) makes one, "
            "and its module defines expert_levels()."
        )
    levels = inner.expert_levels()
    if not levels:
        raise ValueError(f"This {type(inner).__name__} has no level of experts.")
    return inner, levels


def _readers(levels: Sequence[ExpertLevel]) -> list[tuple[int, ExpertReader]]:
    return [(n, reader) for n, level in enumerate(levels) for reader in level.readers]


def _run(
    model: MultiTaskModel,
    table: Table,
    batch_size: int,
    readers: Sequence[tuple[int, ExpertReader]],
    see: Callable[[Batch, Sequence[Tensor]], None],
) -> None:
    """``see(batch, weights of each reader)`` for all rows; without readers nothing runs before."""
    caught: list[list[Tensor]] = [[] for _ in readers]
    gates = [(kept, r.gate) for kept, (_, r) in zip(caught, readers, strict=True)]
    hooks = [
        gate.register_forward_hook(lambda module, given, out, kept=kept: kept.append(out))
        for kept, gate in gates
        if isinstance(gate, nn.Module)
    ]
    home, training = next(model.parameters()).device, model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in table.batches(batch_size):
                batch = batch.to(home)
                for kept in caught:
                    kept.clear()
                if readers:
                    model(batch)
                pairs = zip(readers, caught, strict=True)
                see(batch, [_weights(*where, kept, batch.rows) for where, kept in pairs])
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)


def _weights(level: int, reader: ExpertReader, caught: Sequence[Tensor], rows: int) -> Tensor:
    """What a gate gave for a batch, float64 (batch, expert)."""
    who = f"The gate of reader {reader.name!r} on level {level + 1}"
    wanted = (rows, len(reader.experts))
    if isinstance(reader.gate, Tensor):
        if tuple(reader.gate.shape) != wanted[1:]:
            raise ValueError(f"{who} is {tuple(reader.gate.shape)}, it must be {wanted[1:]}.")
        return reader.gate.detach().cpu().double().expand(wanted)
    if len(caught) != 1:
        raise ValueError(f"{who} ran {len(caught)} times in a forward pass, it must run once.")
    if not isinstance(caught[0], Tensor) or tuple(caught[0].shape) != wanted:
        shape = tuple(getattr(caught[0], "shape", ()))
        raise ValueError(f"{who} gave {shape or type(caught[0]).__name__}, it must give {wanted}.")
    return caught[0].detach().cpu().double()
