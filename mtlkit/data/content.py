"""A short text that differs where the rows of two tables differ in anything a model learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from mtlkit.data.join import Join
from mtlkit.data.table import Table

UNSEEN = {"schema", "truth", "keys", "row_id"}  # of a table: what no model is shown
ROWS = 16_384  # of a batch, where a table can only be read in batches


def content_hash(table: Any) -> str:
    """32 hexadecimal digits for the columns that a batch holds, in their order of rows.

    Neither the schema nor truth, keys and row ids count, and no device. A table of a kind of its
    own may have a method ``content_hash()``; without one it is read once, batch by batch.
    """
    if hasattr(table, "content_hash"):
        return str(table.content_hash())
    found = hashlib.blake2b(digest_size=16)
    if isinstance(table, Join):
        parts: Iterable[Any] = {name: content_hash(t) for name, t in table.tables.items()}.items()
    elif isinstance(table, Table):
        parts = [(name, value) for name, value in vars(table).items() if name not in UNSEEN]
    else:
        parts = (_columns(batch) for batch in table.batches(ROWS))
    for part in parts:
        _add(found, part)
    return found.hexdigest()


def _columns(batch: Any) -> dict[str, Any]:
    """The columns of a batch; without pages they are those of a batch that knows of none."""
    return {k: v for k, v in vars(batch).items() if k != "group" or v is not None}


def tensor_hash(tensor: Tensor) -> str:
    """32 hexadecimal digits for type, shape and content of a tensor on any device."""
    found = hashlib.blake2b(digest_size=16)
    _add(found, tensor)
    return found.hexdigest()


def _add(found: Any, value: Any) -> None:
    """Add a value to a hash: tensors, plain values, and tuples, lists and dicts of these."""
    if isinstance(value, Tensor):
        plain = value.detach().to_dense() if value.layout is not torch.strided else value.detach()
        found.update(f"tensor {plain.dtype} {tuple(plain.shape)};".encode())
        whole = plain.cpu().contiguous().reshape(-1)
        if whole.numel():
            found.update(whole.view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        found.update(f"dict {len(value)};".encode())
        for name in sorted(value):
            _add(found, name)
            _add(found, value[name])
    elif isinstance(value, tuple | list):
        found.update(f"list {len(value)};".encode())
        for part in value:
            _add(found, part)
    else:
        text = repr(value)
        found.update(f"{type(value).__name__} {len(text)} {text};".encode())
