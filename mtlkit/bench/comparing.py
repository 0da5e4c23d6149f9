"""Seconds of one comparison in one process and over several, from a cold start of the workers."""

from __future__ import annotations

import statistics
import time
from typing import Any

import joblib
from joblib.externals.loky import get_reusable_executor

from mtlkit.comparison import Comparison, compare
from mtlkit.data.splits import Split, split_random
from mtlkit.models import MMoE, SharedBottom
from mtlkit.shop.market import Market

DIM = 16
OPTIONS = {  # all that the time of a step depends on, whatever fit's defaults are
    "epochs": 2, "batch_size": 2048, "learning_rate": 1e-3, "schedule": "constant",
    "row_prior": None, "device": "cpu", "precision": "fp32",
}  # fmt: skip


def measure_comparing(
    rows: int, rounds: int, jobs: int | None = None, seeds: int = 4
) -> dict[str, Any]:
    """Two models a seed on the small shop, two epochs each, with jobs=1 and over processes.

    "cold" starts the workers anew, "warm" finds those of the comparison before. Ratios are medians
    over rounds; "same numbers" is True when all runs agree to the last bit.
    """
    jobs = jobs or joblib.cpu_count(only_physical_cores=True)
    split = split_random(Market("small").impressions(rows), seed=0)
    seconds: dict[str, list[float]] = {"one process": [], "cold": [], "warm": []}
    same = []
    for _ in range(rounds):
        taken, one = _timed(split, 1, seeds)
        seconds["one process"].append(taken)
        get_reusable_executor().shutdown(wait=True)
        for name in ("cold", "warm"):
            taken, several = _timed(split, jobs, seeds)
            seconds[name].append(taken)
            same.append(one.runs.equals(several.runs))
    one_process = seconds["one process"]
    return {
        "rows": rows,
        "runs": 2 * seeds,
        "processes": jobs,
        "rounds": rounds,
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "times as fast": {
            name: statistics.median(a / b for a, b in zip(one_process, seconds[name], strict=True))
            for name in ("cold", "warm")
        },
        "same numbers": all(same),
    }


def _timed(split: Split, jobs: int, seeds: int) -> tuple[float, Comparison]:
    schema = split.train.schema
    start = time.perf_counter()
    result = compare(
        {
            "shared": lambda seed: SharedBottom(schema, embedding_dim=DIM),
            "mixture": lambda seed: MMoE(schema, embedding_dim=DIM),
        },
        split, seeds=range(seeds), jobs=jobs, progress=False, fit_options=OPTIONS,
    )  # fmt: skip
    return time.perf_counter() - start, result
