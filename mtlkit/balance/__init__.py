"""Balancers: how much each task's loss counts. ``weights(losses, gramian=None) -> (task,)``."""

from mtlkit.balance.base import Balancer
from mtlkit.balance.fixed import EqualWeights, FixedWeights

__all__ = ["Balancer", "EqualWeights", "FixedWeights"]
