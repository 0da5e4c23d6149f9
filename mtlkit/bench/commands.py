"""Measure speed and memory: ``python -m mtlkit bench training | balance | replicas | ...``.

Times on a shared machine wander, so everything is a median over interleaved rounds, and what is
compared is a ratio of two programs in the same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark and print its table, or JSON with ``--json``; 0 when that worked."""
    parser = argparse.ArgumentParser(
        prog="mtlkit bench", description="Measure speed and memory of mtlkit on this machine."
    )
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    training = what.add_parser("training", help="samples a second against a plain PyTorch loop")
    training.add_argument("--rounds", type=int, default=3, help="rounds to take medians over")
    training.add_argument("--bf16", action="store_true", help="measure bf16 where it loses, too")
    balance = what.add_parser("balance", help="a step of every balancer against equal weighting")
    balance.add_argument("--tasks", type=int, nargs="+", default=[4, 8], help="numbers of tasks")
    balance.add_argument("--steps", type=int, default=40, help="steps to take medians over")
    balance.add_argument("--optimizer", default="adam", help="adam (default), lazy_adam or sgd")
    optimizers = what.add_parser("optimizers", help="a step of adam and of lazy_adam by table size")
    optimizers.add_argument("--steps", type=int, default=30, help="steps to take medians over")
    comparing = what.add_parser("compare", help="a comparison in one process and over several")
    comparing.add_argument("--rows", type=int, default=300_000, help="rows to split")
    comparing.add_argument("--rounds", type=int, default=1, help="rounds to take medians over")
    comparing.add_argument("--jobs", type=int, help="processes (default: the physical cores)")
    imports = what.add_parser("import", help="seconds to import mtlkit, beyond those of torch")
    imports.add_argument("--rounds", type=int, default=5, help="rounds to take medians over")
    market = what.add_parser("market", help="seconds and memory to make shop impressions")
    market.add_argument("--rows", type=int, default=1_000_000, help="impressions to make")
    replicas = what.add_parser("replicas", help="a step of several networks at once and of one")
    replicas.add_argument("--count", type=int, default=16, help="networks at once")
    replicas.add_argument(
        "--batch", type=int, nargs="+", default=[32, 64, 128, 256], help="rows of each network"
    )
    replicas.add_argument("--steps", type=int, default=200, help="steps to take medians over")
    replicas.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    scenarios = what.add_parser("scenarios", help="layers of single scenarios, by their number")
    scenarios.add_argument(
        "--numbers", type=int, nargs="+", default=[3, 10, 30, 100, 300, 1000], help="of scenarios"
    )
    scenarios.add_argument("--batch", type=int, default=2048, help="rows of a batch")
    scenarios.add_argument("--steps", type=int, default=9, help="steps to take medians over")
    scenarios.add_argument(
        "--memory", type=float, default=4000.0, help="megabytes that a naive form may need"
    )
    sequences = what.add_parser("sequences", help="poolings of histories, by form and by events")
    sequences.add_argument("--rows", type=int, default=250, help="rows of a batch")
    sequences.add_argument("--steps", type=int, default=3, help="steps to take medians over")
    sequences.add_argument(
        "--numbers", type=int, nargs="+", default=[2000, 4000, 8000, 16000], help="of events"
    )
    parsers = (training, balance, optimizers, comparing, imports, market, replicas, scenarios)
    for command in (*parsers, sequences):
        command.add_argument("--json", action="store_true", help="print JSON instead of a table")
        command.add_argument("--quick", action="store_true", help="smaller, for a first look")
    options = parser.parse_args(argv)
    quick = options.quick
    if options.what == "training":
        from mtlkit.bench.training import measure_training

        result = measure_training(
            rows=40_000 if quick else 320_000,
            rounds=1 if quick else options.rounds,
            bf16=options.bf16,
        )
    elif options.what == "balance":
        from mtlkit.bench.balancing import measure_steps
        from mtlkit.bench.solvers import measure_solvers

        result = {
            f"{tasks} tasks": measure_steps(tasks, 4 if quick else options.steps, options.optimizer)
            for tasks in options.tasks
        }
        result["solvers"] = measure_solvers(options.tasks, 20 if quick else 200)
    elif options.what == "optimizers":
        from mtlkit.bench.optimizers import measure_optimizers

        result = measure_optimizers(
            3 if quick else options.steps, largest=100_000 if quick else None
        )
    elif options.what == "compare":
        from mtlkit.bench.comparing import measure_comparing

        rows, seeds = (4_000, 1) if quick else (options.rows, 4)
        result = measure_comparing(rows, options.rounds, options.jobs, seeds)
    elif options.what == "replicas":
        from mtlkit.bench.replicas import measure_replicas

        steps = 3 if quick else options.steps
        result = measure_replicas(options.count, options.batch, steps, options.device)
    elif options.what == "scenarios":
        from mtlkit.bench.scenarios import measure_scenarios

        steps, memory = (2, 200.0) if quick else (options.steps, options.memory)
        result = measure_scenarios(options.numbers, steps, options.batch, memory)
    elif options.what == "sequences":
        from mtlkit.bench.sequences import measure_sequences

        rows, steps = (100, 1) if quick else (options.rows, options.steps)
        result = measure_sequences(rows, steps, options.numbers)
    elif options.what == "import":
        result = measure_import(2 if quick else options.rounds)
    else:
        result = measure_market(min(options.rows, 50_000) if quick else options.rows)
    print(json.dumps(result, indent=2) if options.json else as_table(result))
    return 0


