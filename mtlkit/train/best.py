"""The best weights of a training run: of the whole model, or of each separate network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mtlkit.models.base import MultiTaskModel
from mtlkit.train.evaluation import main_metric

Metrics = Mapping[str, Mapping[str, float]]
WHOLE = ""  # the entry of a model that stops as one


class BestWeights:
    """Weights of the epoch with the best score so far.

    A model that shares stops as one: the epoch is chosen by the score of all tasks. A model whose
    tasks have networks of their own (``model.separate``) keeps for each task the weights of the
    epoch that was best for it, by its main metric on validation: a joint score would handicap it.
    Epochs without a score (no validation) always count as better; a task whose metric is undefined
    keeps its last weights.
    """

    def __init__(self, model: MultiTaskModel) -> None:
        self.model = model
        names = model.schema.task_names if model.separate else (WHOLE,)
        self.scores = dict.fromkeys(names, -math.inf)
        self.epochs: dict[str, int] = {}
        self.weights: dict[str, Tensor] = {}
        self.step = 0  # of the last weights that were kept

    @property
    def latest(self) -> int | None:
        """The last epoch in which anything became better: patience counts from it."""
        return max(self.epochs.values(), default=None)

    def offer(self, epoch: int, score: float | None, metrics: Metrics | None) -> None:
        """Keep what this epoch made better; ``score`` of all tasks, None without validation."""
        for name in self.scores:
            value = self._score(name, score, metrics)
            if value is not None and value <= self.scores[name]:  # NaN is never below
                continue
            self.epochs[name] = epoch
            if value is not None:
                self.scores[name] = self.scores[name] if math.isnan(value) else value
                self.weights |= {k: v.detach().clone() for k, v in self._state(name).items()}
                self.step = self.model.step

    def _score(self, name: str, score: float | None, metrics: Metrics | None) -> float | None:
        if name == WHOLE or metrics is None:
            return score if name == WHOLE else None
        metric, sign = main_metric(self.model.schema.task(name))
        return sign * metrics[name][metric]

    def _state(self, name: str) -> dict[str, Tensor]:
        """The model's state, or the part of it that is one task's network."""
        state = self.model.state_dict()
        if name == WHOLE:
            return state
        modules = self.model.task_modules(name)
        own = {t.data_ptr() for m in modules for t in m.state_dict().values() if t.numel()}
        return {key: value for key, value in state.items() if value.data_ptr() in own}

    def restore(self) -> None:
        """Give the model its best weights and their ``step``, where any were kept."""
        if self.weights:
            set_step(self.model, self.step)
            self.model.load_state_dict(self.weights, strict=not self.model.separate)

    def state_dict(self) -> dict[str, Any]:
        named = {"scores": self.scores, "epochs": self.epochs, "weights": self.weights}
        return {**named, "step": self.step}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Take up what ``state_dict`` gave."""
        self.scores, self.epochs = dict(state["scores"]), dict(state["epochs"])
        self.weights = {k: v.to(device) for k, v in state["weights"].items()}
        self.step = state["step"]


def set_step(model: MultiTaskModel, step: int) -> None:
    """Say how many optimiser steps are behind a model, and behind the models inside it."""
    for inner in model.modules():
        if isinstance(inner, MultiTaskModel):
            inner.step = step
