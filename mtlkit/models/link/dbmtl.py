"""DBMTL: heads that read each other, in the order of a Bayesian network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.mlp import MLP
from mtlkit.layers.towers import head_logits
from mtlkit.models.around import Network
from mtlkit.models.link.base import Link, vectors
from mtlkit.schema import Schema, SchemaError


class DBMTL(Link):
    """Deep Bayesian multi-target learning (Wang Q. et al. 2019, arXiv 1902.09154).

    r_k = relation_k([relu(tower_k(x)) ; r_j for every parent j of k]),  logits_k = head_k(r_k)

    The parents make a Bayesian network of the tasks, P(click) P(purchase | click) ..., and the loss
    is its negative log-likelihood: every label's conditional loss over the rows where it is
    observed. So a child's loss reaches the towers of its parents, but no loss reaches a child's
    tower. (DB-MTL, ``mtlkit.balance.DualBalancing``, is another method of the same letters.)

    Parameters as in ``Link`` (the default network's towers are (128, 64) here), and

    relations
        {task: parents whose relation output it reads}; a task that is not named reads its
        ``given``. An empty list cuts it off.
    width, relation
        Number of values that a tower gives; widths of the relation layers, at least one.

    Raises ``SchemaError`` for unknown tasks and relations in a circle.
    """

    default_sizes = {"hidden": (), "tower": (128, 64)}

    def __init__(
        self,
        schema: Schema,
        network: Network | None = None,
        *,
        relations: Mapping[str, str | Sequence[str]] | None = None,
        width: int = 32,
        relation: Sequence[int] = (32,),
    ) -> None:
        if not relation:
            raise ValueError("relation needs at least one width, such as (32,).")
        self.width = width
        super().__init__(schema, network)
        self.parents = _parents(schema, relations or {})
        self._order = _in_order(schema, self.parents)
        self.relations = nn.ModuleList(
            MLP(width + relation[-1] * len(self.parents[task.name]), relation)
            for task in schema.tasks
        )
        self.heads = nn.ModuleList(nn.Linear(relation[-1], task.outputs) for task in schema.tasks)

    def inner_schema(self) -> Schema:
        return vectors(self.schema, self.width)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        own, extra = self.inside(shared, batch)
        related: dict[str, Tensor] = {}
        logits = {name: torch.empty(0) for name in self.schema.task_names}
        for name in self._order:
            i = self.schema.task_index(name)
            read = [own[name].relu(), *(related[parent] for parent in self.parents[name])]
            related[name] = self.relations[i](torch.cat(read, dim=1))  # (batch, relation[-1])
            logits[name] = head_logits(self.schema.tasks[i], self.heads[i](related[name]))
        return logits | extra

    def task_modules(self, name: str) -> list[nn.Module]:
        i = self.schema.task_index(name)
        return [*super().task_modules(name), self.relations[i], self.heads[i]]


def _parents(
    schema: Schema, relations: Mapping[str, str | Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    parents: dict[str, tuple[str, ...]] = {
        task.name: (task.given,) if task.given is not None else () for task in schema.tasks
    }
    for name, read in relations.items():
        schema.task_index(name)
        parents[name] = (read,) if isinstance(read, str) else tuple(read)
        for parent in parents[name]:
            schema.task_index(parent)
    return parents


def _in_order(schema: Schema, parents: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Every task after all that it reads; ``SchemaError`` for a circle."""
    ordered: list[str] = []
    while len(ordered) < schema.num_tasks:
        ready = [
            name
            for name in schema.task_names
            if name not in ordered and all(parent in ordered for parent in parents[name])
        ]
        if not ready:
            left = [name for name in schema.task_names if name not in ordered]
            raise SchemaError(
                f"The relations form a circle among {', '.join(left)}: a task cannot read one that "
                "reads it."
            )
        ordered += ready
    return tuple(ordered)
