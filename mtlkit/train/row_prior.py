"""A prior on embedding rows: ids with few rows each are pulled towards 0, others hardly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from mtlkit.layers.repeats import Repeats
from mtlkit.layers.table import EmbeddingTable


class RowPrior:
    """Gaussian prior N(0, deviation^2) on every row e_i of the embedding tables.

    What is minimised over an epoch of N rows is

        sum over rows of their loss + sum over ids of |e_i|^2 / (2 deviation^2),

    the posterior mode of a network whose rows are random effects (ridge regression with one common
    strength). The second sum is paid in instalments: each time that a row of training reads id i,
    it pulls by e_i / (deviation^2 n_i), n_i the number of reads in an epoch. So a batch of B rows
    that reads id i k_i times adds (k_i / B) e_i / (deviation^2 n_i) to its gradient: an id seen ten
    times a month is held back, one seen in every batch is not, and no id is touched without being
    read. A network that learns ids of users by heart within an epoch is what it is for.

    Raises ``ValueError`` for a deviation that is not above 0.
    """

    def __init__(self, embeddings: Iterable[EmbeddingTable], train: Any, deviation: float) -> None:
        if not deviation > 0:
            raise ValueError(f"row_prior must be above 0, not {deviation!r}; None: no prior.")
        self.embeddings = list(embeddings)
        precision = 1 / deviation**2
        self.strength = [precision / n.clamp(min=1) for n in reads(self.embeddings, train)]
        for embedding in self.embeddings:
            embedding.noted = []

    def forget(self) -> None:
        """Forget what the last step read."""
        for embedding in self.embeddings:
            embedding.noted = []

    @torch.no_grad()
    def pull(self, rows: int) -> None:
        """Add the pull to the tables' gradients after a backward pass over ``rows`` rows."""
        for embedding, strength in zip(self.embeddings, self.strength, strict=True):
            table = embedding.table
            if table.grad is None or not embedding.noted:
                continue
            repeats = Repeats(torch.cat(embedding.noted))
            touched, counts = repeats.touched, repeats.counts()  # (k,), (k,)
            pull = (counts * strength[touched] / rows).unsqueeze(1) * table[touched]
            if table.grad.is_sparse:
                table.grad = table.grad + torch.sparse_coo_tensor(
                    touched.unsqueeze(0),
                    pull,
                    table.shape,
                    is_coalesced=True,
                    check_invariants=False,
                )
            else:
                table.grad.index_add_(0, touched, pull)

    def close(self) -> None:
        """Give the tables back as they came."""
        for embedding in self.embeddings:
            embedding.noted = None


def reads(embeddings: list[EmbeddingTable], train: Any, batch_size: int = 16_384) -> list[Tensor]:
    """How often an epoch of ``train`` reads each row of each table: one (id,) an embedding."""
    counts = [torch.zeros(len(e.table), device=e.table.device) for e in embeddings]
    for batch in train.batches(batch_size):
        for count, embedding in zip(counts, embeddings, strict=True):
            ids = embedding.ids(batch.to(count.device))
            count += torch.bincount(ids, minlength=len(count))
    return counts
