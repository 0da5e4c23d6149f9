"""From predictions to decisions: score fusion, policies on the live shop, and what they earn."""

from mtlkit.online.fusion import ExpectedValue, Fusion, Product, WeightedSum, search
from mtlkit.online.money import Money, money, money_across_shops
from mtlkit.online.policies import ModelPolicy, best_policy, play

__all__ = [
    "ExpectedValue",
    "Fusion",
    "ModelPolicy",
    "Money",
    "Product",
    "WeightedSum",
    "best_policy",
    "money",
    "money_across_shops",
    "play",
    "search",
]