def as_table(result: dict[str, Any], indent: int = 0) -> str:
    """Lines of "name  value", nested results indented; two numbers share a line."""
    lines = []
    width = max(len(name) for name in result) + 2
    for name, value in result.items():
        start = " " * indent + name.ljust(width)
        if not isinstance(value, dict):
            lines.append(start + _text(value))
        elif len(value) == 2 and all(isinstance(v, float) for v in value.values()):
            lines.append(start + ", ".join(f"{_text(v)} {what}" for what, v in value.items()))
        else:
            lines += [" " * indent + name, as_table(value, indent + 2)]
    return "\n".join(lines)


def _text(value: Any) -> str:
    """A number with four digits, or whole from a thousand on."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def measure_import(rounds: int) -> dict[str, Any]:
    """Seconds that importing mtlkit adds to importing torch, in fresh processes, interleaved."""
    programs = {
        "torch": "import torch",
        "torch, then mtlkit": "import torch, mtlkit",
        "torch, then mtlkit's models and fit": "import torch, mtlkit.models, mtlkit.train.loop",
    }
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds + 1):  # the first round fills the disk cache
        for name, program in programs.items():
            seconds[name].append(_seconds_of(program))
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    base = medians["torch"]
    return {
        "seconds": medians,
        "beyond torch, seconds": {k: v - base for k, v in medians.items() if k != "torch"},
        "rounds": rounds,
    }


def _seconds_of(program: str) -> float:
    """Seconds that a program takes inside a fresh interpreter, without the interpreter's start."""
    timed = f"import time; s = time.perf_counter(); {program}; print(time.perf_counter() - s)"
    done = subprocess.run(
        [sys.executable, "-c", timed], capture_output=True, text=True, encoding="utf-8", check=True
    )
    return float(done.stdout.split()[-1])


MARKET_PROGRAM = """
import json, sys, time
from mtlkit.shop.market import Market
from mtlkit.bench.commands import peak_memory
rows = int(sys.argv[1])
before = peak_memory()
start = time.perf_counter()
market = Market("small", seed=0)
made = time.perf_counter()
table = market.impressions(rows)
done = time.perf_counter()
print(json.dumps({
    "rows": len(table),
    "seconds for the shop": made - start,
    "seconds for the rows": done - made,
    "rows a second": len(table) / (done - made),
    "table, megabytes": table.nbytes / 1e6,
    "peak memory, megabytes": peak_memory() / 1e6,
    "peak memory before, megabytes": before / 1e6,
}))
"""


def measure_market(rows: int) -> dict[str, Any]:
    """Seconds and peak memory to make ``rows`` impressions, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MARKET_PROGRAM, str(rows)],
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"The measured process failed:\n{done.stderr}")
    return json.loads(done.stdout)


def peak_memory() -> int:
    """Largest memory of this process so far, in bytes."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in kilobytes
