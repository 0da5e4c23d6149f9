"""Models as served: plain tensors in, what predict gives out, at any number of rows."""

import logging
import warnings

import pytest
import torch
from torch import nn

from mtlkit.data import Join
from mtlkit.models import SharedBottom, Trees, wrap
from mtlkit.models.export import (
    Served,
    export_served,
    input_names,
    quiet,
    served_inputs,
)
from mtlkit.schema import Categorical, Dense, Schema, SchemaError, Sequence, Task
from tests import tiny
from tests.models import registry

SMALL = {"embedding_dim": 4, "hidden": (8,), "tower": (4,)}


def batch_of(name, rows, seed):
    """Rows with id 0, an unknown scenario, empty sequences and missing labels."""
    batch = tiny.all_rows(registry.table(name, rows, seed, few=True))
    if batch.categorical.shape[1]:
        batch.categorical[0] = 0
    return batch


def tensors(schema, batch):
    return [torch.from_numpy(column) for column in served_inputs(schema, batch).values()]


@pytest.mark.parametrize("name", registry.EVERY)
def test_every_model_is_served_as_it_predicts_at_any_number_of_rows(name):
    model = registry.make(name, few=True)
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
    model = registry.make("shared-bottom", few=True)
    served, table = export_served(model).module(), registry.table(rows=4, few=True)
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
    "sequences": Schema(
        (Task("点击"),), sequences=(Sequence("浏览", size=5), Sequence("收藏", size=5))
    ),
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


def test_a_table_gives_the_inputs_of_all_its_rows():
    table = registry.table(rows=5)
    of_batch = served_inputs(table.schema, tiny.all_rows(table))
    of_table = served_inputs(table.schema, table)
    assert list(of_batch) == list(of_table) == list(input_names(table.schema))
    assert all((of_batch[name] == of_table[name]).all() for name in of_batch)


def test_what_has_no_program_is_refused():
    table = tiny.learnable(20)
    with pytest.raises(SchemaError, match=r"Trees cannot be exported: trees are no network\. Pick"):
        export_served(Trees(table.schema))
    join = Join({"a": table, "b": table})
    told = "SharedBottom cannot be exported: it reads several tables. Train a model on the one"
    with pytest.raises(SchemaError, match=told):
        export_served(SharedBottom(join.schema, **SMALL))
    with pytest.raises(SchemaError, match=r"Linear is no model of tasks: .*wrap"):
        export_served(nn.Linear(2, 2))


class Odd(nn.Module):
    """A module of one's own with a step that depends on more than tensors."""

    def __init__(self, step):
        super().__init__()
        self.linear, self.step = nn.Linear(3, 1), step

    def forward(self, batch):
        return self.step(self.linear(batch.dense), batch)


STEPS = {
    "a branch": (lambda z, batch: z + 1 if z.sum() > 0 else z, "data-dependent"),
    "a number": (lambda z, batch: z * float(z.mean()), "data-dependent"),
    "rows": (lambda z, batch: z + torch.zeros(len(batch), 1), "rows"),
    "numpy": (lambda z, batch: z * batch.dense.numpy().mean(), "numpy"),
    "a fault": (lambda z, batch: z + z.nothing, "nothing"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_module_that_is_more_than_tensors_is_refused_in_one_sentence(step):
    function, reason = STEPS[step]
    model = wrap(Odd(function), Schema((Task("click"),), dense=(Dense("x", 3),)))
    with pytest.raises(SchemaError) as error:
        export_served(model)
    (line,) = str(error.value).splitlines()
    assert line.startswith("Odd cannot be exported: ") and reason in line
    assert line.endswith("no branch on a value (torch.where), no number of rows but batch.rows, "
                         "no NumPy.")  # fmt: skip
    assert model.training


def test_outputs_of_another_shape_keep_their_own_sentence():
    model = wrap(Odd(lambda z, batch: z.T), Schema((Task("click"),), dense=(Dense("x", 3),)))
    with pytest.raises(SchemaError, match=r"^Odd returned one tensor of shape"):
        export_served(model)


def test_what_the_model_warns_of_is_heard_and_the_exporter_is_not(caplog):
    log = logging.getLogger("torch.onnx.some part")
    log.setLevel(logging.INFO)
    here = __name__
    with warnings.catch_warnings(record=True) as heard, quiet():
        warnings.simplefilter("always", append=True)
        for module in ("torch.onnx.utils", "copyreg", "onnx_ir", "torchless", here):
            warnings.warn_explicit(module, UserWarning, "file", 1, module)
        log.warning("torchvision is not installed")
        log.error("a fault")
        logging.getLogger("mine").warning("mine")
    assert [str(w.message) for w in heard] == ["torchless", here]
    assert [r.message for r in caplog.records] == ["a fault", "mine"]
    assert log.level == logging.INFO and logging.getLogger("torch.onnx").level < logging.ERROR
