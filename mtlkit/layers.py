"""The layers that every architecture is built from: field embedding, MLP, expert bank, gate."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlkit.data.table import Batch
from mtlkit.schema import Schema

# The vector mathematics that PyTorch uses on Intel processors (square roots, exponentials) sets
# itself up at its first call. When two threads make that call together, one of them may work with a
# relative error of 1e-4 that once, and a run is not repeatable. One number first, in one thread.
torch.ones(1).sqrt()


class FieldEmbedding(nn.Module):
    """All inputs of a row as one vector: embedded ids, pooled sequences and dense columns.

    Every id of every field has one row in a single table; a field's ids start at its offset. One
    table means one lookup a batch instead of one a field. A sequence is the mean (or sum) of its
    ids' rows, zero when it is empty; with ``shares`` it reads the rows of that categorical field.
    Where the schema has several scenarios, the scenario is one more id field, unless
    ``scenario_field=False`` or a categorical field called "scenario" is there already. Dense
    columns pass through unchanged.

    batch -> (batch, width), in the order categorical, scenario, sequences, dense.

    ``sparse_gradient`` (set by the optimisers that can use it) makes the table's gradient a sparse
    tensor of the rows that the batch touched. While ``reads`` is a list, gradients stop at the
    looked-up rows: each lookup returns a new leaf and notes (ids (n,), rows (n, dim)) there. Raises
    ``ValueError`` for an unknown ``pooling``.
    """

    offsets: Tensor

    def __init__(
        self,
        schema: Schema,
        embedding_dim: int = 16,
        *,
        pooling: str = "mean",
        scenario_field: bool = True,
    ) -> None:
        super().__init__()
        if pooling not in ("mean", "sum"):
            raise ValueError(f'pooling is "mean" or "sum", not {pooling!r}.')
        self.embedding_dim = embedding_dim
        self.pooling = pooling
        self.sparse_gradient = False
        self.reads: list[tuple[Tensor, Tensor]] | None = None
        listed = "scenario" in schema.categorical_names  # then it is a field already
        self.with_scenario = scenario_field and schema.num_scenarios > 1 and not listed
        self.sequence_names = tuple(s.name for s in schema.sequences)

        sizes = [c.size for c in schema.categorical]
        if self.with_scenario:
            sizes.append(schema.num_scenarios)
        self.num_fields = len(sizes)  # ids that every row has exactly once
        sizes += [s.size for s in schema.sequences if s.size is not None]
        starts = [0, *itertools.accumulate(sizes)]
        own = iter(range(self.num_fields, len(sizes)))
        names = list(schema.categorical_names)
        self.sequence_starts = tuple(
            starts[names.index(s.shares) if s.shares is not None else next(own)]
            for s in schema.sequences
        )
        self.field_starts = dict(zip(names, starts, strict=False))
        offsets = torch.tensor(starts[: self.num_fields], dtype=torch.int64)
        self.register_buffer("offsets", offsets, persistent=False)  # (field,)

        columns = self.num_fields + len(schema.sequences)
        self.width = columns * embedding_dim + schema.dense_width
        self.table = nn.Parameter(torch.empty(starts[-1], embedding_dim))  # (id, dim)
        nn.init.normal_(self.table, std=0.01)

    def ids(self, batch: Batch) -> Tensor:
        """Rows of the table that the batch reads, (n,): fields row by row, then each sequence."""
        fields = batch.categorical
        if self.with_scenario:
            fields = torch.cat([fields, batch.scenario.unsqueeze(1)], dim=1)
        parts = [(fields + self.offsets).flatten()]  # (batch * field,)
        for name, start in zip(self.sequence_names, self.sequence_starts, strict=True):
            parts.append(batch.sequences[name][0] + start)
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def lookup(self, ids: Tensor) -> Tensor:
        """Rows of the table, (n, dim)."""
        if self.reads is not None:
            rows = self.table.detach().index_select(0, ids).requires_grad_()
            self.reads.append((ids, rows))
            return rows
        if self.sparse_gradient:
            return _SparseLookup.apply(self.table, ids)
        if ids.device.type == "cpu":
            return self.table.index_select(0, ids)  # its backward is twice as fast there
        return F.embedding(ids, self.table)

    def assemble(self, rows: Tensor, batch: Batch) -> Tensor:
        """Arrange looked-up rows (n, dim) and the dense columns as (batch, width)."""
        device = rows.device.type
        if torch.is_autocast_enabled(device):  # convert once here, not once for every reader
            rows = rows.to(torch.get_autocast_dtype(device))
        size = len(batch)
        start = size * self.num_fields
        # a slice of everything would cost its backward pass a copy of everything
        fields = rows[:start] if self.sequence_names else rows
        parts = [fields.reshape(size, self.num_fields * self.embedding_dim)]
        for name in self.sequence_names:
            values, offsets = batch.sequences[name]
            parts.append(self._pool(rows[start : start + len(values)], offsets))
            start += len(values)
        parts.append(batch.dense.to(rows.dtype))
        return torch.cat(parts, dim=1)  # (batch, width)

    def _pool(self, rows: Tensor, offsets: Tensor) -> Tensor:
        """Mean or sum of the rows between offsets: (n, dim) -> (batch, dim)."""
        lengths = offsets.diff()  # (batch,)
        size = len(lengths)
        owner = torch.repeat_interleave(lengths, output_size=len(rows))  # (n,)
        pooled = rows.new_zeros(size, self.embedding_dim).index_add(0, owner, rows)
        if self.pooling == "mean":
            pooled = pooled / lengths.clamp(min=1).unsqueeze(1)
        return pooled  # (batch, dim)

    def forward(self, batch: Batch) -> Tensor:
        return self.assemble(self.lookup(self.ids(batch)), batch)


class Repeats:
    """Which positions of ids (n,) hold the same id: sorted once, then any rows are summed by it.

    ``touched`` (k,) holds the ids, ascending, each once. ``sum(rows)`` adds up the rows (n, dim)
    that share an id: (k, dim), in the order of ``touched``. Sort and segment sum are on a CPU two
    to four times as fast as ``torch.unique`` with ``index_add_``, and never touch the other rows of
    a table.
    """

    def __init__(self, ids: Tensor) -> None:
        if ids.device.type == "cpu":
            self.touched, self._order, self._starts = _grouped(ids)
            return
        ordered, self._order = ids.sort(stable=True)
        first = torch.ones_like(ordered, dtype=torch.bool)
        torch.ne(ordered[1:], ordered[:-1], out=first[1:])
        self._starts = first.nonzero().squeeze(1)  # (k,)
        self.touched = ordered[self._starts]

    def sum(self, rows: Tensor) -> Tensor:
        """Rows (n, dim) -> (k, dim)."""
        return F.embedding_bag(self._order, rows, self._starts, mode="sum")


def _grouped(ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For ids (n,) from 0 upwards: each id once (k,), positions by id (n,), group starts (k,).

    Id and position are packed into one integer, so that plain numbers are sorted and nothing has to
    be carried along: twice as fast as a stable sort. Ids so large that both do not fit into 63 bits
    are sorted the slow way.
    """
    numbers = ids.numpy()
    bits = max(len(numbers) - 1, 0).bit_length()
    if len(numbers) and int(numbers.max()) >> (63 - bits):
        order = np.argsort(numbers, kind="stable")
        ordered = numbers[order]
    else:
        packed = (numbers << bits) | np.arange(len(numbers))
        packed.sort()
        ordered, order = packed >> bits, packed & ((1 << bits) - 1)
    first = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    starts = np.flatnonzero(first)
    return torch.from_numpy(ordered[starts]), torch.from_numpy(order), torch.from_numpy(starts)


