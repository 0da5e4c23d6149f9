"""What a row costs a model: floating-point operations of a forward pass, counted as they happen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mtlkit.data.batch import Batch
from mtlkit.models.base import MultiTaskModel


def flops_per_row(model: MultiTaskModel, batch: Batch) -> float:
    """Floating-point operations of one forward pass, for each row of the batch.

    A product of matrices (rows, in) and (in, out) is 2 rows in out; multiplications and sums of
    numbers count one each, so that gates and the mixing of experts are in it. Lookups of embeddings
    and activations are not. Nothing is trained, and the model is as it was afterwards. Two models
    are of equal size where this and ``parameter_count`` agree. Raises ``ValueError`` for an empty
    batch.
    """
    rows = len(batch.labels)
    if not rows:
        raise ValueError("flops_per_row needs a batch with at least one row.")
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=PLAIN) as counter:
            model(batch)
    finally:
        model.train(training)
    return counter.get_total_flops() / rows


def width_for(
    make: Callable[[int], MultiTaskModel],
    parameters: float | None = None,
    *,
    flops: float | None = None,
    batch: Batch | None = None,
) -> int:
    """The width at which ``make(width)`` comes nearest to so many parameters, embeddings apart.

    For contests of equal size, gates and all: ``width_for(lambda w: MMoE(schema, hidden=(w,)),
    14_000)``. With ``flops`` and a ``batch`` the operations of a row are made equal instead, where
    parameters say little: those of a hundred scenarios are many, and each row meets one
    scenario's. The number must grow with the width, or the search is refused with ``ValueError``.
    """
    if (parameters is None) == (flops is None) or (flops is None) != (batch is None):
        raise ValueError("width_for needs parameters, or else flops and a batch.")
    goal, unit = (parameters, "parameters") if flops is None else (flops, "operations a row")
    assert goal is not None

    def size(width: int) -> float:
        if batch is not None:
            with torch.random.fork_rng(devices=[]):
                return flops_per_row(make(width), batch)
        with torch.device("meta"):  # nothing is drawn and nothing filled
            count = make(width).parameter_count()
        return count["total"] - count["embedding"]

    low, high = 1, 2
    while size(high) < goal:
        if size(high) <= size(low):
            raise ValueError(
                f"make(width) has {size(low):g} {unit} at width {low} and {size(high):g} at "
                f"{high}: it must use the width."
            )
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) < goal else (low, middle)
    return min((low, high), key=lambda width: abs(size(width) - goal))


def _of_output(*shapes: Any, out_shape: Any = None, **options: Any) -> int:
    """One operation for each number that comes out."""
    return _size(out_shape)


def _of_input(shape: Any, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    """One operation for each number that goes in."""
    return _size(shape)


def _size(shape: Any) -> int:
    total = 1
    for length in shape:
        total *= int(length)
    return total


PLAIN: dict[Any, Any] = {
    torch.ops.aten.mul: _of_output,
    torch.ops.aten.add: _of_output,
    torch.ops.aten.sum: _of_input,
}
