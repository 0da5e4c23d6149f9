"""A table whose rows weigh whole numbers, and the table in which they stand so many times."""

from __future__ import annotations

import torch

from mtlkit.data.table import Table


def with_weight(table: Table, weight: torch.Tensor) -> Table:
    """The table with a weight for each row."""
    return Table(table.schema, **(table._columns() | {"weight": weight.float()}))


def counts(rows: int, seed: int = 0, largest: int = 3) -> torch.Tensor:
    """Whole numbers 0 .. largest, (rows,), not all 0."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randint(0, largest + 1, (rows,), generator=generator)
    found[int(seed) % rows] = largest
    return found


def repeated(table: Table, times: torch.Tensor) -> Table:
    """The table in which row i stands times[i] times."""
    index = torch.repeat_interleave(torch.arange(len(table)), times)
    result = table.take(index)
    result.row_id = torch.arange(len(result))
    return result
