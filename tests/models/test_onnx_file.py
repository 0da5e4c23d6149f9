"""A file of ONNX holds what predict gives, is written whole or not at all, and says what fails."""

import errno
import inspect
import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mtlkit.layers import FieldEmbedding, Lookup
from mtlkit.models import Constant, SharedBottom, onnx_file, wrap
from mtlkit.models.export import input_names, served_inputs
from mtlkit.models.onnx_file import IN_WORDS_OF_ONNX, export_onnx
from mtlkit.schema import Categorical, Dense, Schema, SchemaError, Sequence, Task
from mtlkit.train import fit
from tests import tiny
from tests.models import registry

SMALL = {"embedding_dim": 4, "hidden": (8,), "tower": (4,)}
OWNERS = IN_WORDS_OF_ONNX[torch.ops.aten.repeat_interleave.Tensor]


@pytest.mark.parametrize("missing", [("onnx",), ("onnxscript",), ("onnx", "onnxscript")])
def test_without_the_extra_the_error_says_what_to_install(tmp_path, monkeypatch, missing):
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None if name in missing else "there")
    with pytest.raises(ImportError, match=rf"{' and '.join(missing)}, .*'mtlkit\[export\]'"):
        export_onnx(small(), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def small():
    """A network that is traced in no time."""
    return SharedBottom(Schema((Task("click"),), dense=(Dense("x", 3),)), **SMALL)


def stand_in(monkeypatch, content):
    """Takes the place of PyTorch's exporter; the calls that it got."""
    calls = []

    def convert(program, args, **options):
        calls.append((program, args, options))
        return SimpleNamespace(model_proto=SimpleNamespace(SerializeToString=content))

    monkeypatch.setattr(onnx_file, "find_spec", lambda name: "there")
    monkeypatch.setattr(onnx_file, "_tidy", lambda found: None)
    monkeypatch.setattr(torch.onnx, "export", convert)
    return calls


def test_the_exporter_gets_the_program_and_the_names(tmp_path, monkeypatch):
    calls = stand_in(monkeypatch, lambda: b"network")
    model = registry.make("esmm", few=True)
    assert export_onnx(model, tmp_path / "model.onnx").read_bytes() == b"network"
    ((program, args, options),) = calls
    assert isinstance(program, torch.export.ExportedProgram) and args == ()
    assert options["output_names"] == list(model.schema.task_names)
    users = [spec.arg.name for spec in program.graph_signature.input_specs
             if spec.kind.name == "USER_INPUT"]  # fmt: skip
    assert len(options["input_names"]) == len(users)
    assert not any(node.target in IN_WORDS_OF_ONNX for node in program.graph.nodes)


def test_the_owners_of_entries_in_words_of_onnx_are_those_of_torch():
    generator = torch.Generator().manual_seed(0)
    for rows in range(1, 40):
        repeats = torch.randint(0, 4, (rows,), generator=generator)
        for lengths in (repeats, repeats * 0, repeats.int()):
            right = torch.repeat_interleave(lengths, output_size=int(lengths.sum()))
            found = OWNERS(lengths, output_size=int(lengths.sum()))
            assert found.dtype == right.dtype and torch.equal(found, right)
    assert OWNERS(repeats) is NotImplemented  # a size that the data decides is left as it was


def no_words():
    raise RuntimeError("no such operator")


def test_a_file_that_was_there_survives_a_failure(tmp_path, monkeypatch):
    stand_in(monkeypatch, no_words)
    (tmp_path / "model.onnx").write_bytes(b"old")
    with pytest.raises(RuntimeError, match="no such operator"):
        export_onnx(small(), tmp_path / "model.onnx")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_what_the_exporter_fails_at_is_one_sentence(tmp_path, monkeypatch):
    stand_in(monkeypatch, lambda: b"")
    node = RuntimeError("node %x: call_function[target=torch.ops.aten.foo.default](args = ())")
    node.__cause__ = KeyError("no function for foo.\nMore.")
    fault = RuntimeError("\033[96mThis is step 3/3\033[0m")
    fault.__cause__ = node
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **options: no_words())
    with pytest.raises(SchemaError, match=r"^SharedBottom cannot be exported: no such operator\. "):
        export_onnx(small(), tmp_path / "model.onnx")

    def fails(*args, **options):
        raise fault

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(SchemaError) as error:
        export_onnx(small(), tmp_path / "model.onnx")
    (line,) = str(error.value).splitlines()
    assert line.startswith("SharedBottom cannot be exported: its step aten.foo.default has no ")
    assert "no function for foo" in line and "\033" not in line
    assert "export_served" in line and list(tmp_path.iterdir()) == []


