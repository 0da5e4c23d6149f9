"""Which row reads which weights: rows are sorted by scenario, so that the weights of each scenario
meet its own rows in one matrix product, and no others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

FORMS = ("segments", "gathered")
TENSORS = "(Tensor x, Tensor y, Tensor bounds) -> Tensor"
_form: ContextVar[str] = ContextVar("route", default="segments")


@contextmanager
def use_route(form: str) -> Iterator[None]:
    """A block in which every ``Route`` that is made takes the form "segments" or "gathered".

    "segments" (the default) sorts the rows and multiplies those of each scenario by its weights:
    for training, prediction and ``torch.export``. "gathered" copies the weights of its scenario for
    every single row, in operators of plain torch, and needs memory accordingly: for gradients of
    single rows (``torch.func``, which does not look into a custom operator), for programs that run
    without mtlkit, and as the reference that segments are tested against. ``export_onnx`` takes it
    by itself. Both give the same numbers. Raises ``ValueError`` for any other form.
    """
    if form not in FORMS:
        raise ValueError(f"A route is 'segments' or 'gathered', not {form!r}.")
    token = _form.set(form)
    try:
        yield
    finally:
        _form.reset(token)


def route_form() -> str:
    """The form that ``use_route`` has set: "segments" or "gathered"."""
    return _form.get()


class Route:
    """Which row reads which weights; made once for any number of layers that read the same rows.

    ``scenario`` (batch,) holds the number of each row's weights, 0 .. sets - 1. Between ``sort``
    and ``restore`` rows stand in the route's order, and ``linear`` takes them so::

        route = Route(batch.scenario, schema.num_scenarios + 1)
        h = route.linear(route.sort(x), first_weight, first_bias).relu()
        y = route.restore(route.linear(h, second_weight, second_bias))

    ``ids`` (batch,) are the numbers in the route's order. A low-rank layer x A_s B_s is two calls.

    A number outside 0 .. sets - 1 raises ``ValueError`` in ``linear``; in the form "gathered" on
    CUDA it is the device's own assertion. The bounds of the segments are copied to the host once a
    route (the one wait on CUDA; products of single segments need them there), and are checked where
    they are read, so in exported programs as well.
    """

    def __init__(self, scenario: Tensor, sets: int) -> None:
        if scenario.dim() != 1 or scenario.is_floating_point():
            raise ValueError(
                "scenario must be whole numbers of shape (batch,), not "
                f"{scenario.dtype} {tuple(scenario.shape)}."
            )
        self.sets, self.form, self.scenario, self.ids = sets, _form.get(), scenario, scenario
        if self.form == "segments":
            self.ids, self.order = scenario.sort(stable=True)
            self.inverse = self.order.argsort()
            numbers = torch.arange(sets + 1, device=scenario.device, dtype=scenario.dtype)
            bounds = torch.searchsorted(self.ids, numbers)  # (sets + 1,)
            self.bounds = bounds if bounds.is_meta else bounds.cpu()

    def sort(self, x: Tensor) -> Tensor:
        """Rows of the batch, (batch, ...), in the route's order."""
        return _Reordered.apply(x, self.order, self.inverse) if self.form == "segments" else x

    def restore(self, x: Tensor) -> Tensor:
        """Rows in the route's order, (batch, ...), in that of the batch."""
        return _Reordered.apply(x, self.inverse, self.order) if self.form == "segments" else x

    def of_rows(self, values: Tensor) -> Tensor:
        """What each row reads of (set, ...): (batch, ...), in the route's order."""
        return self._read(values, self.ids)

    def of_batch(self, values: Tensor) -> Tensor:
        """What each row reads of (set, ...): (batch, ...), in the order of the batch."""
        return self._read(values, self.scenario)

    def _read(self, values: Tensor, ids: Tensor) -> Tensor:
        try:
            return values.index_select(0, ids)
        except IndexError as error:
            raise ValueError(_outside(self.sets)) from error

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """x_r W[s_r] + b[s_r] for every row, in the route's order: (batch, in) -> (batch, out).

        weight (set, in, out), bias (set, out). Sets without rows get gradients of 0. Raises
        ``ValueError`` for another number of sets than the route's.
        """
        if weight.shape[0] != self.sets:
            raise ValueError(
                f"weight has {weight.shape[0]} sets, the route {self.sets}: make the route with "
                "as many sets as its layers have."
            )
        x, weight = _autocast(x), _autocast(weight)
        if self.form == "segments":
            y = segment_matmul(x, weight, self.bounds)
        else:
            with _as_given(x):
                y = torch.bmm(x.unsqueeze(1), self.of_rows(weight)).squeeze(1)
        return y if bias is None else y + _autocast(self.of_rows(bias))


