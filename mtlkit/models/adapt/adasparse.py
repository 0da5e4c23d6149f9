"""AdaSparse: a pruner after every hidden layer weighs its units by scenario and row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.adapted import ScenarioVectors, linear_layers
from mtlkit.models.adapt.base import Adapting
from mtlkit.models.around import Network
from mtlkit.models.base import extra_name
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema

FORMS = ("binary", "scaling", "fusion")


class Pruning:
    """What pruners read and write while a network computes: ``vectors`` of the rows' scenarios
    (batch, vector), the ``sharpness``, and the ``shares`` of units that each pruned."""

    def __init__(self, form: str, threshold: float, scale: float) -> None:
        self.form, self.threshold, self.scale = form, threshold, scale
        self.vectors: Tensor | None = None
        self.sharpness: Any = None  # a tensor of no dimension, in a block of the model
        self.shares: list[tuple[str | None, Tensor]] = []  # (the task or None for all, (batch,))

    def weights(self, v: Tensor) -> Tensor:
        """What units of score v count."""
        if self.form == "scaling":
            return self.scale * v.sigmoid()
        scale = self.scale if self.form == "fusion" else 1.0
        weights = scale * (self.sharpness * v).sigmoid()
        return torch.where(weights > self.threshold, weights, 0.0)


class Pruner(nn.Module):
    """h * weights(W [v_s; h] + b), of units h (batch, width) of a layer, after its ReLU."""

    task: str | None = None  # whose layer it is; None: of all tasks

    def __init__(self, width: int, vector: int, pruning: Pruning) -> None:
        super().__init__()
        self.pruning = pruning
        self.scores = nn.Linear(vector + width, width)
        nn.init.normal_(self.scores.weight, std=0.01)
        nn.init.zeros_(self.scores.bias)

    def forward(self, h: Tensor) -> Tensor:
        pruning = self.pruning
        if pruning.vectors is None:
            raise RuntimeError("A pruner is called outside of the model that holds it.")
        weights = pruning.weights(self.scores(torch.cat([pruning.vectors, h], dim=1)))
        pruning.shares.append((self.task, 1 - weights.mean(1)))
        return h * weights


class AdaSparse(Adapting):
    """Adaptively sparse structures (Yang et al. 2022, CIKM).

    A ``Pruner`` after the ReLU of every hidden layer of bottom and towers multiplies the units h by
    weights pi of scores v = W [v_s; h] + b, with the scenario's vector v_s. ``form``:

    - "binary": S(sigmoid(alpha v)), where S makes 0 of what is ``threshold`` or less; 0 or 1 as
      alpha grows;
    - "scaling": ``scale`` * sigmoid(v), never 0;
    - "fusion": S(scale * sigmoid(alpha v)), both.

    alpha goes from the first to the last of ``sharpness`` in ``anneal`` optimiser steps of a run,
    in a straight line; it is saved with the weights (the buffer ``alpha``) and stands still at
    evaluation.

    In training binary and fusion add a penalty to the losses. The share of pruned units of a layer
    and row is r = 1 - mean(pi), below 0 where pi is above 1. Where r lies outside ``sparsity``,
    the row pays ``penalty`` (r - middle)^2 for the layer, over the number of layers. It is part
    of the row's loss of the layer's task, or in equal parts of all tasks where the layer is shared,
    as far as the row has their labels: so it is a mean over rows as the losses are, with their
    weights, in any batch. The paper's penalty grows with the steps; here it is constant.

    ``forward`` then gives it as the tasks' extra losses (``MultiTaskModel.with_extra``), which a
    link or another model around AdaSparse adds to its own losses. Where the network has experts,
    they are not pruned. Other parameters as in ``Adapting``. The vector of an unknown scenario is
    0: its pruners read the row.

    Raises ``ValueError`` for an unknown form, numbers out of range, and where no layer is hidden.
    """

    alpha: Tensor

    def __init__(
        self,
        schema: Schema,
        network: Network = SharedBottom,
        *,
        form: str = "fusion",
        threshold: float = 0.25,
        scale: float = 2.0,
        sharpness: tuple[float, float] = (1.0, 5.0),
        anneal: int = 1000,
        sparsity: tuple[float, float] = (0.15, 0.25),
        penalty: float = 0.01,
        vector: int = 8,
        **sizes: Any,
    ) -> None:
        check(form, threshold, scale, sharpness, anneal, sparsity, penalty, vector)
        super().__init__(schema, network, **sizes)
        self.form, self.anneal, self.penalty = form, anneal, penalty
        self.sharpness, self.sparsity = tuple(sharpness), tuple(sparsity)
        self.vectors = ScenarioVectors(self.here, vector)
        self.register_buffer("alpha", torch.tensor(float(sharpness[0])))
        self.pruning = Pruning(form, threshold, scale)
        hidden = [
            (mlp, number)
            for mlp, number in linear_layers(self.network) if number + 1 < len(mlp)
        ]  # fmt: skip
        if not hidden:
            raise ValueError(
                "AdaSparse prunes hidden layers; give hidden or tower at least one size."
            )
        self.layers = len(hidden)
        for mlp, number in hidden:
            pruner = Pruner(mlp[number].out_features, vector, self.pruning)
            mlp[number + 1] = nn.Sequential(mlp[number + 1], pruner)
        for name in schema.task_names:
            for outer in self.network.task_modules(name):
                for module in outer.modules():
                    if isinstance(module, Pruner):
                        module.task = name

    @contextmanager
    def block(self, batch: Batch) -> Iterator[None]:
        """A block in which the pruners know scenarios and sharpness."""
        pruning = self.pruning
        if self.training:
            first, last = self.sharpness
            done = min(self.step / self.anneal, 1.0)
            self.alpha = torch.full_like(self.alpha, first + (last - first) * done)
        with self.here.rows_of(batch.scenario):
            pruning.vectors, pruning.sharpness, pruning.shares = self.vectors(), self.alpha, []
            try:
                yield
            finally:
                pruning.vectors, pruning.sharpness, pruning.shares = None, None, []

    def penalties(self, batch: Batch) -> Tensor:
        """What each row pays in the losses of each task by now, (batch, task)."""
        low, high = self.sparsity
        nothing = self.vectors.table.new_zeros(batch.rows)
        total = dict.fromkeys(self.schema.task_names, nothing)
        for task, share in self.pruning.shares:
            outside = (share < low) | (share > high)
            paid = torch.where(outside, (share - (low + high) / 2) ** 2, 0.0) / self.layers
            payers = list(total) if task is None else [task]
            for name in payers:
                total[name] = total[name] + paid / len(payers)
        return self.penalty * torch.stack(list(total.values()), dim=1)

    @property
    def pays(self) -> bool:
        """Whether the losses have a penalty at the moment."""
        return self.training and self.form != "scaling" and self.penalty > 0

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        with self.block(batch):
            inside = self.network.represent(x, batch)
            return (*inside, self.penalties(batch)) if self.pays else inside

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        if not self.pays:
            with self.block(batch):
                return self.network.decode(shared, batch)
        *inside, before = shared
        with self.block(batch):
            logits = self.network.decode(tuple(inside), batch)
            paid = before + self.penalties(batch)
        for task, own in zip(self.schema.task_names, paid.unbind(1), strict=True):
            name = extra_name(task)
            logits[name] = logits[name] + own if name in logits else own
        return logits


def check(
    form: str,
    threshold: float,
    scale: float,
    sharpness: tuple[float, float],
    anneal: int,
    sparsity: tuple[float, float],
    penalty: float,
    vector: int,
) -> None:
    """Refuse options of ``AdaSparse`` that mean nothing."""
    if form not in FORMS:
        raise ValueError(f"form is one of {', '.join(FORMS)}, not {form!r}.")
    if not scale > 0:
        raise ValueError(f"scale must be above 0, not {scale!r}.")
    top = scale if form == "fusion" else 1.0
    if not 0 <= threshold < top / 2:
        raise ValueError(
            f"threshold must be 0 or more and below {top / 2:g}, where all weights start, not "
            f"{threshold!r}."
        )
    if len(sharpness) != 2 or not 0 < sharpness[0] <= sharpness[1]:
        raise ValueError(f"sharpness is (first, last), above 0 and rising, not {sharpness!r}.")
    if len(sparsity) != 2 or not 0 <= sparsity[0] <= sparsity[1] < 1:
        raise ValueError(f"sparsity is (low, high), from 0 to below 1, not {sparsity!r}.")
    if not penalty >= 0:
        raise ValueError(f"penalty must be 0 or more, not {penalty!r}.")
    for name, value in (("anneal", anneal), ("vector", vector)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, not {value!r}.")
