"""A trained model as a file of ONNX, for serving without PyTorch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.data.joined_schema import JoinedSchema
from mtlkit.files import write_bytes
from mtlkit.models.base import MultiTaskModel, natural_units
from mtlkit.models.trees import Trees
from mtlkit.schema import Schema, SchemaError

PACKAGES = ("onnx", "onnxscript")
LARGEST = 2**31 - 1  # bytes of one ONNX file


class Served(nn.Module):
    """A model as a function of plain tensors, as many as ``names``, in that order.

    What it returns is ``model.predict`` in the order of the tasks: probabilities, the label's unit,
    rates, (rows,) each, or (rows, classes) for a multiclass task.
    """

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__()
        self.model, self.names = model, input_names(model.schema)

    def forward(self, *columns: Tensor) -> tuple[Tensor, ...]:
        schema = self.model.schema
        batch = _batch(schema, dict(zip(self.names, columns, strict=True)))
        logits = self.model(batch)
        return tuple(natural_units(task, logits[task.name]) for task in schema.tasks)


def input_names(schema: Schema) -> tuple[str, ...]:
    """What a served model reads, in order; fields and columns stand in the schema's order.

    "categorical" int64 (rows, field), "dense" float32 (rows, width), "scenario" int64 (rows,) and
    of each sequence "<name> values" int64 (entries,) and "<name> offsets" int64 (rows + 1,); only
    what the schema has.
    """
    names = ["categorical"] if schema.categorical else []
    names += ["dense"] if schema.dense else []
    names += ["scenario"] if schema.scenarios else []
    parts = ("values", "offsets")
    return (*names, *(f"{s.name} {part}" for s in schema.sequences for part in parts))


def served_inputs(schema: Schema, batch: Batch) -> dict[str, np.ndarray]:
    """A batch as ONNX Runtime takes it: ``session.run(None, served_inputs(schema, batch))``."""
    columns = {n: getattr(batch, n) for n in ("categorical", "dense", "scenario")}
    for name, (values, offsets) in batch.sequences.items():
        columns |= {f"{name} values": values, f"{name} offsets": offsets}
    return {name: columns[name].cpu().numpy() for name in input_names(schema)}


def export_served(model: MultiTaskModel) -> torch.export.ExportedProgram:
    """The program of ``Served(model)`` in evaluation mode, for any number of rows and entries.

    Ids mean what they meant in training: those of the model's encoder, 0 for a value that it never
    saw, ``schema.unknown_scenario`` for an unknown scenario. The model's mode stays as it was.
    Raises ``SchemaError`` for trees, and for a model of a ``Join``, whose rows have no columns in
    common.
    """
    if isinstance(model, Trees) or isinstance(model.schema, JoinedSchema):
        why = "trees are no network" if isinstance(model, Trees) else "it reads several tables"
        raise SchemaError(f"{type(model).__name__} cannot be exported: {why}.")
    served, was_training = Served(model), model.training
    names = served.names
    device = next(model.parameters()).device
    columns = [column.to(device) for column in _example(model.schema)]
    model.eval()
    try:
        with torch.no_grad():
            return torch.export.export(
                served, tuple(columns), dynamic_shapes=(tuple(_free(name) for name in names),)
            )
    finally:
        model.train(was_training)


def export_onnx(model: MultiTaskModel, path: str | Path) -> Path:
    """Write a model to a file of ONNX and return its path; needs ``pip install 'mtlkit[export]'``.

    The file reads what ``input_names(schema)`` lists, for any number of rows, and returns one
    output a task, called like it: what ``predict`` gives. It holds the network alone: rows go
    through the encoder of training first (``served_inputs`` makes the inputs of a batch)::

        export_onnx(model, "model.onnx")
        session = onnxruntime.InferenceSession("model.onnx")
        click, purchase = session.run(None, served_inputs(schema, batch))

    It is written whole or not at all. Raises ``ImportError`` with the line to install where the
    extra is missing, ``ValueError`` where the weights are beyond the 2 GiB of a file, and
    ``SchemaError`` as ``export_served``.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"export_onnx needs {' and '.join(missing)}, which the extra brings: "
            "pip install 'mtlkit[export]'."
        )
    tensors = [*model.parameters(), *model.buffers()]
    size = sum(t.numel() * t.element_size() for t in tensors)
    if size > LARGEST:
        raise ValueError(
            f"The model's weights take {size:,} bytes, a file of ONNX holds {LARGEST:,}: make the "
            "embedding tables smaller (min_count, embedding_dim)."
        )
    found: Any = torch.onnx.export(
        export_served(model), (), dynamo=True, verbose=False,
        input_names=list(input_names(model.schema)), output_names=list(model.schema.task_names),
    )  # fmt: skip
    write_bytes(path, found.model_proto.SerializeToString())
    return Path(path)


def _batch(schema: Schema, columns: dict[str, Tensor]) -> Batch:
    """The batch of plain tensors; no label of it is observed."""
    first = next(iter(columns))
    like = columns[first]
    rows = like.shape[0] if not first.endswith(" values") else (
        columns[f"{first.removesuffix(' values')} offsets"].shape[0] - 1
    )  # fmt: skip
    none = torch.zeros(rows, schema.num_tasks, device=like.device)
    whole = none.new_zeros(rows, dtype=torch.int64)
    return Batch(
        categorical=columns.get("categorical", whole.unsqueeze(1)[:, :0]),
        dense=columns.get("dense", none[:, :0]),
        sequences={
            s.name: (columns[f"{s.name} values"], columns[f"{s.name} offsets"])
            for s in schema.sequences
        },
        labels=none,
        observed=none.to(torch.bool),
        scenario=columns.get("scenario", whole),
    )


def _example(schema: Schema) -> list[Tensor]:
    """Three rows to trace the model with: no size is 0 or 1, which torch takes for constants."""
    rows = {
        "categorical": torch.zeros(3, len(schema.categorical), dtype=torch.int64),
        "dense": torch.zeros(3, schema.dense_width),
        "scenario": torch.zeros(3, dtype=torch.int64),
    }
    for sequence in schema.sequences:
        rows[f"{sequence.name} values"] = torch.zeros(5, dtype=torch.int64)
        rows[f"{sequence.name} offsets"] = torch.tensor([0, 2, 3, 5])
    return [rows[name] for name in input_names(schema)]


def _free(name: str) -> dict[int, Any]:
    """The first dimension of an input: rows, rows + 1, or the entries of one sequence."""
    rows = torch.export.Dim("rows", min=1)
    if name.endswith(" offsets"):
        return {0: rows + 1}
    if name.endswith(" values"):
        entries = "".join(c if c.isalnum() and c.isascii() else "_" for c in name)
        return {0: torch.export.Dim(f"entries_{entries}", min=0)}
    return {0: rows}
