"""STAR: every layer is a shared one times a scenario's own, in a star around the shared centre."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.adapted import Here, OfScenarios, ScenarioVectors, replace_layers
from mtlkit.layers.towers import Towers
from mtlkit.models.adapt.base import Adapting, input_width
from mtlkit.models.around import Network
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class StarLinear(OfScenarios):
    """x (W_s * W) + b_s + b: a shared layer, times and plus each scenario's own.

    W_s starts at 1 and b_s at 0, which is also what the unknown scenario reads: the shared layer.
    """

    stacked = ("weight", "bias")

    def __init__(self, linear: nn.Linear, here: Here) -> None:
        super().__init__(here)
        self.shared = linear
        self.weight = nn.Parameter(torch.ones(here.sets - 1, *linear.weight.T.shape))
        self.bias = nn.Parameter(torch.zeros(here.sets - 1, linear.out_features))

    def unknown(self, name: str) -> Tensor:
        one = getattr(self, name)[:1]
        return torch.ones_like(one) if name == "weight" else torch.zeros_like(one)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.every("weight") * self.shared.weight.T  # (scenario + 1, in, out)
        return self.here.linear(x, weight, self.every("bias") + self.shared.bias)


class PartitionedNorm(OfScenarios):
    """Normalisation by each scenario's own statistics, (batch, width) -> (batch, width).

    (x - mean_s) / sqrt(variance_s + eps) * scale * scale_s + shift + shift_s. In training the
    statistics are those of the scenario's rows in the batch, or its running ones where it has one
    row only; in evaluation the running ones, so that a row depends on no other. A running statistic
    is the plain mean of the first batches with two such rows or more (1 / ``momentum`` of them),
    then moves by ``momentum``; variances are those of the rows, divided by their number. A scenario
    without, and in evaluation the unknown one, takes the mixture of the others.
    """

    stacked = ("own_scale", "own_shift")
    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, here: Here, width: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__(here)
        scenarios = here.sets - 1
        self.momentum, self.eps = momentum, eps
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.own_scale = nn.Parameter(torch.ones(scenarios, width))
        self.own_shift = nn.Parameter(torch.zeros(scenarios, width))
        self.register_buffer("mean", torch.zeros(scenarios, width))
        self.register_buffer("variance", torch.ones(scenarios, width))
        self.register_buffer("batches", torch.zeros(scenarios, 1))

    def unknown(self, name: str) -> Tensor:
        one = getattr(self, name)[:1]
        return torch.zeros_like(one) if name == "own_shift" else torch.ones_like(one)

    def add_scenario(self, scenario: str) -> None:
        super().add_scenario(scenario)
        self.mean, self.variance = self.running()
        self.batches = torch.cat([self.batches, torch.zeros_like(self.batches[:1])])

    def running(self) -> tuple[Tensor, Tensor]:
        """Running mean and variance, (scenario + 1, width) each, the unknown one's last."""
        met = (self.batches > 0).to(self.mean.dtype)  # (scenario, 1)
        number = met.sum().clamp(min=1)
        middle = (met * self.mean).sum(0, keepdim=True) / number
        apart = (self.mean - middle) ** 2  # no difference of squares: it may fall below 0
        spread = (met * (self.variance + apart)).sum(0, keepdim=True) / number
        spread = torch.where(met.any(), spread, 1)
        mean = torch.where(met > 0, self.mean, middle)
        variance = torch.where(met > 0, self.variance, spread)
        return torch.cat([mean, middle]), torch.cat([variance, spread])

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.running()  # (scenario + 1, width) each
        if self.training:
            precise = x.to(torch.promote_types(x.dtype, torch.float32))
            mean, variance = self.of_batch(precise, mean, variance)
        own_scale, own_shift = (self.every(name) for name in self.stacked)
        factor = (variance + self.eps).rsqrt() * (self.scale * own_scale)
        rest = self.shift + own_shift - mean * factor
        return x * self.here.of_rows(factor) + self.here.of_rows(rest)

    def of_batch(self, x: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """The statistics of the scenarios in the batch; the running ones take notice.

        (scenario + 1, width) each; where a scenario has one row only they stay the running ones.
        """
        rows = self.here.sums(torch.ones_like(x[:, :1]))  # (scenario + 1, 1)
        own_mean = self.here.sums(x) / rows.clamp(min=1)
        apart = x - self.here.of_rows(own_mean)
        own_variance = self.here.sums(apart * apart) / rows.clamp(min=1)
        several = rows > 1
        with torch.no_grad():
            rate = (1 / (self.batches + 1)).clamp(min=self.momentum) * several[:-1]
            self.mean += rate * (own_mean[:-1] - self.mean)
            self.variance += rate * (own_variance[:-1] - self.variance)
            self.batches += several[:-1]
        return torch.where(several, own_mean, mean), torch.where(several, own_variance, variance)


class STAR(Adapting):
    """Star topology (Sheng et al. 2021, CIKM): shared weights times a scenario's own.

    Every linear layer of bottom and towers has the weight W_s * W and the bias b_s + b
    (``StarLinear``); inputs go through a ``PartitionedNorm``; an auxiliary network of hidden layers
    ``auxiliary``, one for each task, reads the scenario's vector of 8 numbers and the normed
    inputs, and its logits are added. No layer of logits has a ReLU. Where the network has experts,
    they stay shared, gates choose among them, and the towers are stars. Other parameters as in
    ``Adapting``.

    ``partitioned_norm=False`` leaves the normalisation out. It gives every input variance 1, those
    of ids with few rows as well, and so undoes what a prior on embedding rows (``fit``) holds back.

    An unknown scenario meets the shared layers alone: W_s = 1, b_s = 0, a vector of 0.
    """

    def __init__(
        self,
        schema: Schema,
        network: Network = SharedBottom,
        *,
        auxiliary: Sequence[int] = (16,),
        partitioned_norm: bool = True,
        **sizes: Any,
    ) -> None:
        super().__init__(schema, network, **sizes)
        self.batch_statistics = self.network.batch_statistics or partitioned_norm
        width, vector = input_width(self.network), 8
        replace_layers(self.network, partial(StarLinear, here=self.here))
        self.norm = PartitionedNorm(self.here, width) if partitioned_norm else nn.Identity()
        self.vectors = ScenarioVectors(self.here, vector)
        self.auxiliary = Towers(schema, width + vector, auxiliary)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        with self.here.rows_of(batch.scenario):
            x = self.norm(x)
            return *self.network.represent(x, batch), x

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        *inside, x = shared
        with self.here.rows_of(batch.scenario):
            logits = self.network.decode(tuple(inside), batch)
            more = self.auxiliary(torch.cat([self.vectors(), x], dim=1))
        return logits | {name: logits[name] + own for name, own in more.items()}

    def task_modules(self, name: str) -> list[nn.Module]:
        return [*super().task_modules(name), self.auxiliary.of(name)]
