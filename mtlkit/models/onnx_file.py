"""A trained model as a file of ONNX, for serving without PyTorch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlkit.files import require_writable, why, write_bytes
from mtlkit.layers.routing import use_route
from mtlkit.models.base import MultiTaskModel
from mtlkit.models.export import export_served, first_line, input_names, quiet, refused
from mtlkit.models.wrap import unwrapped

PACKAGES = ("onnx", "onnxscript")
LARGEST = 2**31 - 1  # bytes of one ONNX file


def export_onnx(model: MultiTaskModel, path: str | Path) -> Path:
    """Write a model to a file of ONNX and return its path; needs ``pip install 'mtlkit[export]'``.

    The file reads what ``input_names(schema)`` lists, for any number of rows from 1 and sequences
    of any length, and returns one output a task, called like it: what ``predict`` gives. It holds
    the network alone, so rows go through the encoder of training first, and ids mean what they
    meant there: 0 is a value never seen, ``schema.unknown_scenario`` an unknown scenario. They are
    not checked again. ``served_inputs`` makes the arrays of a table; where they are scored, ONNX
    Runtime and NumPy are enough::

        export_onnx(model, "model.onnx")
        np.savez("rows.npz", **served_inputs(table.schema, table))

        session = onnxruntime.InferenceSession("model.onnx")  # mtlkit and PyTorch are not needed
        answers = session.run(["click", "purchase"], dict(np.load("rows.npz")))

    It is written whole or not at all. Raises ``ImportError`` with the line to install where the
    extra is missing, ``OSError`` where the path cannot be written, ``ValueError`` where the weights
    are beyond the 2 GiB of a file, and ``SchemaError`` as ``export_served``, for a step that ONNX
    has no word for, for weights in half precision, and for a task called like an input.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"export_onnx needs {' and '.join(missing)}, which the extra brings: "
            "pip install 'mtlkit[export]'."
        )
    _, model = unwrapped(model)
    _require_fit(model)
    with _writing(path):
        require_writable(path)  # before the work, not after it
    content = _converted(model)
    with _writing(path):
        write_bytes(path, content)
    return Path(path)


@contextmanager
def _writing(path: str | Path) -> Iterator[None]:
    """A block that writes to ``path``; an ``OSError`` in it says so in a sentence."""
    try:
        yield
    except OSError as error:
        raise type(error)(
            f"The model cannot be written to {path}: {why(error)}. Pass the path of a file in a "
            "folder that you may write to."
        ) from error


def _require_fit(model: MultiTaskModel) -> None:
    """Raise unless a file of ONNX can hold the weights and tell inputs and outputs apart."""
    tensors = [*model.parameters(), *model.buffers()]
    size = sum(t.numel() * t.element_size() for t in tensors)
    if size > LARGEST:
        raise ValueError(
            f"The model's weights take {size:,} bytes, a file of ONNX holds {LARGEST:,}: make the "
            "embedding tables smaller (min_count, embedding_dim)."
        )
    for tensor in tensors:
        if tensor.dtype in (torch.float16, torch.bfloat16):
            reason = f"its weights are {tensor.dtype}, which ONNX Runtime cannot add up on a CPU"
            raise refused(model, reason, "Export copy.deepcopy(model).float().")
        if tensor.device.type == "meta":
            raise refused(model, "it has no weights on the device meta", "Load them first.")
    for name in model.schema.task_names:
        if name in input_names(model.schema):
            mend = "Call the task otherwise in the data, and train anew."
            raise refused(model, f"task {name!r} is called like an input of the file", mend)


def _converted(model: MultiTaskModel) -> bytes:
    """The content of the file."""
    with use_route("gathered"):  # ONNX knows no operator of mtlkit's own
        program = export_served(model)
    with quiet():
        try:
            found: Any = torch.onnx.export(
                program.run_decompositions(IN_WORDS_OF_ONNX), (), dynamo=True, verbose=False,
                input_names=list(input_names(model.schema)),
                output_names=list(model.schema.task_names),
            )  # fmt: skip
        except ImportError:
            raise
        except Exception as error:  # whatever an exporter leads to
            mend = (
                "Write that step with other operators, or serve the program with PyTorch "
                "(mtlkit.models.export.export_served)."
            )
            raise refused(model, _root(error), mend) from error
    _tidy(found)
    return found.model_proto.SerializeToString()


def _root(error: BaseException) -> str:
    """What lies at the bottom of an exporter's error: the operator and the first reason."""
    operator = re.search(r"torch\.ops\.([\w.]+)", f"{error.__cause__}")
    while error.__cause__ is not None:
        error = error.__cause__
    return (f"its step {operator[1]} has no translation: " if operator else "") + first_line(error)


def _owners(repeats: Tensor, *, output_size: Any = None) -> Any:
    """``torch.repeat_interleave(repeats, output_size=n)``, (rows,) -> (n,): one mark at the end of
    every row, and as many as were passed is the row that an entry belongs to."""
    if output_size is None:
        return NotImplemented
    ends = repeats.cumsum(0)  # (rows,)
    marks = ends.new_zeros(output_size + 1).scatter_add(0, ends, torch.ones_like(ends))
    return marks.cumsum(0).narrow(0, 0, output_size).to(repeats.dtype)


# what the exporter cannot say, in operators that it can: its own repeat_interleave takes no
# output_size, and compares every row with every entry
IN_WORDS_OF_ONNX = {torch.ops.aten.repeat_interleave.Tensor: _owners}


def _tidy(found: Any) -> None:
    """Leave in an exported program what serves: free sizes by name, no traces of the code that it
    was made of, nothing inside that is called like an input or a task."""
    graph = found.model.graph
    entries = [value.shape[0] for value in graph.inputs if value.name.endswith(" values")]
    sizes = {size: f"entries_{place}" for place, size in enumerate(entries)}
    found.rename_axes({**sizes, graph.outputs[0].shape[0]: "rows"})
    nodes = list(graph.all_nodes())
    inside = [*graph.initializers.values(), *(v for node in nodes for v in node.outputs)]
    for part in (found.model, graph, *nodes, *graph.inputs, *inside):
        part.metadata_props.clear()
    outside = {value.name for value in (*graph.inputs, *graph.outputs)}
    names = outside | {value.name for value in inside}
    for value in inside:
        if value.name in outside and not value.is_graph_output():
            while value.name in names:
                value.name = f"{value.name}_"
            names.add(value.name)
