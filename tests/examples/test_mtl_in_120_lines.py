"""The learner on one page is short, needs torch alone, and is the package's, number by number."""

import ast
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import mtlkit
from mtlkit import Categorical, Dense, Market, MMoE, Schema, Table, Task
from mtlkit.data.batch import epoch_order
from mtlkit.metrics import METRICS
from mtlkit.models import MultiTaskModel

ROOT = Path(__file__).parents[2]
PATH = ROOT / "examples" / "mtl_in_120_lines.py"
TEXT = PATH.read_text(encoding="utf-8")
page = SimpleNamespace(**runpy.run_path(str(PATH)))
EXACT = {"rtol": 1e-9, "atol": 1e-11}
ROUNDED = {"rtol": 1e-4, "atol": 1e-6}
PRECISIONS = pytest.mark.parametrize(
    ("dtype", "near"), [(torch.float64, EXACT), (torch.float32, ROUNDED)], ids=["64", "32"]
)


def drawn():
    """The page's own shop; 250 rows, so that batches of 64 and of 83 end with another size."""
    return page.shop(250, users=30, items=12)[:3]


def sparse():
    """The same with five purchase labels: most batches have none."""
    ids, numbers, labels = drawn()
    labels[labels[:, 1].isnan().logical_not().nonzero()[5:, 0], 1] = torch.nan
    return ids, numbers, labels


def market():
    """The package's shop: 13 fields, nine numbers, three tasks."""
    table = Market("tiny", seed=1).impressions(250).select_tasks(["click", "cart", "purchase"])
    return table.categorical, table.dense, table.labels.where(table.observed, torch.nan)


SHOPS = {"drawn": drawn, "sparse": sparse, "market": market}
WEIGHTS = (0.7, 0.3, 2.0)


@pytest.fixture(params=SHOPS)
def columns(request):
    return SHOPS[request.param]()


def package_table(columns):
    """The page's three tensors as a table."""
    ids, numbers, labels = columns
    tasks = tuple(Task(f"task {k}", weight=w) for k, w in zip(range(labels.shape[1]), WEIGHTS))
    sizes = ids.amax(0).tolist()
    schema = Schema(
        tasks,
        tuple(Categorical(f"field {i}", size + 2) for i, size in enumerate(sizes)),
        tuple(Dense(f"number {i}") for i in range(numbers.shape[1])),
    )
    scenario = torch.zeros(len(ids), dtype=torch.int64)
    known = ~labels.isnan()
    return Table(schema, ids, numbers, {}, labels.nan_to_num(), known, scenario)


def on_the_page(model, of=lambda parameter: parameter.detach()):
    """The parameters of the package's MMoE, or ``of`` them, under the names that the page gives."""
    sizes = [field.size for field in model.schema.categorical]
    tables = of(model.embedding.table).split(sizes)
    found = {f"embeddings.{i}.weight": rows for i, rows in enumerate(tables)}
    layers = zip(model.experts.weights, model.experts.biases)
    for place, (weight, bias) in enumerate(layers):
        for n in range(model.experts.experts):
            found[f"experts.{n}.{2 * place}.weight"] = of(weight)[n].T
            found[f"experts.{n}.{2 * place}.bias"] = of(bias)[n, 0]
    for k, gate in enumerate(model.gates):
        found[f"gates.{k}.weight"] = of(gate.linear.weight)
    return found | {f"towers.{name}": of(p) for name, p in model.towers.named_parameters()}


def twins(columns, dtype=torch.float64):
    """The package's MMoE, its table, and the page's MMoE with the same weights."""
    table = package_table(columns)
    theirs = MMoE(table.schema, experts=3)
    torch.nn.init.normal_(theirs.embedding.table, std=0.3)  # near 0 a swapped field is hardly seen
    for layer in theirs.gates:
        torch.nn.init.normal_(layer.linear.weight, std=0.3)
    theirs.to(dtype)
    sizes = tuple(field.size for field in table.schema.categorical)
    mine = page.MMoE(sizes, columns[1].shape[1], tasks=columns[2].shape[1], experts=3).to(dtype)
    mine.load_state_dict(on_the_page(theirs))
    return theirs, table, mine


def batches_of(table, size, epochs=1, seed=0):
    """Row numbers of the batches that ``fit`` takes."""
    orders = [epoch_order(len(table), shuffle=True, seed=seed, epoch=e) for e in range(epochs)]
    return [rows for order in orders for rows in order.split(size)]


def slopes(loss, model):
    """The gradient of a loss on every parameter, 0 where it does not reach."""
    return torch.autograd.grad(
        loss, [*model.parameters()], retain_graph=True, allow_unused=True, materialize_grads=True
    )


def same(found, expected, near):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **near, msg=lambda m, n=name: f"{n}: {m}")


@PRECISIONS
def test_logits_are_equal(columns, dtype, near):
    theirs, table, mine = twins(columns, dtype)
    for rows in (torch.arange(len(table)), torch.tensor([7])):
        logits = mine(columns[0][rows], columns[1][rows].to(dtype))
        expected = theirs(table.batch(rows))
        torch.testing.assert_close(logits, torch.stack([*expected.values()], dim=1), **near)


@PRECISIONS
def test_losses_with_missing_labels_and_all_gradients_are_equal(columns, dtype, near):
    ids, numbers, labels = columns
    theirs, table, mine = twins(columns, dtype)
    without = 0
    for rows in [*batches_of(table, 16), torch.tensor([3])]:
        batch = table.batch(rows)
        logits = mine(ids[rows], numbers[rows].to(dtype))
        losses = page.task_losses(logits, labels[rows].to(dtype))
        expected = theirs.losses(theirs(batch), batch)
        torch.testing.assert_close(losses, expected, **near)
        for k, loss in enumerate(losses):
            gradients = dict(zip(dict(mine.named_parameters()), slopes(loss, mine)))
            of_theirs = dict(zip(theirs.parameters(), slopes(expected[k], theirs)))
            same(gradients, on_the_page(theirs, of_theirs.get), near)
            if labels[rows, k].isnan().all():
                without += 1
                assert loss == 0 and not any(bool(g.any()) for g in gradients.values())
    assert without > 0


