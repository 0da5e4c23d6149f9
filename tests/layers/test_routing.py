"""Layers of single scenarios: each row meets its own weights, however the rows are routed."""

import copy
import pickle
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.export import Dim, export
from torch.library import opcheck
from torch.utils.flop_counter import FlopCounterMode

from mtlkit.layers import MLP, Route, use_route
from mtlkit.layers.routing import segment_matmul, segment_outer
from mtlkit.models import ScenarioTowers, onnx_file
from mtlkit.models.export import export_served, served_inputs
from tests import tiny
from tests.models import registry

FORMS = ("segments", "gathered")
SETS = 12
BATCHES = {
    "many rows": [10, 2, 0, 11, 2, 2, 10, 1, 7, 11, 0],  # no row of 3, 4, 5, 6, 8 and 9
    "one scenario": [5, 5, 5],
    "one row": [9],
    "no row": [],
}


@pytest.fixture(autouse=True)
def fixed_numbers():
    torch.manual_seed(0)


@pytest.fixture(params=FORMS)
def form(request):
    with use_route(request.param):
        yield request.param


def ids(rows):
    return torch.tensor(rows, dtype=torch.int64)


class Layers(nn.Module):
    """Linear layers of each set, on rows in the route's order, with a ReLU between two."""

    def __init__(self, sets, *sizes):
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for inputs, outputs in pairwise(sizes):
            self.weights.append(torch.randn(sets, inputs, outputs))
            self.biases.append(torch.randn(sets, outputs))

    def forward(self, x, route):
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = route.linear(x.relu() if number else x, weight, bias)
        return x


def through(layer, x, scenario, sets=SETS):
    """Rows in the batch's order -> the layer's outputs, in the batch's order."""
    route = Route(scenario, sets)
    return route.restore(layer(route.sort(x), route))


def slow(x, scenario, weight, bias):
    """Row by row, (batch, out)."""
    rows = [x[r] @ weight[s] + bias[s] for r, s in enumerate(scenario.tolist())]
    return torch.stack(rows) if rows else (x @ weight[0])[:0]


@pytest.mark.parametrize("batch", BATCHES)
def test_a_layer_equals_a_loop_over_rows_in_outputs_and_all_gradients(form, batch):
    scenario = ids(BATCHES[batch])
    x = torch.randn(len(scenario), 5, dtype=torch.float64, requires_grad=True)
    layer = Layers(SETS, 5, 3).double()
    weight, bias = layer.parameters()
    y = through(layer, x, scenario)
    expected = slow(x, scenario, weight, bias)
    assert y.shape == (len(scenario), 3)
    torch.testing.assert_close(y, expected)
    inputs, weights = [x, weight, bias], torch.randn_like(y)
    found = torch.autograd.grad((y * weights).sum(), inputs)  # none of them is None
    right = torch.autograd.grad(
        (expected * weights).sum(), inputs, allow_unused=True, materialize_grads=True
    )
    torch.testing.assert_close(found, right)
    absent = [s for s in range(SETS) if s not in BATCHES[batch]]
    assert not found[1][absent].any() and not found[2][absent].any()


def test_gradients_are_those_of_finite_differences(form):
    scenario = ids([2, 0, 2, 3])
    make = {"dtype": torch.float64, "requires_grad": True}
    x, weight, bias = (torch.randn(*s, **make) for s in ((4, 3), (4, 3, 2), (4, 2)))
    route = Route(scenario, 4)
    assert torch.autograd.gradcheck(lambda *t: route.linear(*t), (x, weight, bias))
    low = [torch.randn(*s, **make) for s in ((4, 3, 1), (4, 1, 2))]
    assert torch.autograd.gradcheck(lambda x, a, b: route.linear(route.linear(x, a), b), (x, *low))


def test_a_low_rank_layer_is_two_calls(form):
    scenario = ids(BATCHES["many rows"])
    x, a, b = torch.randn(len(scenario), 6), torch.randn(SETS, 6, 2), torch.randn(SETS, 2, 4)
    route = Route(scenario, SETS)
    y = route.restore(route.linear(route.linear(route.sort(x), a), b))
    torch.testing.assert_close(y, slow(x, scenario, a @ b, torch.zeros(SETS, 4)))


def test_a_scenario_is_a_number_not_a_text(form):
    # as texts "10" and "11" stand before "2"
    layer = Layers(SETS, 1, 1)
    with torch.no_grad():
        layer.weights[0].copy_(torch.arange(SETS).reshape(SETS, 1, 1))
        layer.biases[0].zero_()
    scenario = torch.randperm(SETS)
    assert through(layer, torch.ones(SETS, 1), scenario).squeeze(1).tolist() == scenario.tolist()


