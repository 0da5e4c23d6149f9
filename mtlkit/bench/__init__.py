"""Benchmarks: speed and memory as ratios to a plain loop in the same run."""

from mtlkit.bench.commands import as_table, main

__all__ = ["as_table", "main"]
