"""What every balancer is: a rule that gives each task's loss or gradient its weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from mtlkit.balance.engine.gramian import TaskGradients
from mtlkit.schema import Schema, SchemaError


class NotFinite(ValueError, FloatingPointError):
    """A loss or gradient that is infinite or not a number; the message names the task."""


class Balancer:
    """Base of all balancers: ``weights(losses, gramian=None) -> (task,)``, detached.

    Call ``weights`` once a step: methods with a memory move it there. What a subclass writes is
    ``task_weights``, which sees float64 numbers on the CPU and only the tasks that this batch
    trains; ``self.present`` holds their indices. A task without a labelled row in the batch (loss
    exactly 0), or, where a Gramian is given, without a gradient, gets weight 0, and leaves its
    memory as it was. A loss of exactly 0 with labels is perfect on every one of them, within
    rounding, and has no gradient either (squared errors, counts; censored counts of 0): to leave it
    out changes no step, and spares the rules of logarithms.

    Class attributes
    ----------------
    needs_gramian
        The rule reads the Gramian K = G G^T, (task, task), of the task gradients.
    needs_gradients
        The rule reads the gradients themselves: ``combine`` in place of ``weights``.
    needs_halves
        ... and those of the two halves of the batch (every other row) apart.
    weighs_heads
        True: the weights multiply the losses, so trunk and heads alike are weighted (one backward
        pass of the sum of w_k L_k). False: they combine the gradients on what the tasks share, and
        each head gets the plain gradient of its own loss.
    needs_second_pass
        After the optimiser's step the losses of the same batch are computed again and given to
        ``after_step``.
    parameters
        For a rule that ``weighs_heads`` by gradient norms: names of the shared parameters on which
        they are taken; None for the last shared weight matrix.
    memory
        Names of the attributes that ``state_dict`` holds: tensors, numbers, generators or None.
    named
        Names of the attributes that are {task: number}; ``bind`` refuses a task it does not know.

    Weights follow the sum convention: the total is the sum of w_k L_k, 1 each is equal weighting.
    ``last_weights``, (task,), are those of the last step, for the history of a training run; None
    for a rule that combines gradients without weights.
    """

    needs_gramian: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False
    needs_halves: ClassVar[bool] = False
    weighs_heads: ClassVar[bool] = True
    needs_second_pass: ClassVar[bool] = False
    memory: ClassVar[tuple[str, ...]] = ()
    named: ClassVar[tuple[str, ...]] = ()
    parameters: tuple[str, ...] | None = None

    schema: Schema | None = None
    last_weights: Tensor | None = None
    present: Tensor
    tasks: int  # of the last losses, labelled or not

    def bind(self, schema: Schema) -> Balancer:
        """Learn the tasks' names and kinds; ``fit`` calls it before the first step.

        Raises ``SchemaError`` for a named task that the schema lacks, and where the rule remembers
        the tasks of another schema.
        """
        remembers = any(isinstance(getattr(self, name), Tensor) for name in self.memory)
        if remembers and self.schema is not None and self.schema.task_names != schema.task_names:
            raise SchemaError(
                f"{type(self).__name__} remembers the tasks {', '.join(self.schema.task_names)}; "
                f"this schema has {', '.join(schema.task_names)}: make a new balancer."
            )
        for attribute in self.named:
            unknown = sorted(set(getattr(self, attribute)) - set(schema.task_names))
            if unknown:
                raise SchemaError(
                    f"{type(self).__name__}({attribute}=...) names task {unknown[0]!r}; this "
                    f"schema has {', '.join(schema.task_names)}."
                )
        self.schema = schema
        return self

    def weights(self, losses: Tensor, gramian: Tensor | None = None) -> Tensor:
        """Weights (task,), detached, from losses (task,) and, where needed, gramian (task, task).

        Raises ``ValueError`` for shapes that do not fit, a number that is not finite, or a Gramian
        that is needed and missing.
        """
        numbers = losses.detach().to("cpu", torch.float64)
        if numbers.dim() != 1:
            raise ValueError(
                f"losses must have one number a task, not shape {tuple(losses.shape)}."
            )
        self._check_finite(numbers, "The loss")
        self.tasks = len(numbers)
        present = numbers != 0
        inner = None
        if gramian is not None:
            inner = gramian.detach().to("cpu", torch.float64)
            if inner.shape != (len(numbers), len(numbers)):
                raise ValueError(
                    f"The Gramian of {len(numbers)} tasks must be ({len(numbers)}, {len(numbers)}),"
                    f" not {tuple(inner.shape)}."
                )
            self._check_finite(inner.diagonal(), "The squared gradient norm")
            present = present & (inner.diagonal() > 0)
        elif self.needs_gramian:
            raise ValueError(
                f"{type(self).__name__} needs the Gramian of the task gradients: "
                "weights(losses, gramian); inside fit it is computed for you."
            )
        result = torch.zeros_like(numbers)
        self.present = present.nonzero().squeeze(1)  # (k,)
        if len(self.present):
            if inner is not None:
                inner = inner[self.present][:, self.present]  # (k, k)
            result[self.present] = self.task_weights(numbers[self.present], inner)
        self.last_weights = result.to(losses.device, losses.dtype)
        return self.last_weights

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights of the tasks in ``self.present``: float64 (k,), (k, k) -> (k,)."""
        raise NotImplementedError(f"{type(self).__name__} must define task_weights.")

    def combine(self, losses: Tensor, gradients: TaskGradients) -> Tensor:
        """The gradient of what the tasks share, (number,): here w^T G with the rule's weights w."""
        self.last_weights = self.weights(losses, gradients.gramian())
        return self.last_weights @ gradients.matrix

    def trained(self, losses: Tensor, gradients: TaskGradients) -> Tensor:
        """Set ``present``, tasks with a label and a gradient (k,), and ``tasks``; for combine.

        Raises ``ValueError`` for a loss or gradient that is not finite, by the task's name.
        """
        numbers = losses.detach().to("cpu", torch.float64)
        self._check_finite(numbers, "The loss")
        self.tasks = len(numbers)
        largest = numbers.new_zeros(self.tasks)  # absolute entry of each gradient
        if gradients.matrix.shape[1]:
            largest = gradients.matrix.abs().amax(1).to("cpu", torch.float64)
        self._check_finite(largest, "The largest gradient entry")
        self.present = ((numbers != 0) & (largest > 0)).nonzero().squeeze(1)
        self.last_weights = None
        return self.present

    def note(self, weights: Tensor) -> Tensor:
        """Weights (k,) of the present tasks, noted as ``last_weights``; for combine."""
        self.last_weights = weights.new_zeros(self.tasks)
        self.last_weights[self.present.to(weights.device)] = weights
        return weights

    def after_step(self, losses: Tensor) -> None:
        """The losses (task,) of the same batch after the step, where ``needs_second_pass``."""

    def end_epoch(self, losses: Tensor) -> None:
        """The mean training losses (task,) of the epoch that ended; NaN for an unlabelled task."""

    def full(self, name: str, tasks: int, value: float) -> Tensor:
        """The memory attribute ``name``: a float64 (task,) tensor that starts as ``value``."""
        if getattr(self, name, None) is None:
            setattr(self, name, torch.full((tasks,), value, dtype=torch.float64))
        memory = getattr(self, name)
        if len(memory) != tasks:
            raise ValueError(
                f"{type(self).__name__} remembers {len(memory)} tasks and was given {tasks}: make "
                "a new balancer for another set of tasks."
            )
        return memory

    def in_order(self, attribute: str, tasks: int, default: float) -> Tensor:
        """The attribute {task: number} as a float64 (task,) tensor; ``default`` where not named."""
        values = getattr(self, attribute)
        result = torch.full((tasks,), default, dtype=torch.float64)
        if not values:
            return result
        if self.schema is None:
            raise RuntimeError(
                f"{type(self).__name__} does not know the order of tasks: call bind(schema)."
            )
        for name, value in values.items():
            result[self.schema.task_index(name)] = value
        return result

    def task_name(self, index: int) -> str:
        """The name of a task for messages; its number where the schema is not known."""
        return repr(self.schema.task_names[index]) if self.schema is not None else f"{index}"

    def state_dict(self) -> dict[str, Any]:
        """Everything the rule remembers, to continue bit for bit."""
        state = {}
        for name in self.memory:
            value = getattr(self, name)
            if isinstance(value, torch.Generator):
                value = value.get_state()
            elif isinstance(value, Tensor):
                value = value.clone()
            elif hasattr(value, "state_dict"):
                value = value.state_dict()
            state[name] = value
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave; ``ValueError`` names a missing or unknown entry."""
        wrong = sorted(set(state) ^ set(self.memory))
        if wrong:
            raise ValueError(
                f"The state is not one of {type(self).__name__}: entry {wrong[0]!r} is "
                f"{'unknown' if wrong[0] in state else 'missing'}."
            )
        for name in self.memory:
            value, own = state[name], getattr(self, name)
            if isinstance(own, torch.Generator):
                own.set_state(value.cpu())
            elif hasattr(own, "load_state_dict"):
                own.load_state_dict(value)
            else:
                setattr(self, name, value.clone() if isinstance(value, Tensor) else value)

    def _check_finite(self, numbers: Tensor, what: str) -> None:
        bad = (~numbers.isfinite()).nonzero()
        if len(bad):
            raise NotFinite(
                f"{what} of task {self.task_name(int(bad[0]))} is {float(numbers[bad[0]])}: "
                "a balancer needs finite numbers."
            )


class SmallAdam:
    """Adam for a handful of numbers that a balancer trains itself, in float64.

    x <- x - rate * m / (sqrt(v) + 1e-8), m and v the bias-corrected running means of the gradient
    and of its square (Kingma and Ba 2015, algorithm 1). ``step(x, gradient, where)`` moves the
    entries ``where`` (indices) in place, each with a step count of its own, so that a task without
    labels waits unchanged. ``decay`` adds decay * x to the gradient.
    """

    def __init__(
        self,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        decay: float = 0.0,
    ) -> None:
        self.learning_rate, self.betas, self.decay = learning_rate, betas, decay
        self.moments: Tensor | None = None  # (3, size): count, mean, mean square

    def step(self, x: Tensor, gradient: Tensor, where: Tensor) -> None:
        """Move x[where] (k,) against gradient (k,)."""
        if self.moments is None:
            self.moments = x.new_zeros(3, len(x))
        gradient = gradient + self.decay * x[where]
        count, mean, square = self.moments[:, where]
        beta1, beta2 = self.betas
        count = count + 1
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        self.moments[:, where] = torch.stack([count, mean, square])
        scaled = (mean / (1 - beta1**count)) / ((square / (1 - beta2**count)).sqrt() + 1e-8)
        x[where] -= self.learning_rate * scaled

    def state_dict(self) -> dict[str, Any]:
        return {"moments": None if self.moments is None else self.moments.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the moments."""
        moments = state["moments"]
        self.moments = None if moments is None else moments.clone()