def test_permuting_rows_permutes_outputs(form):
    scenario = torch.randint(0, SETS, (40,))
    x, order = torch.randn(40, 8), torch.randperm(40)
    layer = Layers(SETS, 8, 4, 2)
    y = through(layer, x, scenario)
    torch.testing.assert_close(through(layer, x[order], scenario[order]), y[order])
    route = Route(scenario, SETS)
    assert torch.equal(route.restore(route.sort(x)), x)
    assert torch.equal(route.sort(scenario), route.ids)


def test_rows_of_a_scenario_keep_their_order():
    scenario = ids([1, 0, 1, 0, 1] * 20)
    places = Route(scenario, 2).sort(torch.arange(100))
    assert torch.equal(places[:40].sort()[0], places[:40])
    assert torch.equal(places[40:].sort()[0], places[40:])


def test_every_row_is_multiplied_once_and_absent_scenarios_never(monkeypatch):
    products = []
    plain = torch.mm
    monkeypatch.setattr(
        torch, "mm", lambda a, b, **out: products.append(a.shape) or plain(a, b, **out)
    )
    scenario = ids(BATCHES["many rows"])
    through(Layers(SETS, 5, 3), torch.randn(11, 5), scenario)
    assert sum(rows for rows, _ in products) == 11
    assert len(products) == len(set(BATCHES["many rows"]))


def test_a_set_s_layers_equal_an_mlp_with_its_weights(form):
    layer, scenario = Layers(4, 6, 5, 3, 2), torch.randint(0, 4, (20,))
    x = torch.randn(20, 6)
    y = through(layer, x, scenario, 4)
    for s in range(4):
        own = MLP(6, (5, 3), outputs=2)
        linears = [m for m in own if isinstance(m, nn.Linear)]
        for linear, weight, bias in zip(linears, layer.weights, layer.biases, strict=True):
            linear.weight.data, linear.bias.data = weight[s].data.T, bias[s].data
        torch.testing.assert_close(y[scenario == s], own(x[scenario == s]))


def test_segments_and_gathered_weights_give_the_same():
    layer, scenario = Layers(SETS, 6, 5, 4, 3).double(), torch.randint(0, 9, (30,))
    x = torch.randn(30, 6, dtype=torch.float64, requires_grad=True)
    found = []
    for form in FORMS:
        with use_route(form):
            y = through(layer, x, scenario)
        found.append([y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])])
    torch.testing.assert_close(*found)


# Where programs are traced


class Routed(nn.Module):
    """A network that sorts once for two layers."""

    def __init__(self, sets=4):
        super().__init__()
        self.sets = sets
        self.layer = Layers(sets, 6, 5, 2)

    def forward(self, x, scenario):
        return through(self.layer, x, scenario, self.sets)


def test_an_exported_program_takes_any_number_of_rows(form):
    network, rows = Routed(), Dim("rows")
    example = (torch.randn(3, 6), ids([0, 3, 0]))
    program = export(network, example, dynamic_shapes=({0: rows}, {0: rows})).module()
    for count in (0, 1, 2, 3, 50):
        x, scenario = torch.randn(count, 6), torch.randint(0, 4, (count,))
        torch.testing.assert_close(program(x, scenario), network(x, scenario))
    with (
        pytest.raises(ValueError, match=r"outside 0 \.\. 3")
        if form == "segments"
        else (pytest.raises(IndexError))
    ):
        program(*[torch.randn(2, 6), ids([1, 4])])


def test_a_step_on_the_device_meta(form):
    network = Routed().to("meta")
    x = torch.randn(7, 6, device="meta", requires_grad=True)
    y = network(x, torch.zeros(7, dtype=torch.int64, device="meta"))
    y.sum().backward()
    assert y.shape == (7, 2) and y.device.type == "meta"
    for tensor in (x, *network.parameters()):
        assert tensor.grad.shape == tensor.shape and tensor.grad.device.type == "meta"


def test_torch_checks_the_operators():
    bounds = ids([0, 2, 2, 5])
    for dtype in (torch.float32, torch.float64):
        x = torch.randn(5, 4, dtype=dtype, requires_grad=True)
        weight = torch.randn(3, 4, 2, dtype=dtype, requires_grad=True)
        opcheck(segment_matmul, (x, weight, bounds))
        opcheck(segment_matmul, (x, weight.detach(), bounds))
        opcheck(segment_matmul, (x.detach()[:0], weight, bounds * 0))
        opcheck(segment_outer, (x.detach(), torch.randn(5, 2, dtype=dtype), bounds))


