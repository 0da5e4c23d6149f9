"""Turn, scale and shift pictures: more training pictures from the ones at hand."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def _as_pictures(pixels: Tensor) -> Tensor:
    """Pixels (n, side * side) or (n, height, width) as (n, 1, height, width)."""
    if pixels.dim() == 2:
        side = math.isqrt(pixels.shape[1])
        if side * side != pixels.shape[1]:
            raise ValueError(
                f"rows of {pixels.shape[1]} pixels are no square picture; pass (n, height, width)"
            )
        return pixels.reshape(len(pixels), 1, side, side)
    if pixels.dim() == 3:
        return pixels.unsqueeze(1)
    raise ValueError(
        f"pixels must be (n, side * side) or (n, height, width), not {tuple(pixels.shape)}"
    )


def affine(pixels: Tensor, degrees: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Turn, scale and shift each picture about its centre, bilinear, with 0 outside.

    The point p of a new picture shows the old point q = R(-degrees) (p - shift) / scale.

    pixels float (n, side * side) or (n, height, width); degrees (n,), counter-clockwise; scale
    (n,), above 1 enlarges; shift (n, 2), pixels right and down. Returns the shape of `pixels`.
    Raises ValueError for other shapes and for whole-number pixels.
    """
    if not pixels.is_floating_point():
        raise ValueError(f"pixels must be floats (0..1), not {pixels.dtype}: divide by 255 first")
    pictures = _as_pictures(pixels)
    height, width = pictures.shape[-2:]
    angle = degrees * (math.pi / 180)
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    right, down = shift[:, 0], shift[:, 1]
    # rows of the inverse map in pixels, then in affine_grid's units of half a picture
    across = torch.stack(
        [cosine, -sine * height / width, (-cosine * right + sine * down) * 2 / width], dim=1
    )
    along = torch.stack(
        [sine * width / height, cosine, (-sine * right - cosine * down) * 2 / height], dim=1
    )
    theta = torch.stack([across, along], dim=1).to(pictures)  # (n, 2, 3)
    grid = functional.affine_grid(theta, list(pictures.shape), align_corners=False)
    moved = functional.grid_sample(pictures, grid, padding_mode="zeros", align_corners=False)
    return moved.reshape(pixels.shape)


def augment(
    pixels: Tensor,
    seed: int,
    rotate_degrees: float = 10.0,
    scale: float = 0.1,
    shift: float = 1.5,
) -> Tensor:
    """Give each picture a random turn, size and place; the labels stay true.

    Turn uniform in +-rotate_degrees, factor log-uniform in 1 / (1 + scale) .. 1 + scale, shift
    uniform in +-shift pixels each way. pixels float (n, side * side) or (n, height, width); values
    stay inside their range (and 0). A pure function: the same seed gives the same pictures, and
    the input is not changed; with all amounts 0 the result equals the input.
    Raises ValueError for an amount that is negative or not finite.
    """
    for name, amount in (("rotate_degrees", rotate_degrees), ("scale", scale), ("shift", shift)):
        if not 0 <= amount < math.inf:
            raise ValueError(f"{name} is {amount}; give the largest amount, a number of 0 or more")
    if rotate_degrees == scale == shift == 0:
        return pixels.clone()
    generator = torch.Generator().manual_seed(int(seed))
    draws = 2 * torch.rand(len(pixels), 4, generator=generator, dtype=torch.float64) - 1
    draws = draws.to(device=pixels.device, dtype=pixels.dtype)  # (n, 4)
    factor = torch.exp(draws[:, 1] * math.log1p(scale))
    return affine(pixels, draws[:, 0] * rotate_degrees, factor, draws[:, 2:] * shift)