class _Reordered(torch.autograd.Function):
    """Rows in another order. Its gradient is the other way round: three times as fast on a CPU as
    that of ``index_select``, which adds up rows since it cannot know that none comes twice."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        return x.index_select(0, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        order, inverse = ctx.saved_tensors
        return _Reordered.apply(gradient, inverse, order), None, None


def _outside(sets: int) -> str:
    return (
        f"A scenario id lies outside 0 .. {sets - 1}: the route has {sets} sets of weights. Give "
        "rows of the unknown scenario a set of their own, as the last one."
    )


def _autocast(x: Tensor) -> Tensor:
    """What autocast makes of the inputs of a linear layer; on a CPU float32.

    There a product in bfloat16 is compiled for its shape, and hardly two segments are of one
    length: that costs milliseconds each, and a training step up to ten times as long.
    """
    device = x.device.type
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return x
    if x.dtype == torch.float64:
        return x
    return x.to(torch.float32 if device == "cpu" else torch.get_autocast_dtype(device))


def _as_given(x: Tensor) -> AbstractContextManager[Any]:
    """A block in which autocast, where it is on, leaves the operands of products as they are."""
    device = x.device.type
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


@torch.library.custom_op("mtlkit::segment_matmul", mutates_args=(), schema=TENSORS)
def segment_matmul(x: Tensor, weight: Tensor, bounds: Tensor) -> Tensor:
    """Rows bounds[s] .. bounds[s + 1] of x (row, in) times weight[s], (set, in, out): (row, out).

    A custom operator, since the lengths of segments are values: torch.export and the device meta
    cannot walk through a loop over them, and torch's grouped product fails there in float32.
    """
    lengths = _lengths(bounds, x)
    y = x.new_empty(x.shape[0], weight.shape[2])
    for rows, w, out in zip(x.split(lengths), weight.unbind(), y.split(lengths), strict=True):
        if len(rows):
            torch.mm(rows, w, out=out)
    return y


@torch.library.custom_op("mtlkit::segment_outer", mutates_args=(), schema=TENSORS)
def segment_outer(x: Tensor, y: Tensor, bounds: Tensor) -> Tensor:
    """x[rows]^T y[rows] of every segment, x (row, in), y (row, out): (set, in, out)."""
    lengths = _lengths(bounds, x)
    products = x.new_empty(len(lengths), x.shape[1], y.shape[1])
    parts = zip(x.split(lengths), y.split(lengths), products.unbind(), strict=True)
    for left, right, out in parts:
        if len(left):
            torch.mm(left.T, right, out=out)
        else:
            out.zero_()
    return products


def _lengths(bounds: Tensor, x: Tensor) -> list[int]:
    """Rows of every segment; raise unless the segments hold all rows of x."""
    places = bounds.tolist()
    if places[0] != 0 or places[-1] != x.shape[0]:
        raise ValueError(_outside(len(places) - 1))
    return [end - start for start, end in pairwise(places)]


@segment_matmul.register_fake
def _(x: Tensor, weight: Tensor, bounds: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[2])


@segment_outer.register_fake
def _(x: Tensor, y: Tensor, bounds: Tensor) -> Tensor:
    return x.new_empty(bounds.shape[0] - 1, x.shape[1], y.shape[1])


def _keep(ctx: Any, inputs: Sequence[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, weight, bounds = ctx.saved_tensors
    for_x, for_weight, _ = ctx.needs_input_grad
    return (
        segment_matmul(gradient, weight.transpose(1, 2), bounds) if for_x else None,
        segment_outer(x, gradient, bounds) if for_weight else None,
        None,
    )


segment_matmul.register_autograd(_backward, setup_context=_keep)


_ops = torch.ops.mtlkit


@register_flop_formula([_ops.segment_matmul, _ops.segment_outer])
def _flops(x: Any, other: Any, bounds: Any, **options: Any) -> int:
    """Two for every number of a row's input and output."""
    return 2 * x[0] * x[1] * other[-1]
