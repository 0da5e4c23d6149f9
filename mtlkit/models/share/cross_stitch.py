"""Cross-stitch: one network a task, and after each layer a learned exchange between them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.experts import ExpertBank
from mtlkit.layers.joined import field_inputs
from mtlkit.layers.levels import ExpertLevel, ExpertReader
from mtlkit.layers.towers import Towers
from mtlkit.models.base import Inputs, MultiTaskModel
from mtlkit.schema import Schema


class CrossStitch(MultiTaskModel):
    """Cross-stitch networks (Misra et al. 2016, CVPR, equation 1).

    Each task has a column of layers. After layer l the columns exchange: h_k <- sum over tasks j of
    A_l[k, j] h_j, with one number for each pair. A_l starts near the identity: ``keep`` on the
    diagonal, and (1 - keep) / (tasks - 1) beside it. With A = 1 the columns are networks apart that
    share the embeddings alone. Logits_k = tower_k(h_k).

    The paper gives A a learning rate of its own, 100 to 1,000 times that of the layers, under SGD;
    here it has that of all, and Adam scales it.

    Parameters as in ``SharedBottom``; ``hidden`` are the widths of each column. Raises
    ``ValueError`` for a ``keep`` that is not above 0 and at most 1.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_dim: int = 32,
        keep: float = 0.9,
        hidden: Sequence[int] = (128, 64),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
        inputs: Inputs = field_inputs,
    ) -> None:
        super().__init__(schema)
        if not 0 < keep <= 1:
            raise ValueError(f"keep must be above 0 and at most 1, not {keep}.")
        tasks, self.keep = schema.num_tasks, keep
        self.embedding = inputs(schema, embedding_dim)
        self.columns = ExpertBank(self.embedding.width, hidden, tasks, dropout=dropout)
        start = torch.full((tasks, tasks), (1 - keep) / max(tasks - 1, 1))
        start.fill_diagonal_(keep if tasks > 1 else 1.0)
        self.stitches = nn.ParameterList(nn.Parameter(start.clone()) for _ in hidden)
        self.towers = Towers(schema, self.columns.width, tower, dropout=dropout)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        h = x.expand(self.schema.num_tasks, *x.shape)  # (task, batch, width)
        for number, stitch in enumerate(self.stitches):
            h = self.columns.layer(number, h)  # (task, batch, out)
            h = torch.einsum("kj...,j...bo->k...bo", stitch, h)
        return (h,)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        return self.towers(dict(zip(self.schema.task_names, shared[0], strict=True)))

    def expert_levels(self) -> list[ExpertLevel]:
        """A level a layer: row k of A_l is how task k weighs the columns of all tasks."""
        names, every = self.schema.task_names, tuple(range(self.schema.num_tasks))
        levels = []
        for stitch in self.stitches:
            rows = zip(names, stitch, strict=True)
            levels.append(ExpertLevel(names, tuple(ExpertReader(n, row, every) for n, row in rows)))
        return levels

    def expert_outputs(self, batch: Batch) -> list[Tensor]:
        x = self.embed(batch)
        h = x.expand(self.schema.num_tasks, *x.shape)  # (task, batch, width)
        found = []
        layers = zip(self.columns.weights, self.columns.biases, self.stitches, strict=True)
        for weight, bias, stitch in layers:
            found.append(torch.baddbmm(bias, h, weight).relu())
            h = torch.einsum("kj,jbo->kbo", stitch, found[-1])
        return found
