"""Columns as bytes in a tensor, so that a file of tensors and plain values can hold any type."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import polars as pl
import torch
from torch import Tensor

from mtlkit.schema import SchemaError


def pack(columns: Mapping[str, pl.Series]) -> dict[str, Tensor]:
    """Each column as uint8 (n,): an Arrow file with its values and their type."""
    return {name: _bytes(values) for name, values in columns.items()}


def unpack(packed: Mapping[str, Tensor]) -> dict[str, pl.Series]:
    """What ``pack`` was given. Raises ``SchemaError`` where the bytes are no column."""
    return {name: _column(name, content) for name, content in packed.items()}


def _bytes(values: pl.Series) -> Tensor:
    file = io.BytesIO()
    pl.DataFrame({"values": values}).write_ipc(file)
    return torch.from_numpy(np.frombuffer(file.getvalue(), dtype=np.uint8).copy())


def _column(name: str, content: Tensor) -> pl.Series:
    try:
        return pl.read_ipc(io.BytesIO(content.numpy().tobytes()))["values"]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, AttributeError,
            TypeError, ValueError) as error:  # fmt: skip
        raise SchemaError(f"The stored values of column {name!r} cannot be read: {error}") from None
