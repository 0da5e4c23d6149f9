"""What is known of an id, looked up and encoded: a product's picture, words or attributes."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


class Lookup(nn.Module):
    """Encode what is known of an id: ids (n,) -> encoder(features[ids]), (n, dim).

    ``features`` (size, ...) holds one row an id (a picture of 784 pixels a product, say), so that
    impressions need to carry the id alone; they move with the model and are saved with it.
    ``encoder`` is any module, (n, ...) -> (n, dim). Raises ``ValueError`` for features that are no
    floating-point tensor.
    """

    features: Tensor
    constant_buffers: ClassVar[tuple[str, ...]] = ("features",)  # data: a resume compares them

    def __init__(self, features: Tensor, encoder: nn.Module) -> None:
        super().__init__()
        if not features.is_floating_point() or features.dim() < 2:
            raise ValueError(
                "features must be floats of shape (size, ...), one row an id, not "
                f"{features.dtype} {tuple(features.shape)}."
            )
        self.register_buffer("features", features)
        self.encoder = encoder

    def forward(self, ids: Tensor) -> Tensor:
        return self.encoder(torch.index_select(self.features, 0, ids))