def sum_repeated(ids: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Add up the rows that share an id: ids (n,), rows (n, dim) -> (k,) ascending, (k, dim)."""
    repeats = Repeats(ids)
    return repeats.touched, repeats.sum(rows)


class _SparseLookup(torch.autograd.Function):
    """Rows of a table whose gradient is a sparse tensor over the rows read, each once."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape = table.shape
        return table.index_select(0, ids)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors
        touched, summed = sum_repeated(ids, gradient)
        sparse = torch.sparse_coo_tensor(
            touched.unsqueeze(0), summed, ctx.shape, is_coalesced=True, check_invariants=False
        )
        return sparse, None


class MLP(nn.Sequential):
    """Layers of linear, ReLU and dropout: (..., inputs) -> (..., sizes[-1]).

    Without ``sizes`` it is the identity. With ``outputs`` a last linear layer without ReLU follows,
    so that logits may be negative. ReLU layers start with He initialisation (He et al. 2015).
    """

    def __init__(
        self, inputs: int, sizes: Iterable[int], *, outputs: int | None = None, dropout: float = 0.0
    ) -> None:
        layers: list[nn.Module] = []
        width = inputs
        for size in sizes:
            linear = nn.Linear(width, size)
            nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.ReLU()]
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
            width = size
        if outputs is not None:
            last = nn.Linear(width, outputs)
            nn.init.xavier_uniform_(last.weight)
            nn.init.zeros_(last.bias)
            layers.append(last)
            width = outputs
        super().__init__(*layers)
        self.width = width


class ExpertBank(nn.Module):
    """Experts of equal shape, each an MLP with ReLU, computed together.

    (batch, inputs) -> (expert, batch, sizes[-1]).

    Layer l of all experts is one batched product, h <- relu(h W_l + b_l), with W_l
    (expert, in, out). Equal to a loop over ``MLP`` with the same weights, and faster.
    """

    def __init__(
        self, inputs: int, sizes: Sequence[int], experts: int, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if experts < 1:
            raise ValueError(f"experts must be 1 or more, not {experts}.")
        self.experts = experts
        self.dropout = dropout
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        width = inputs
        for size in sizes:
            bound = (6 / width) ** 0.5  # He initialisation, uniform
            self.weights.append(
                nn.Parameter(torch.empty(experts, width, size).uniform_(-bound, bound))
            )
            self.biases.append(nn.Parameter(torch.zeros(experts, 1, size)))
            width = size
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        h = x.expand(self.experts, *x.shape)  # (expert, batch, inputs)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            h = torch.baddbmm(bias, h, weight).relu_()  # (expert, batch, out)
            if self.dropout > 0:
                h = F.dropout(h, self.dropout, self.training)
        return h


class Gate(nn.Module):
    """How much a row listens to each expert: softmax(W x), (batch, inputs) -> (batch, experts).

    One linear layer without bias (Ma et al. 2018, KDD, equation 7), started near zero, so that all
    experts begin with nearly equal say.
    """

    def __init__(self, inputs: int, experts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, experts, bias=False)
        nn.init.normal_(self.linear.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).softmax(-1)


def mix(gate: Tensor, experts: Tensor) -> Tensor:
    """Weighted sum: gate (batch, expert), experts (expert, batch, width) -> (batch, width)."""
    # an einsum would become one tiny matrix product a row, at twice the time
    return (gate.T.unsqueeze(-1).to(experts.dtype) * experts).sum(0)
