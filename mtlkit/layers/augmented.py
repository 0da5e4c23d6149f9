"""Pictures turned, scaled and shifted anew at every step of training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtlkit.data.augment import augment


class Augmented(nn.Module):
    """In training each picture with a random turn, size and place; else each as it is.

    Amounts as in ``mtlkit.data.augment.augment``: degrees, share and pixels. The seed of a call is
    the next random number of torch's generator of the CPU, from which dropout draws, too: ``fit``
    seeds it, a resumed run goes on with it, and on every device the pictures are the same.

    pictures float (n, 784) or (n, height, width) -> the same shape. Raises ``ValueError`` for an
    amount that is negative or not finite.
    """

    def __init__(
        self, *, rotate_degrees: float = 10.0, scale: float = 0.1, shift: float = 1.5
    ) -> None:
        super().__init__()
        self.amounts = {"rotate_degrees": rotate_degrees, "scale": scale, "shift": shift}
        augment(torch.zeros(1, 4), 0, **self.amounts)  # refuses what it cannot do

    def forward(self, pictures: Tensor) -> Tensor:
        if not self.training:
            return pictures
        seed = int(torch.randint(2**62, (), device="cpu"))
        return augment(pictures, seed, **self.amounts)
