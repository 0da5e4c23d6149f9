"""What a network of experts says of itself: whose its experts are, and which gates weigh them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

SHARED = "shared"  # the owner of what serves more than one task


@dataclass(frozen=True)
class ExpertReader:
    """A gate and the numbers of the experts that it weighs, in the order of its weights.

    ``name``: the task that reads the mixture, "all tasks", "shared", or "scenario" for a gate over
    the experts that each scenario has of its own. ``gate``: a module that
    ``forward`` calls once a batch and that returns weights (batch, expert), or a tensor (expert,)
    where the weights are the same for every row.
    """

    name: str
    gate: nn.Module | Tensor
    experts: tuple[int, ...]


@dataclass(frozen=True)
class ExpertLevel:
    """A level of experts: ``owners``, one an expert, and its ``readers``.

    An owner is a task, "shared", or "scenario" for an expert of which each scenario has its own.

    Experts are numbered from 0 in the order of ``owners``, which is that of ``expert_outputs``.
    Raises ``ValueError`` for a level without experts or readers, two readers of the same name, and
    a reader of no expert, of one twice, or of one that is not there, and an expert without reader.
    """

    owners: tuple[str, ...]
    readers: tuple[ExpertReader, ...]

    def __post_init__(self) -> None:
        names = [reader.name for reader in self.readers]
        if not self.owners or not names:
            raise ValueError("A level needs at least one expert and one reader.")
        for reader in self.readers:
            if names.count(reader.name) > 1:
                raise ValueError(
                    f"Two readers of a level are called {reader.name!r}: each needs its own name."
                )
            known = set(reader.experts) <= set(range(len(self.owners)))
            if not reader.experts or len(set(reader.experts)) < len(reader.experts) or not known:
                raise ValueError(
                    f"ExpertReader {reader.name!r} must weigh different experts of 0 to "
                    f"{len(self.owners) - 1}, not {reader.experts}."
                )
        unread = set(range(len(self.owners))) - {n for r in self.readers for n in r.experts}
        if unread:
            raise ValueError(f"No reader weighs expert {min(unread)}: leave it out.")


def shared_level(readers: Iterable[tuple[str, nn.Module]], experts: int) -> ExpertLevel:
    """Experts that all belong to everybody, and that each of the (name, gate) weighs."""
    every = tuple(range(experts))
    return ExpertLevel(
        (SHARED,) * experts, tuple(ExpertReader(name, gate, every) for name, gate in readers)
    )
