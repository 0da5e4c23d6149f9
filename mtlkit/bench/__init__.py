"""Benchmarks: speed and memory as ratios to a plain loop in the same run."""

from mtlkit.bench.commands import main

__all__ = ["main"]
