"""What makes a training run this run and no other: a resume is refused where it differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtlkit.data.content import content_hash
from mtlkit.train.described import described

# Arguments of ``fit`` that a resumed run may give otherwise, and why. All others must agree.
FREE = {
    "model": "told by class, schema, parameters and options",
    "train": "told by its content",
    "validation": "told by its content",
    "balancer": "told by class and options; None is FixedWeights of the schema",
    "epochs": "how far to go; a falling rate tells its steps",
    "max_steps": "how far to go; a falling rate tells its steps",
    "patience": "how far to go",
    "device": "where to compute, not what",
    "checkpoint": "where the file lies",
    "checkpoint_every": "when it is written",
    "resume": "says that this is a resume",
    "callbacks": "told by their classes, in order; those with a state have it in the file",
    "progress": "what is shown",
}


def describe_run(
    given: Mapping[str, Any],
    model: Any,
    balancer: Any,
    train: Any,
    validation: Any,
    resolved: Mapping[str, Any],
) -> dict[str, Any]:
    """A run as plain values, to be compared before it is resumed.

    ``given`` holds every argument of ``fit``, so that a new one counts unless it is named in
    ``FREE``; ``resolved`` replaces what ``fit`` made of them ("auto") and adds to them. Model and
    balancer are described by their options, the tables by a hash of what a model sees of them.
    """
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    kinds = {name: str(value.dtype) for name, value in model.state_dict().items()}
    options = {name: described(value) for name, value in given.items() if name not in FREE}
    return {
        "model's": described(model),
        "balancer's": described(balancer),
        **options,
        **resolved,
        "frozen parameters": frozen,
        "type of numbers": kinds,
        "training data (a hash)": content_hash(train),
        "validation data (a hash)": None if validation is None else content_hash(validation),
    }
