"""Training: the loop, its state and checkpoints, devices, optimisers, evaluation."""

from mtlkit.train.evaluation import evaluate, main_metric, predict, selection_score
from mtlkit.train.loop import fit, seeded
from mtlkit.train.state import History

__all__ = ["History", "evaluate", "fit", "main_metric", "predict", "seeded", "selection_score"]
