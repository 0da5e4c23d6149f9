"""A step of every pooling at skewed lengths of histories, against a padded loop, and by events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.bench.scenarios import _medians, _one_thread
from mtlkit.layers import POOLINGS
from mtlkit.train.randomness import seeded

DIM = 16
FIELDS = ("user", "item")
LONGEST = 200


def skewed_lengths(rows: int) -> Tensor:
    """Histories of 0 to 9 events, and ``LONGEST`` in every fiftieth row: int64 (row,)."""
    lengths = torch.randint(0, 10, (rows,))
    lengths[::50] = LONGEST
    return lengths


def padded_one_by_one(pool: nn.Module, rows: Tensor, offsets: Tensor, fields: Tensor) -> Tensor:
    """What a pooling that knows single rows does: a loop, one row a call."""
    ends = offsets.tolist()
    parts = []
    for row in range(len(fields)):
        events = rows[ends[row] : ends[row + 1]]
        one = torch.tensor([0, len(events)])
        parts.append(pool(events, one, fields[row : row + 1]))
    return torch.cat(parts)


def padded_to_longest(pool: nn.Module, rows: Tensor, offsets: Tensor, fields: Tensor) -> Tensor:
    """All rows as long as the longest: zeros are read as events, so only its cost counts."""
    lengths = offsets.diff()
    longest = int(lengths.max())
    step = torch.arange(longest)
    places = (offsets[:-1, None] + step).clamp(max=len(rows) - 1)
    events = rows[places] * (step < lengths[:, None]).unsqueeze(2)
    every = torch.arange(len(fields) + 1) * longest
    return pool(events.flatten(0, 1), every, fields)


FORMS: dict[str, Callable[..., Tensor]] = {
    "ragged": lambda pool, *read: pool(*read),
    "padded to the longest": padded_to_longest,
    "one row at a time": padded_one_by_one,
}


def measure_sequences(
    rows: int = 250, steps: int = 3, numbers: Sequence[int] = (2_000, 4_000, 8_000, 16_000)
) -> dict[str, Any]:
    """Medians of a forward and backward pass, in one thread: by form, and by number of events.

    "skewed" compares the forms on the same rows, interleaved step by step; "events" gives the
    milliseconds of the ragged form on more and more rows of the same mix of lengths, and how many
    times as long as with the fewest. Milliseconds are of the processor.
    """
    result: dict[str, Any] = {"rows": rows, "longest": LONGEST, "width of an event": DIM}
    with _one_thread(), seeded(0):
        lengths = skewed_lengths(rows)
        result["events"] = int(lengths.sum())
        result["places when padded"] = rows * int(lengths.max())
        result["skewed"] = {name: _forms(name, lengths, steps) for name in POOLINGS}
        mean = result["events"] / rows
        curve: dict[str, Any] = {}
        for name in POOLINGS:
            pool, found = _made(name), {}
            runs = {f"{n:,} events": _stepper(pool, "ragged", skewed_lengths(int(n / mean)))
                    for n in numbers}  # fmt: skip
            medians = _medians(runs, steps)
            first = next(iter(medians.values()))
            for number, milliseconds in medians.items():
                found[number] = {"milliseconds": milliseconds, "times": milliseconds / first}
            curve[name] = found
        result["by events"] = curve
    return result


def _made(name: str) -> nn.Module:
    return POOLINGS[name](DIM, FIELDS, LONGEST)


def _forms(name: str, lengths: Tensor, steps: int) -> dict[str, Any]:
    pool = _made(name)
    medians = _medians({form: _stepper(pool, form, lengths) for form in FORMS}, steps)
    row: dict[str, Any] = {}
    for form, milliseconds in medians.items():
        row[form] = {"milliseconds": milliseconds}
        if form != "ragged":
            row[form]["times ragged"] = milliseconds / medians["ragged"]
    return row


def _stepper(pool: nn.Module, form: str, lengths: Tensor) -> Callable[[], None]:
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    rows = torch.randn(int(offsets[-1]), DIM, requires_grad=True)
    fields = torch.randn(len(lengths), len(FIELDS), DIM, requires_grad=True)

    def step() -> None:
        pool.zero_grad()
        FORMS[form](pool, rows, offsets, fields).square().mean().backward()

    return step
