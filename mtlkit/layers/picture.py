"""What a product looks like: a small convolutional network over 28 x 28 pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIDE = 28


class PictureEncoder(nn.Module):
    """A picture as a vector: W relu(conv3x3(relu(conv4x4(picture)))) + b, (n, dim).

    The first convolution reads 4 x 4 pixels at a time, side by side (7 x 7 places), the second
    3 x 3 of these places, every other one (4 x 4). Pictures are floats, (n, 784), (n, 28, 28) or
    (n, 1, 28, 28), 0 to 1 by custom. No statistics of the batch: a row depends on no other row.

    A picture whose pixels are all 0 is a missing one. Its vector is ``missing``, (dim,), which is
    learned and starts at 0; the layers learn nothing from it.

    Raises ``ValueError`` for pictures of another size, and for whole-number pixels.
    """

    def __init__(self, dim: int = 32, *, channels: tuple[int, int] = (12, 16)) -> None:
        super().__init__()
        first, second = channels
        self.width = dim
        self.patches = nn.Conv2d(1, first, 4, stride=4)
        self.places = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.last = nn.Linear(second * 16, dim)
        self.missing = nn.Parameter(torch.zeros(dim))
        for layer in (self.patches, self.places):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
        nn.init.xavier_uniform_(self.last.weight)
        for bias in (self.patches.bias, self.places.bias, self.last.bias):
            nn.init.zeros_(bias)  # type: ignore[arg-type]
        # quicker on a processor, the same numbers
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pictures: Tensor) -> Tensor:
        if tuple(pictures.shape[1:]) not in ((SIDE * SIDE,), (SIDE, SIDE), (1, SIDE, SIDE)):
            raise ValueError(
                f"pictures must be (n, 784), (n, 28, 28) or (n, 1, 28, 28), not "
                f"{tuple(pictures.shape)}."
            )
        if not pictures.is_floating_point():
            raise ValueError(
                f"pictures must be floats (0 to 1), not {pictures.dtype}: divide by 255 first."
            )
        pixels = pictures.reshape(pictures.shape[0], 1, SIDE, SIDE)
        h = self.patches(pixels).relu()  # (n, channel, 7, 7)
        h = self.places(h).relu()  # (n, channel, 4, 4)
        encoded = self.last(h.flatten(1))  # (n, dim)
        present = (pixels != 0).flatten(1).any(1, keepdim=True)  # (n, 1)
        return torch.where(present, encoded, self.missing.to(encoded.dtype))
