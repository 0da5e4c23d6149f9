"""Random numbers of a run: seeded, noted, restored, and drawn a second time alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mtlkit.balance.base import Balancer
from mtlkit.data.table import Batch
from mtlkit.models.base import MultiTaskModel


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's random numbers inside the block and restore the old state after it.

    ``with seeded(0): model = MMoE(schema)`` gives the same initial weights every time.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def random_states() -> dict[str, Any]:
    """The states of torch's random generators, on the CPU and on every CUDA device."""
    states: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def set_random_states(states: Mapping[str, Any]) -> None:
    """Restore ``random_states``."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])


@dataclass
class ForwardState:
    """What a forward pass in training changes beside the output: random numbers and buffers."""

    random: dict[str, Any]
    buffers: list[Tensor]


def forward_state(model: MultiTaskModel) -> ForwardState:
    """Note the state before a forward pass, so that ``repeated`` can run it again."""
    return ForwardState(random_states(), [b.clone() for b in model.buffers()])


@contextmanager
def repeated(model: MultiTaskModel, before: ForwardState) -> Iterator[None]:
    """A block in which a forward pass uses the dropout masks of the pass after ``before``, and
    after which random numbers and buffers (running statistics) are as if it had not happened."""
    with undone(model):
        set_random_states(before.random)
        yield


@contextmanager
def undone(model: MultiTaskModel) -> Iterator[None]:
    """A block after which random numbers and buffers are as before it."""
    now = forward_state(model)
    try:
        yield
    finally:
        set_random_states(now.random)
        with torch.no_grad():
            for buffer, value in zip(model.buffers(), now.buffers, strict=True):
                buffer.copy_(value)


class SecondLook:
    """The same rows through the moved model, for the rules that ask for it (FAMO).

    ``before_step`` notes random numbers and buffers, ``after_step`` runs the batch again with the
    same dropout masks and hands the losses to the balancer. Both do nothing for any other rule.
    ``losses`` computes them of what a step is made of; None: of one batch, by ``model``.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        balancer: Balancer,
        forward_block: Callable[[], AbstractContextManager[Any]],
        losses: Callable[[Any], Tensor] | None = None,
    ) -> None:
        self.model, self.balancer, self.forward_block = model, balancer, forward_block
        self.losses = self._of_batch if losses is None else losses
        self.before: ForwardState | None = None

    def before_step(self) -> None:
        """Note what the forward pass is about to change."""
        if self.balancer.needs_second_pass:
            self.before = forward_state(self.model)

    def after_step(self, batch: Any) -> None:
        """Show the balancer the losses of the same rows after the step."""
        if self.before is None:
            return
        with torch.no_grad(), repeated(self.model, self.before):
            again = self.losses(batch)
        self.balancer.after_step(again)
        self.before = None

    def _of_batch(self, batch: Batch) -> Tensor:
        with self.forward_block():
            logits = self.model(batch)
        return self.model.losses(logits, batch)
