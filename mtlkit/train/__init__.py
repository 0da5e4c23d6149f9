"""Training: the loop, its state and checkpoints, devices, optimisers, evaluation."""

from mtlkit.train.calibration import calibrate
from mtlkit.train.callbacks import Callback, Rate, Stop
from mtlkit.train.evaluation import evaluate, main_metric, predict, selection_score
from mtlkit.train.history import History
from mtlkit.train.loop import fit
from mtlkit.train.randomness import seeded
from mtlkit.train.replicas import fit_replicas
from mtlkit.train.scenarios import scenario_table
from mtlkit.train.tensorboard import TensorBoard

__all__ = [
    "Callback",
    "History",
    "Rate",
    "Stop",
    "TensorBoard",
    "calibrate",
    "evaluate",
    "fit",
    "fit_replicas",
    "main_metric",
    "predict",
    "scenario_table",
    "seeded",
    "selection_score",
]
