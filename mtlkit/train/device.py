"""Where a model is trained, and how precise its products are."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F

from mtlkit.models.base import MultiTaskModel

PRECISIONS = ("auto", "fp32", "bf16")


def choose_device(device: str = "auto") -> torch.device:
    """Turn "auto" into CUDA, else MPS, else CPU; check that another choice is there.

    Raises ``ValueError`` for a device that this machine or this build of PyTorch lacks.
    """
    has_mps = torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    chosen = torch.device(device)
    missing = (chosen.type == "cuda" and not torch.cuda.is_available()) or (
        chosen.type == "mps" and not has_mps
    )
    if missing:
        raise ValueError(f'device {device!r} is not available here; pass device="cpu" or "auto".')
    return chosen


_measured: list[bool] = []  # what a CPU without tiles answered, once a process


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether training in bfloat16 is faster on the device than in float32.

    True on GPUs from Ampere on and CPUs with tiles (AMX). A CPU with products of bfloat16 but
    without tiles (AVX512-BF16) is asked once a process: it must train a layer at least 1.2 times as
    fast. Any other CPU only emulates them, and loses.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type != "cpu":
        return False
    if _cpu_has("_is_amx_tile_supported"):
        return True
    if not _cpu_has("_is_avx512_bf16_supported"):
        return False
    if not _measured:
        remember_fast_bfloat16(bfloat16_gain() >= 1.2)
    return _measured[0]


def remember_fast_bfloat16(fast: bool) -> None:
    """Take another process's answer for this CPU's: a second measurement might differ."""
    _measured[:] = [fast]


def _cpu_has(query: str) -> bool:
    """Whether torch knows the question (an underscored name of ``torch.cpu``) and says yes."""
    ask = getattr(torch.cpu, query, None)
    return bool(ask and ask())


def bfloat16_gain(repeats: int = 7) -> float:
    """How many times as fast a layer trains in bfloat16 on this CPU, conversions included.

    2048 rows from 256 to 256 columns, forward and backward, the faster of interleaved repeats after
    a first one that compiles; some 20 milliseconds.
    """
    generator = torch.Generator().manual_seed(0)  # the caller's random numbers stay
    x, weight = (torch.randn(n, 256, generator=generator).requires_grad_() for n in (2048, 256))
    seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for _ in range(repeats + 1):
        for precision, taken in seconds.items():
            start = time.perf_counter()
            with torch.enable_grad(), autocast(precision, torch.device("cpu"))():
                y = F.linear(x, weight)
            torch.autograd.grad(y, (x, weight), torch.ones_like(y))
            taken.append(time.perf_counter() - start)
    fastest = {precision: min(taken[1:]) for precision, taken in seconds.items()}
    return fastest["fp32"] / fastest["bf16"]


def choose_precision(
    precision: str, device: torch.device, model: MultiTaskModel, batch_size: int
) -> str:
    """Turn "auto" into "bf16" where it pays, else "fp32".

    bf16 means autocast: products of matrices in bfloat16, weights, losses and updates in float32.
    It pays on a device that is fast at it, and where the products outweigh the conversions: from
    about 64 million multiplications for one batch on (parameters outside the tables, of one
    scenario where they are of several, x rows). Below that a step of bf16 takes up to 1.5 times as
    long. Raises ``ValueError`` for an unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}.")
    if precision != "auto":
        return precision
    count = model.parameter_count()
    of_a_row = count["shared"] + count["tasks"]
    of_a_row += count["scenarios"] // max(model.schema.num_scenarios, 1)
    large = of_a_row * batch_size >= 64e6
    return "bf16" if large and has_fast_bfloat16(device) else "fp32"


def autocast(precision: str, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """A function that opens the block in which the forward pass runs."""
    if precision == "fp32":
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)


def place(table: Any, device: torch.device) -> Any:
    """Move a whole table to the device if it fits with room to spare, else return it as it is.

    On the device every batch is one ``index_select``, with no copy across the bus. A sharded table
    stays where it is; its batches are moved one by one.
    """
    if not hasattr(table, "to") or table.device.type == device.type:
        return table
    if device.type == "cuda" and table.nbytes > torch.cuda.mem_get_info(device)[0] // 2:
        return table
    return table.to(device)