PLAIN = {"device": "cpu", "precision": "fp32", "progress": False}
RUNS = {  # options of fit: epochs, batch_size, learning_rate, row_prior
    "as practised": (3, 64, 4e-3, 0.07),
    "a strong prior": (2, 83, 8e-3, 0.01),
    "hardly a prior": (2, 250, 1e-3, 50.0),
}


@pytest.mark.parametrize("run", RUNS)
def test_training_ends_with_the_weights_of_fit(columns, run):
    epochs, size, rate, deviation = RUNS[run]
    theirs, table, mine = twins(columns)
    before = on_the_page(theirs, lambda p: p.detach().clone())
    batches = batches_of(table, size, epochs, seed=5)
    page.fit(mine, in_double(columns), batches, WEIGHTS, rate, deviation)
    mtlkit.fit(
        theirs, table, epochs=epochs, batch_size=size, learning_rate=rate, row_prior=deviation,
        seed=5, **PLAIN,
    )  # fmt: skip
    assert theirs.step == len(batches)
    after = on_the_page(theirs)
    same(dict(mine.named_parameters()), after, {"rtol": 1e-6, "atol": 1e-8})
    assert all((after[name] - before[name]).abs().max() > 1e-3 for name in after)


def test_training_in_float32_ends_near_the_weights_of_fit(columns):
    theirs, table, mine = twins(columns, torch.float32)
    page.fit(mine, columns, batches_of(table, 64), WEIGHTS)
    mtlkit.fit(theirs, table, epochs=1, batch_size=64, **PLAIN)
    same(dict(mine.named_parameters()), on_the_page(theirs), {"rtol": 1e-3, "atol": 1e-4})


def in_double(columns):
    return tuple(c.double() if c.is_floating_point() else c for c in columns)


NAMES = ("auc", "log_loss", "pcoc", "ece")
NEARLY = {"rel": 1e-9, "abs": 1e-12}


@pytest.mark.parametrize("spread", [8.0, 0.0], ids=["far apart", "all equal"])
def test_metrics_of_a_model_are_those_of_evaluate(columns, spread):
    theirs, table, mine = twins(columns)
    for tower in theirs.towers:
        tower[-1].weight.data *= spread
    mine.load_state_dict(on_the_page(theirs))
    ids, numbers, labels = in_double(columns)
    found = page.evaluate(mine(ids, numbers).sigmoid(), labels)
    expected = mtlkit.evaluate(theirs, table)
    for row, task in zip(found.tolist(), table.schema.task_names):
        assert row == pytest.approx([expected[task][name] for name in NAMES], **NEARLY)


@pytest.mark.parametrize("decimals", [0.8, 1, 2, 3])
def test_metrics_of_tied_chances_are_the_packages(decimals):
    *_, labels, chances = page.shop(1_234)
    steps = 10**decimals
    chances = ((chances.double() * steps).round() / steps).clamp(0.001, 0.999)
    for row, p, y in zip(page.evaluate(chances, labels).tolist(), chances.T, labels.T):
        known = ~y.isnan()
        expected = [METRICS[name](y[known].numpy(), p[known].numpy()) for name in NAMES]
        assert row == pytest.approx(expected, **NEARLY)


def test_a_purchase_is_known_exactly_where_there_was_a_click():
    *_, labels, chances = page.shop(20_000)
    assert torch.equal(labels[:, 1].isnan(), labels[:, 0] == 0)
    assert 0.1 < labels[:, 0].mean() < 0.3
    observed = torch.tensor([labels[:, 0].mean(), labels[:, 1].nanmean()])
    expected = torch.stack([chances[:, 0].mean(), chances[labels[:, 0] == 1, 1].mean()])
    torch.testing.assert_close(observed, expected, rtol=0.1, atol=0)


def test_it_is_at_most_120_lines_of_torch_alone():
    lines = TEXT.splitlines()
    assert len(lines) <= 120 and max(map(len, lines)) <= 100
    imported = set()
    for node in ast.walk(ast.parse(TEXT)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    assert imported == {"torch"}
    assert not any(
        isinstance(c, type) and issubclass(c, MultiTaskModel) for c in vars(page).values()
    )


def test_its_six_steps_are_those_of_fit():
    steps = r"# (\d\. \w+(?: losses)?)"
    loop = (ROOT / "mtlkit" / "train" / "loop.py").read_text(encoding="utf-8")
    found = re.findall(steps, TEXT)
    assert [step[0] for step in found] == list("123456")
    assert set(found) <= set(re.findall(steps, loop))


@pytest.mark.parametrize("readme", ["README.md", "examples/README.md"])
def test_the_readmes_lead_to_it(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    (link,) = set(re.findall(r"\]\(([\w/]*mtl_in_120_lines\.py)\)", text))
    assert (ROOT / readme).parent / link == PATH


@pytest.mark.slow
def test_it_runs_and_what_it_learned_is_below_what_is_true(capsys):
    runpy.run_path(str(PATH), run_name="__main__")
    header, *rows = capsys.readouterr().out.splitlines()
    assert "AUC" in header and len(rows) == 4
    auc = {tuple(row.split()[:2]): float(row.split()[2]) for row in rows}
    for task in ("click", "purchase"):
        assert 0.72 < auc[task, "learned"] < auc[task, "true"] < 0.9