def half(model):
    return model.to(torch.bfloat16)


def task_like_an_input():
    schema = Schema((Task("dense"),), (Categorical("user", 5),), (Dense("x", 3),))
    return SharedBottom(schema, **SMALL)


REFUSED = {
    "half": (lambda: half(registry.make("mmoe")), r"MMoE .*torch.bfloat16.*model\)\.float\(\)"),
    "meta": (lambda: registry.make("mmoe").to("meta"), r"MMoE .*no weights on the device meta"),
    "a task": (task_like_an_input, r"SharedBottom .*task 'dense' is called like an input"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_file_can_serve_is_refused_before_the_work(kind, tmp_path, monkeypatch):
    calls = stand_in(monkeypatch, lambda: b"")
    make, told = REFUSED[kind]
    with pytest.raises(SchemaError, match=told):
        export_onnx(make(), tmp_path / "model.onnx")
    assert calls == [] and list(tmp_path.iterdir()) == []


def test_weights_beyond_a_file_are_refused(tmp_path, monkeypatch):
    stand_in(monkeypatch, lambda: b"")
    monkeypatch.setattr(onnx_file, "LARGEST", 100)
    with pytest.raises(ValueError, match=r"take [0-9,]+ bytes, a file of ONNX holds 100"):
        export_onnx(small(), tmp_path / "model.onnx")


def wrong_paths(folder):
    (folder / "file").write_bytes(b"other")
    return {"a folder": folder, "a file for a folder": folder / "file" / "model.onnx"}


@pytest.mark.parametrize("kind", ["a folder", "a file for a folder"])
def test_a_wrong_path_is_refused_before_the_work(kind, tmp_path, monkeypatch):
    calls = stand_in(monkeypatch, lambda: b"")
    path = wrong_paths(tmp_path)[kind]
    with pytest.raises(OSError) as error:
        export_onnx(small(), path)
    assert str(error.value).startswith(f"The model cannot be written to {path}: a f")
    assert str(error.value).endswith("Pass the path of a file in a folder that you may write to.")
    assert calls == [] and [p.read_bytes() for p in tmp_path.iterdir()] == [b"other"]


@pytest.mark.parametrize("place", ["require_writable", "write_bytes"])
def test_a_disk_that_takes_nothing_is_said_and_leaves_the_old_file(place, tmp_path, monkeypatch):
    def fails(path, *content):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    stand_in(monkeypatch, lambda: b"new")
    (tmp_path / "model.onnx").write_bytes(b"old")
    monkeypatch.setattr(onnx_file, place, fails)
    with pytest.raises(PermissionError, match=r"model\.onnx: you have no right to do so there\. "):
        export_onnx(small(), tmp_path / "model.onnx")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


# What follows needs the extra.


@pytest.fixture(scope="module")
def runtime():
    pytest.importorskip("onnxscript", reason="pip install 'mtlkit[export]'")
    return pytest.importorskip("onnxruntime", reason="pip install 'mtlkit[export]'")


class Twice(nn.Module):
    """A module of one's own: one logit for two tasks, and statistics of the batch in training."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(3), nn.Linear(3, 1)

    def forward(self, batch):
        z = self.linear(self.norm(batch.dense)).squeeze(1)
        return {"click": z, "purchase": z}


def of_a_name(name):
    return registry.make(name), lambda rows, seed: registry.table(name, rows, seed)


def trained():
    model, table = of_a_name("shared-bottom")
    fit(model, table(60, 0), epochs=1, batch_size=20, progress=False)
    return model.double(), table


def called_as_inside():
    """Tasks that have the names which an exporter gives, and sequences in other letters."""
    names = ("linear", "sigmoid", "val_0", "model.bottom.0.weight", "größe (m)", "点击", "rows")
    schema = Schema(
        tuple(Task(name) for name in names), (Categorical("user", 5),), (),
        (Sequence("浏览", size=5), Sequence("收藏", size=5)),
    )  # fmt: skip
    return SharedBottom(schema, **SMALL), lambda rows, seed: tiny.table(schema, rows, seed)


def constant():
    def table(rows, seed):
        return registry.table("constant", rows, seed)

    return Constant(table(60, 0)), table


def grown():
    model = registry.make("mmoe").extend(scenario="place 9")
    return model, lambda rows, seed: tiny.table(model.schema, rows, seed)


def looked_up():
    encoders = {"item": Lookup(torch.rand(6, 5), nn.Linear(5, 3))}
    inputs = partial(FieldEmbedding, pooling="sum", encoders=encoders)
    model = SharedBottom(registry.schema(), **registry.SIZES, inputs=inputs)
    return model, lambda rows, seed: tiny.table(model.schema, rows, seed)


def wrapped():
    schema = Schema((Task("click"), Task("purchase")), dense=(Dense("x", 3),))
    return wrap(Twice(), schema), lambda rows, seed: tiny.table(schema, rows, seed)


CASES = {name: partial(of_a_name, name) for name in registry.EVERY} | {
    "constant": constant,
    "trained, in double precision": trained,
    "called as inside": called_as_inside,
    "grown": grown,
    "looked up": looked_up,
    "wrapped": wrapped,
}


def with_lengths(table, *lengths):
    """The table with sequences of these lengths, all of entries that were never seen."""
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    none = (torch.zeros(sum(lengths), dtype=torch.int64), offsets)
    table.sequences = dict.fromkeys(table.sequences, none)
    return table


@pytest.mark.parametrize("case", CASES)
def test_onnx_runtime_gives_what_predict_gives(case, tmp_path, runtime, recwarn, caplog, capfd):
    model, table = CASES[case]()
    capfd.readouterr(), recwarn.clear(), caplog.clear()
    path = export_onnx(model, tmp_path / "model.onnx")
    told = [str(w.message) for w in recwarn], [r for r in caplog.records if r.levelname != "DEBUG"]
    assert (capfd.readouterr(), told) == (("", ""), ([], []))
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert b"stack_trace" not in path.read_bytes() and b".py" not in path.read_bytes()

    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [x.name for x in session.get_inputs()] == list(input_names(model.schema))
    assert [x.name for x in session.get_outputs()] == list(model.schema.task_names)
    assert {x.shape[0] for x in session.get_outputs()} == {"rows"}
    model.eval()
    tables = [table(rows, rows) for rows in (1, 2, 7, 100)]
    tables += [with_lengths(table(3, 3), 0, 0, 0), with_lengths(table(3, 4), 0, 700, 0)]
    for rows in tables:
        if rows.categorical.shape[1]:
            rows.categorical[0] = 0
        rows.scenario[-1] = rows.schema.unknown_scenario
        expected = model.predict(tiny.all_rows(rows))
        found = session.run(list(expected), served_inputs(model.schema, rows))
        for values, right in zip(found, expected.values(), strict=True):
            np.testing.assert_allclose(values, right.numpy(), rtol=1e-4, atol=1e-5)
    assert capfd.readouterr() == ("", "")  # the file gives ONNX Runtime nothing to warn of


@pytest.mark.usefixtures("runtime")
def test_a_step_without_a_word_in_onnx_is_named(tmp_path):
    module = nn.Sequential(nn.Linear(3, 1))
    module.forward = lambda batch: torch.special.i1e(module[0](batch.dense))
    with pytest.raises(SchemaError) as error:
        export_onnx(wrap(module, Schema((Task("click"),), dense=(Dense("x", 3),))), tmp_path / "m")
    (line,) = str(error.value).splitlines()
    assert line.startswith("Sequential cannot be exported: its step prims.bessel_i1e.default has ")
    assert line.endswith("(mtlkit.models.export.export_served).") and not list(tmp_path.iterdir())


BEFORE = """
import sys
sys.modules["torch"] = sys.modules["mtlkit"] = None  # an import of either fails
import numpy as np
import onnxruntime
"""
AFTER = """
np.savez("answers.npz", *answers)
"""


@pytest.mark.usefixtures("runtime")
def test_the_docstrings_example_works_where_neither_torch_nor_mtlkit_is(tmp_path, monkeypatch):
    model, table = registry.make("esmm"), registry.table(rows=9)
    lines = inspect.cleandoc(export_onnx.__doc__).splitlines()
    code = "\n".join(line[4:] for line in lines if line.startswith("    "))
    here, alone = code[: code.index("session")], code[code.index("session") :]
    monkeypatch.chdir(tmp_path)
    exec(here, {"export_onnx": export_onnx, "served_inputs": served_inputs, "np": np,
                "model": model, "table": table})  # fmt: skip
    subprocess.run([sys.executable, "-c", BEFORE + alone + AFTER], check=True, timeout=120)
    found, expected = np.load("answers.npz"), model.eval().predict(tiny.all_rows(table))
    for values, task in zip(found.values(), ("click", "purchase"), strict=True):
        np.testing.assert_allclose(values, expected[task].numpy(), rtol=1e-4, atol=1e-5)
