"""AdaptDHM: scenarios discovered, not given: a row meets the weights of its cluster."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mtlkit.data.batch import Batch
from mtlkit.layers.adapted import Here, replace_layers
from mtlkit.layers.embedding import FieldEmbedding
from mtlkit.models.adapt.base import Adapting, input_width
from mtlkit.models.adapt.star import StarLinear
from mtlkit.models.around import Network
from mtlkit.models.base import MultiTaskModel
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class ClusterLinear(StarLinear):
    """x (W_c * W) + b_c + b of cluster c: a ``StarLinear``, whatever scenarios there are."""

    def add_scenario(self, scenario: str) -> None:
        """Clusters stay as they are."""


class AdaptDHM(Adapting):
    """Adaptive distribution hierarchical model (Li et al. 2022, arXiv 2211.12105).

    No scenario id is read. A row falls into the cluster whose centroid is most similar to its
    inputs x (the cosine), and every linear layer of bottom and towers has the weight W_c * W and
    the bias b_c + b: a shared one times and plus the cluster's own, which start at 1 and 0. In
    training the centroid then moves, once the row's outputs are computed: it becomes ``momentum``
    times itself plus 1 - ``momentum`` times the mean of the x / |x| of its rows in the batch. A
    cluster without rows stays where it is, as all do at evaluation. Centroids take no gradient, and
    none goes through the choice of the cluster.

    They start at random directions, which may be far from all rows. So the cluster that has been
    without rows the longest, for more than ``patience`` training batches, moves to the row of the
    batch that is least similar to the centroid it fell to, as k-means often relocates an empty
    cluster. One moves a batch; the layers of a cluster stay as they are. ``patience=None`` leaves
    empty clusters where they are. This rule is ours.

    Since centroids move with every batch, other batches give another run: ``batch_statistics`` is
    set, though a row's outputs depend on no other row of its own batch. Cosine and momentum on
    directions are our choice where the paper leaves room. Other parameters as in ``Adapting``;
    ``inputs`` is ``FieldEmbedding`` without the scenario's field. Rows of an unknown scenario are
    rows like all others. Where the network has experts, they stay shared.

    Raises ``ValueError`` for fewer clusters than 1, a momentum outside 0 to 1 and a patience below
    1.
    """

    batch_statistics = True
    centroids: Tensor
    idle: Tensor  # training batches since a cluster had rows, (cluster, 1)

    def __init__(
        self,
        schema: Schema,
        network: Network = SharedBottom,
        *,
        clusters: int = 3,
        momentum: float = 0.99,
        patience: int | None = 100,
        **sizes: Any,
    ) -> None:
        if clusters < 1:
            raise ValueError(f"clusters must be 1 or more, not {clusters}.")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be from 0 to 1, not {momentum!r}.")
        if patience is not None and patience < 1:
            raise ValueError(f"patience must be 1 or more, or None, not {patience}.")
        sizes = {"inputs": partial(FieldEmbedding, scenario_field=False), **sizes}
        super().__init__(schema, network, **sizes)
        self.here = Here(clusters + 1)  # the last is that of no row
        self.momentum, self.patience = momentum, patience
        replace_layers(self.network, partial(ClusterLinear, here=self.here))
        width = input_width(self.network)
        self.register_buffer("centroids", F.normalize(torch.randn(clusters, width)))
        self.register_buffer("idle", torch.zeros(clusters, 1, dtype=torch.int64))

    def cluster(self, x: Tensor) -> Tensor:
        """The cluster of every row from its inputs (batch, width): int64 (batch,)."""
        similar = F.normalize(x.detach()) @ F.normalize(self.centroids).T  # (batch, cluster)
        return similar.argmax(1)

    @torch.no_grad()
    def move(self, x: Tensor, cluster: Tensor) -> None:
        """Move the centroids towards the rows that fell to them, and an empty one to a far row."""
        centroids = self.centroids
        one = torch.ones_like(x[:, :1], dtype=centroids.dtype)
        rows = torch.zeros_like(centroids[:, :1]).index_add(0, cluster, one)
        directions = F.normalize(x).to(centroids.dtype)
        sums = torch.zeros_like(centroids).index_add(0, cluster, directions)
        moved = self.momentum * centroids + (1 - self.momentum) * sums / rows.clamp(min=1)
        moved = torch.where(rows > 0, moved, centroids)
        self.idle = torch.where(rows > 0, 0, self.idle + 1)
        if self.patience is not None and len(x):
            similar = (directions * F.normalize(centroids).index_select(0, cluster)).sum(1)
            far = directions.index_select(0, similar.argmin().unsqueeze(0))  # (1, width)
            longest = torch.arange(len(centroids), device=x.device) == self.idle.argmax()
            due = longest.unsqueeze(1) & (self.idle > self.patience)  # (cluster, 1)
            moved, self.idle = torch.where(due, far, moved), torch.where(due, 0, self.idle)
        self.centroids = moved

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        with self.here.rows_of(self.cluster(x)):
            return *self.network.represent(x, batch), x

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        *inside, x = shared
        cluster = self.cluster(x)
        with self.here.rows_of(cluster):
            logits = self.network.decode(tuple(inside), batch)
        if self.training:
            self.move(x, cluster)
        return logits

    def add_scenario(self, scenario: str) -> None:
        MultiTaskModel.add_scenario(self, scenario)
