"""A trained model as a program of plain tensors, for serving apart from training."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.data.joined_schema import JoinedSchema
from mtlkit.data.table import Table
from mtlkit.models.base import MultiTaskModel, natural_units
from mtlkit.models.trees import Trees
from mtlkit.models.wrap import WrappedModule, unwrapped
from mtlkit.schema import Schema, SchemaError


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
    what the schema has. Sequences beside one another have offsets alike and as many values.
    """
    names = ["categorical"] if schema.categorical else []
    names += ["dense"] if schema.dense else []
    names += ["scenario"] if schema.scenarios else []
    parts = ("values", "offsets")
    return (*names, *(f"{s.name} {part}" for s in schema.sequences for part in parts))


def served_inputs(schema: Schema, batch: Batch | Table) -> dict[str, np.ndarray]:
    """Rows as ONNX Runtime takes them: ``session.run(None, served_inputs(schema, batch))``."""
    columns = {n: getattr(batch, n) for n in ("categorical", "dense", "scenario")}
    for name, (values, offsets) in batch.sequences.items():
        columns |= {f"{name} values": values, f"{name} offsets": offsets}
    return {name: columns[name].cpu().numpy() for name in input_names(schema)}


def export_served(model: MultiTaskModel) -> torch.export.ExportedProgram:
    """The program of ``Served(model)`` in evaluation mode, for any number of rows and entries.

    Ids mean what they meant in training: those of the model's encoder, 0 for a value that it never
    saw, ``schema.unknown_scenario`` for an unknown scenario. The model's mode stays as it was.

    The program of a scenario model (``ADAPTING``) holds the operator "mtlkit::segment_matmul", so
    ``import mtlkit.layers`` where it is loaded, before ``torch.export.load``. Exported inside
    ``with use_route("gathered")`` it holds operators of PyTorch alone, and copies the weights of
    its scenario for every row.

    Raises ``SchemaError`` for trees, for a model of a ``Join``, whose rows have no columns in
    common, and for a network that is more than tensors computed from tensors.
    """
    _, model = unwrapped(model)
    if isinstance(model, Trees):
        raise refused(model, "trees are no network", "Pickle them together with their encoder.")
    if isinstance(model.schema, JoinedSchema):
        mend = "Train a model on the one table that is to be served."
        raise refused(model, "it reads several tables", mend)
    served, was_training = Served(model), model.training
    device = next((p.device for p in model.parameters()), "cpu")
    columns = [column.to(device) for column in _example(model.schema)]
    model.eval()
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(
                served, tuple(columns), dynamic_shapes=(_free(model.schema),)
            )
    except SchemaError:
        raise
    except Exception as error:  # whatever the code of a model leads to
        raise refused(
            model, first_line(error),
            "A served network is tensors alone: no branch on a value (torch.where), no number of "
            "rows but batch.rows, no NumPy.",
        ) from error  # fmt: skip
    finally:
        model.train(was_training)


def refused(model: MultiTaskModel, why: str, mend: str) -> SchemaError:
    """What to say of a model that cannot be exported: its name, the reason, what to do."""
    kind = type(model.module if isinstance(model, WrappedModule) else model).__name__
    return SchemaError(f"{kind} cannot be exported: {why}. {mend}")


def first_line(error: BaseException) -> str:
    """The first line of what an error says, without a full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip().rstrip(".!")


@contextmanager
def quiet() -> Iterator[None]:
    """A block in which PyTorch's exporter keeps its remarks on its own parts to itself.

    Errors come through, and so does whatever the model's own code warns of, and the graph that
    PyTorch prints where that code cannot be exported.
    """
    own = ("torch", "onnx", "onnxscript", "onnx_ir")
    known = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in own]
    logs = [logging.getLogger(name) for name in {*own, *known}]
    levels = [log.level for log in logs]
    try:
        for log in logs:
            log.setLevel(max(log.level, logging.ERROR))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=rf"({'|'.join(own)}|copyreg)(\.|$)")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


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


def _free(schema: Schema) -> tuple[dict[int, Any], ...]:
    """The first dimension of every input: rows, rows + 1, or the entries of one sequence, which
    are as many in all that stand beside each other."""
    rows, names = torch.export.Dim("rows", min=1), input_names(schema)
    entries = {
        s.name: torch.export.Dim(f"entries_{names.index(f'{s.name} values')}", min=0)
        for s in schema.sequences
    }
    events = {f"{s.name} values": entries[s.beside or s.name] for s in schema.sequences}
    return tuple(
        {0: rows + 1} if name.endswith(" offsets") else {0: events.get(name, rows)}
        for name in names
    )
