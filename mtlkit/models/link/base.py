"""What every link between tasks is: a sharing model inside, and an order of outcomes around it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.losses.chain import joint_labels, log_joint
from mtlkit.models.around import Around, Network, require_no_pages
from mtlkit.models.base import extra_name
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema, Task


class Link(Around):
    """Base of ESMM, ESM2, ESCM2, DBMTL and AITM: they wrap any model that shares.

    Parameters
    ----------
    schema
        Inputs and tasks; ``given`` says which outcome needs which.
    network
        A factory of the sharing model, called with a schema: ``MMoE``, ``partial(MMoE, experts=3,
        embedding_dim=8)`` or ``SingleTask`` (nothing shared). None: a shared embedding and one
        tower a task, as in the papers, ``SharedBottom`` with the sizes of ``default_sizes``.

    ``forward`` gives conditional logits, as ``given`` says, and may give helper outputs under
    further names that ``losses`` reads. ``predict`` gives conditional probabilities and
    ``predict_joint`` those of the task with all its ancestors. A subclass that makes outputs of its
    own asks ``inside`` for those of the network, and hands its extra losses on.
    """

    default_sizes: ClassVar[dict[str, Any]] = {"hidden": (), "tower": (128, 64, 32)}

    def __init__(self, schema: Schema, network: Network | None = None) -> None:
        super().__init__(schema)
        chosen = network if network is not None else partial(SharedBottom, **self.default_sizes)
        self.network = chosen(self.inner_schema())
        require_no_pages(self.network, self)
        self.batch_statistics = self.batch_statistics or self.network.batch_statistics

    def inner_schema(self) -> Schema:
        """The schema that the network is made for: the tasks and the helpers, one head each."""
        helpers = tuple(Task(name) for names in self.helpers().values() for name in names)
        return self.schema.with_tasks((*self.schema.tasks, *helpers))

    def helpers(self) -> dict[str, tuple[str, ...]]:
        """Names of further heads, one logit each, by the task that they serve."""
        return {}

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        logits, extra = self.inside(shared, batch)
        return logits | extra

    def inside(
        self, shared: tuple[Tensor, ...], batch: Batch
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The network's logits, and its extra losses (``with_extra``), those of a helper with the
        task that it serves."""
        logits, helpers = dict(self.network.decode(shared, batch)), self.helpers()
        extra = {}
        for task in self.schema.task_names:
            names = [extra_name(name) for name in (task, *helpers.get(task, ()))]
            paid = [logits.pop(name) for name in names if name in logits]
            if paid:
                extra[extra_name(task)] = torch.stack(paid).sum(0)  # (batch,)
        return logits, extra

    def task_modules(self, name: str) -> list[nn.Module]:
        """The network's modules for the task and its helpers, and what the link adds for it."""
        modules = self.network.task_modules(name)
        for helper in self.helpers().get(name, ()):
            modules = modules + self.network.task_modules(helper)
        return modules

    @torch.no_grad()
    def predict_joint(self, batch: Batch) -> dict[str, Tensor]:
        """P(the task and all its ancestors), (batch,), of every binary task; pCTCVR for purchase.

        In float32 at least; never above the parent's.
        """
        return {name: p.exp() for name, p in log_joint(self.schema, self(batch)).items()}


class EntireSpace(Link):
    """A link whose chained tasks are trained on joint events, known on all impressions."""

    def loss_rows(self, batch: Batch) -> Tensor:
        return joint_labels(self.schema, batch.labels, batch.observed)[1]


def vectors(schema: Schema, width: int) -> Schema:
    """A schema whose tasks have ``width`` outputs each, so that a network gives vectors."""
    if width < 2:
        raise ValueError(f"width must be 2 or more, not {width!r}.")
    return schema.with_tasks(Task(t.name, "multiclass", classes=width) for t in schema.tasks)


def helper(logits: Mapping[str, Tensor], name: str, model: nn.Module) -> Tensor:
    """A helper output; ``KeyError`` with what to do where it is missing."""
    try:
        return logits[name]
    except KeyError:
        raise KeyError(
            f"{type(model).__name__}.losses needs the output {name!r}: give it all that forward "
            "returns, not the tasks' logits alone."
        ) from None
