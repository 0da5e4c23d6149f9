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
    """Adaptive distribution hierarchical model (Li et al. 2022, arXiv 2211.12105, section 3).

    No scenario id is read. A row falls into the cluster whose centroid is most similar to its
    inputs x (the cosine), and every linear layer of bottom and towers has the weight W_c * W and
    the bias b_c + b: a shared one times and plus the cluster's own, which start at 1 and 0. In
    training the centroid then moves, once the row's outputs are computed: it becomes ``momentum``
    times itself plus 1 - ``momentum`` times the mean of the x / |x| of its rows in the batch. A
    cluster without rows stays where it is, as all do at evaluation. Centroids take no gradient, and
    none goes through the choice of the cluster. They start at random directions, so that clusters
    may be left without rows.

    Since centroids move with every batch, other batches give another run: ``batch_statistics`` is
    set, though a row's outputs depend on no other row of its own batch. Cosine and momentum on
    directions are our choice where the paper leaves room. Other parameters as in ``Adapting``;
    ``inputs`` is ``FieldEmbedding`` without the scenario's field. Rows of an unknown scenario are
    rows like all others. Where the network has experts, they stay shared.

    Raises ``ValueError`` for fewer clusters than 1 and a momentum outside 0 to 1.
    """

    batch_statistics = True
    centroids: Tensor

    def __init__(
        self,
        schema: Schema,
        network: Network = SharedBottom,
        *,
        clusters: int = 3,
        momentum: float = 0.99,
        **sizes: Any,
    ) -> None:
        if clusters < 1:
            raise ValueError(f"clusters must be 1 or more, not {clusters}.")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be from 0 to 1, not {momentum!r}.")
        sizes = {"inputs": partial(FieldEmbedding, scenario_field=False), **sizes}
        super().__init__(schema, network, **sizes)
        self.here = Here(clusters + 1)  # the last is that of no row
        self.momentum = momentum
        replace_layers(self.network, partial(ClusterLinear, here=self.here))
        width = input_width(self.network)
        self.register_buffer("centroids", F.normalize(torch.randn(clusters, width)))

    def cluster(self, x: Tensor) -> Tensor:
        """The cluster of every row from its inputs (batch, width): int64 (batch,)."""
        similar = F.normalize(x.detach()) @ F.normalize(self.centroids).T  # (batch, cluster)
        return similar.argmax(1)

    @torch.no_grad()
    def move(self, x: Tensor, cluster: Tensor) -> None:
        """Move the centroids towards the rows that fell to them."""
        centroids = self.centroids
        one = torch.ones_like(x[:, :1], dtype=centroids.dtype)
        rows = torch.zeros_like(centroids[:, :1]).index_add(0, cluster, one)
        directions = F.normalize(x).to(centroids.dtype)
        sums = torch.zeros_like(centroids).index_add(0, cluster, directions)
        moved = self.momentum * centroids + (1 - self.momentum) * sums / rows.clamp(min=1)
        self.centroids = torch.where(rows > 0, moved, centroids)

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
