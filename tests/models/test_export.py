"""Models as served: plain tensors in, what predict gives out, at any number of rows."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mtlkit.data import Join
from mtlkit.models import SharedBottom, Trees, export
from mtlkit.models.export import (
    Served,
    export_onnx,
    export_served,
    input_names,
    served_inputs,
)
from mtlkit.schema import Categorical, Dense, Schema, SchemaError, Sequence, Task
from tests import tiny
from tests.models import registry

SMALL = {"embedding_dim": 4, "hidden": (8,), "tower": (4,)}


def batch_of(name, rows, seed):
    """Rows with id 0, an unknown scenario, empty sequences and missing labels."""
    batch = tiny.all_rows(registry.table(name, rows, seed))
    if batch.categorical.shape[1]:
        batch.categorical[0] = 0
    return batch


def tensors(schema, batch):
    return [torch.from_numpy(column) for column in served_inputs(schema, batch).values()]


@pytest.mark.parametrize("name", registry.EVERY)
def test_every_model_is_served_as_it_predicts_at_any_number_of_rows(name):
    model = registry.make(name)
    program = export_served(model)
    assert model.training  # its mode stays
    model.eval()
    served = program.module()
    for rows in (1, 2, 17):
        batch = batch_of(name, rows, seed=rows)
        expected = model.predict(batch)
        found = served(*tensors(model.schema, batch))
        assert list(expected) == list(model.schema.task_names)
        for task, values in zip(expected, found, strict=True):
            torch.testing.assert_close(values, expected[task], rtol=1e-5, atol=1e-6)


def test_rows_without_any_entry_in_their_sequences_are_served():
    model = registry.make("shared-bottom")
    served, table = export_served(model).module(), registry.table(rows=4)
    none = (torch.zeros(0, dtype=torch.int64), torch.zeros(5, dtype=torch.int64))
    table.sequences = dict.fromkeys(table.sequences, none)
    batch = tiny.all_rows(table)
    expected = model.eval().predict(batch)
    for values, (task, right) in zip(
        served(*tensors(model.schema, batch)), expected.items(), strict=True
    ):
        torch.testing.assert_close(values, right, rtol=1e-5, atol=1e-6, msg=task)


SCHEMAS = {
    "ids": Schema((Task("click"),), (Categorical("user", 5),)),
    "dense": Schema((Task("click"),), dense=(Dense("x", 3),)),
    "sequence": Schema((Task("click"),), sequences=(Sequence("größe (cm)", size=5),)),
    "all": tiny.schema(),
}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_served_model_reads_what_its_schema_has_and_nothing_else(kind):
    schema = SCHEMAS[kind]
    model = SharedBottom(schema, **SMALL)
    batch = tiny.all_rows(tiny.table(schema, 6))
    served = export_served(model).module()
    found, expected = served(*tensors(schema, batch)), model.eval().predict(batch)
    for values, right in zip(found, expected.values(), strict=True):
        torch.testing.assert_close(values, right, rtol=1e-5, atol=1e-6)
    names = input_names(schema)
    assert len(names) == len(set(names)) == len(Served(model).names)
    assert ("categorical" in names) == bool(schema.categorical)
    assert ("scenario" in names) == bool(schema.scenarios)


def test_what_has_no_program_is_refused():
    table = tiny.learnable(20)
    with pytest.raises(SchemaError, match="Trees cannot be exported: trees are no network"):
        export_served(Trees(table.schema))
    join = Join({"a": table, "b": table})
    with pytest.raises(SchemaError, match="SharedBottom cannot be exported: it reads several"):
        export_served(SharedBottom(join.schema, **SMALL))


@pytest.mark.parametrize("missing", [("onnx",), ("onnxscript",), ("onnx", "onnxscript")])
def test_without_the_extra_the_error_says_what_to_install(tmp_path, monkeypatch, missing):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name in missing else "there")
    with pytest.raises(ImportError, match=rf"{' and '.join(missing)}, .*'mtlkit\[export\]'"):
        export_onnx(registry.make("shared-bottom"), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def stand_in(monkeypatch, content):
    """Takes the place of PyTorch's exporter; the calls that it got."""
    calls = []

    def convert(program, args, **options):
        calls.append((program, args, options))
        return SimpleNamespace(model_proto=SimpleNamespace(SerializeToString=content))

    monkeypatch.setattr(export, "find_spec", lambda name: "there")
    monkeypatch.setattr(torch.onnx, "export", convert)
    return calls


def test_the_exporter_gets_the_program_and_the_names(tmp_path, monkeypatch):
    calls = stand_in(monkeypatch, lambda: b"network")
    model = registry.make("esmm")
    assert export_onnx(model, tmp_path / "model.onnx").read_bytes() == b"network"
    ((program, args, options),) = calls
    assert isinstance(program, torch.export.ExportedProgram) and args == ()
    assert options["output_names"] == list(model.schema.task_names)
    users = [spec.arg.name for spec in program.graph_signature.input_specs
             if spec.kind.name == "USER_INPUT"]  # fmt: skip
    assert len(options["input_names"]) == len(users)


def test_a_file_that_was_there_survives_a_failure(tmp_path, monkeypatch):
    def fails():
        raise RuntimeError("no such operator")

    stand_in(monkeypatch, fails)
    (tmp_path / "model.onnx").write_bytes(b"old")
    with pytest.raises(RuntimeError, match="no such operator"):
        export_onnx(registry.make("shared-bottom"), tmp_path / "model.onnx")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_weights_beyond_a_file_are_refused(tmp_path, monkeypatch):
    stand_in(monkeypatch, lambda: b"")
    monkeypatch.setattr(export, "LARGEST", 100)
    with pytest.raises(ValueError, match=r"take [0-9,]+ bytes, a file of ONNX holds 100"):
        export_onnx(registry.make("shared-bottom"), tmp_path / "model.onnx")


@pytest.mark.parametrize("name", registry.EVERY)
def test_onnx_runtime_gives_what_predict_gives(name, tmp_path):
    pytest.importorskip("onnxscript", reason="pip install 'mtlkit[export]'")
    runtime = pytest.importorskip("onnxruntime", reason="pip install 'mtlkit[export]'")
    model = registry.make(name).eval()
    export_onnx(model, tmp_path / "model.onnx")
    session = runtime.InferenceSession(
        str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    for rows in (1, 2, 17):
        batch = batch_of(name, rows, seed=rows)
        expected = model.predict(batch)
        found = session.run(list(expected), served_inputs(model.schema, batch))
        for values, right in zip(found, expected.values(), strict=True):
            np.testing.assert_allclose(values, right.numpy(), rtol=1e-4, atol=1e-5)