def test_torch_func_gives_gradients_of_single_rows_from_gathered_weights():
    network, scenario = Routed().double(), ids([3, 0, 3])
    x, weights = torch.randn(3, 6, dtype=torch.float64), dict(network.named_parameters())

    def rows(weights):
        return torch.func.functional_call(network, weights, (x, scenario)).sum(1)

    with pytest.raises(RuntimeError):  # segments are one operator, which torch.func refuses
        torch.func.jacrev(rows)(weights)
    with use_route("gathered"):
        found = torch.func.jacrev(rows)(weights)
    for r, value in enumerate(rows(weights)):
        right = torch.autograd.grad(value, list(weights.values()), retain_graph=True)
        torch.testing.assert_close([found[name][r] for name in weights], list(right))


def test_under_autocast_a_cpu_computes_in_float32_and_keeps_float64(form):
    network, scenario = Routed(), ids([3, 0, 3, 1])
    x = torch.randn(4, 6)
    exact = network(x, scenario)
    with torch.autocast("cpu", torch.bfloat16):
        y = network(x, scenario)
        half = network(x.to(torch.bfloat16), scenario)  # what a plain layer before it gives
        assert network.double()(x.double(), scenario).dtype == torch.float64
    assert y.dtype == half.dtype == torch.float32
    torch.testing.assert_close(y, exact)
    torch.testing.assert_close(half, exact, rtol=0.05, atol=0.05)
    network.float()
    with torch.autocast("cpu", torch.bfloat16):
        network(x.to(torch.bfloat16), scenario).sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in network.parameters())


def test_a_layer_is_copied_and_pickled(form):
    network, scenario = Routed(), ids([3, 0, 3, 1])
    x = torch.randn(4, 6)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(other(x, scenario), network(x, scenario))
        assert not {p.data_ptr() for p in other.parameters()} & {
            p.data_ptr() for p in network.parameters()
        }


# What is refused


@pytest.mark.parametrize("wrong", [-1, 4, 2**40])
@pytest.mark.parametrize("place", [0, 2])
def test_a_scenario_without_weights_is_refused(form, wrong, place):
    scenario = ids([1, 2, 0])
    scenario[place] = wrong
    with pytest.raises(ValueError, match=r"scenario id lies outside 0 \.\. 3: the route has 4"):
        Routed()(torch.randn(3, 6), scenario)


def test_bad_arguments_are_refused_in_a_sentence(form):
    with pytest.raises(ValueError, match=r"scenario must be whole numbers .*float32 \(3,\)"):
        Route(torch.zeros(3), 4)
    with pytest.raises(ValueError, match=r"scenario must be whole numbers .*int64 \(3, 1\)"):
        Route(torch.zeros(3, 1, dtype=torch.int64), 4)
    for sets in (3, 6):
        with pytest.raises(ValueError, match=f"weight has 4 sets, the route {sets}"):
            through(Layers(4, 2, 2), torch.zeros(1, 2), ids([0]), sets)


def test_the_form_of_routes_comes_back_after_a_block():
    scenario = ids([0])
    with (
        pytest.raises(ValueError, match="'segments' or 'gathered', not 'dense'"),
        use_route("dense"),
    ):
        pass
    with pytest.raises(KeyError), use_route("gathered"):
        with use_route("segments"):
            assert Route(scenario, 1).form == "segments"
        assert Route(scenario, 1).form == "gathered"
        raise KeyError
    assert Route(scenario, 1).form == "segments"


def test_operations_are_counted_as_those_of_one_network(form):
    network, scenario = Routed(), torch.randint(0, 4, (11,))
    x = torch.randn(11, 6, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        network(x, scenario).sum().backward()
    # forward, gradient of the rows, gradient of the weights
    assert counter.get_total_flops() == 3 * 2 * 11 * (6 * 5 + 5 * 2)


def test_a_program_for_onnx_has_no_operator_of_mtlkit_s_own(monkeypatch):
    model = ScenarioTowers(registry.schema(), **registry.SIZES)
    programs = []

    def keep(model):
        programs.append(export_served(model))
        raise InterruptedError

    monkeypatch.setattr(onnx_file, "export_served", keep)
    with pytest.raises(InterruptedError):
        onnx_file._converted(model)
    targets = {str(n.target) for n in programs[0].graph.nodes}
    assert not [t for t in targets if "mtlkit" in t or "sort" in t]
    assert any("mtlkit" in str(n.target) for n in export_served(model).graph.nodes)
    table = registry.table(rows=9)
    columns = [torch.from_numpy(c) for c in served_inputs(model.schema, table).values()]
    found = programs[0].module()(*columns)
    right = model.predict(tiny.all_rows(table)).values()
    torch.testing.assert_close(found, tuple(right), rtol=1e-5, atol=1e-5)
