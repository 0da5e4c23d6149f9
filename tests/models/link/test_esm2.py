"""ESM2: every path from click to purchase, added up."""

import itertools
from decimal import Decimal, localcontext

import pytest
import torch

from mtlkit import Market, evaluate, fit
from mtlkit.models import ESM2
from mtlkit.models.link.esm2 import through
from mtlkit.schema import SchemaError, Task
from mtlkit.train import seeded
from tests import chains, tiny
from tests.chains import NETWORK, moved


def make(via="cart"):
    schema = chains.schema()
    batch = tiny.all_rows(chains.table(schema, 40, complete=True))
    return ESM2(schema, NETWORK, via={"purchase": via}), batch


def test_purchase_is_the_sum_over_all_paths():
    model, batch = make()
    model = model.double()
    logits = model(batch)
    cart = logits["cart"].sigmoid()
    yes, no = logits["purchase with cart"].sigmoid(), logits["purchase without cart"].sigmoid()
    conditional = sum(
        (cart if took else 1 - cart) * (yes if took else no) for took in (True, False)
    )
    torch.testing.assert_close(logits["purchase"].sigmoid(), conditional)
    joint = model.predict_joint(batch)["purchase"]
    torch.testing.assert_close(joint, logits["click"].sigmoid() * conditional)
    # P(click) P(cart | click): the paper's second loss
    ctavr = logits["click"].sigmoid() * cart
    known, label = batch.observed[:, 0], batch.labels[:, 0] * batch.labels[:, 1]
    expected = -(label * ctavr.log() + (1 - label) * (1 - ctavr).log())[known].mean()
    torch.testing.assert_close(model.losses(logits, batch)[1], expected)


@pytest.mark.parametrize("actions", [1, 2, 3])
def test_any_of_several_actions_equals_enumeration(actions):
    z = [3 * torch.randn(50, dtype=torch.float64) for _ in range(actions)]
    yes, no = 3 * torch.randn(2, 50, dtype=torch.float64)
    expected = torch.zeros(50, dtype=torch.float64)
    for taken in itertools.product((True, False), repeat=actions):
        way = torch.ones(50, dtype=torch.float64)
        for t, a in zip(taken, z, strict=True):
            way = way * (a.sigmoid() if t else 1 - a.sigmoid())
        expected += way * (yes if any(taken) else no).sigmoid()
    torch.testing.assert_close(through(z, yes, no).sigmoid(), expected)


def test_the_logit_is_right_to_float32_at_logits_of_40():
    grid = list(itertools.product((-40.0, -17.0, 0.0, 2.0, 40.0), repeat=3))
    z = torch.tensor(grid, dtype=torch.float32, requires_grad=True)
    a, yes, no = z.unbind(1)
    logit = through([a], yes, no)
    logit.sum().backward()
    assert z.grad.isfinite().all()
    with localcontext() as context:
        context.prec = 60
        expected = []
        for row in grid:
            p, y, n = (1 / (1 + (-Decimal(v)).exp()) for v in row)
            total = p * y + (1 - p) * n
            expected.append(float((total / (1 - total)).ln()))
    torch.testing.assert_close(logit.detach(), torch.tensor(expected), rtol=1e-6, atol=2e-6)


def test_the_purchase_loss_reaches_click_cart_and_both_heads():
    model, batch = make()
    model.losses(model(batch), batch)[2].backward()
    for name in ("click", "cart", "purchase"):
        assert moved(model.task_parameters(name))
    for index in (2, 5):  # the towers of "with cart" and "without cart"
        assert moved(model.network.towers[index].parameters())
    assert not moved(model.task_parameters("return"))
    own = {id(p) for p in model.task_parameters("purchase")}
    assert {id(p) for p in model.network.towers[5].parameters()} <= own


def test_several_actions_are_named_in_the_outputs():
    schema = chains.schema("click", "cart", "purchase")
    schema = schema.with_tasks((*schema.tasks, Task("wish", given="click")))
    model = ESM2(schema, NETWORK, via={"purchase": ("cart", "wish")})
    batch = tiny.all_rows(chains.table(schema))
    assert "purchase without cart or wish" in model(batch)
    assert model.losses(model(batch), batch).isfinite().all()


def test_cart_and_wish_list_of_the_shop_are_summed_over_all_four_cases():
    """The shop's own wish list; after training, conversions are as frequent as in the log."""
    shop = Market("tiny", seed=0, wish_rate=0.3, click_rate=0.4, purchase_rate=0.2)
    table = shop.impressions(6000).select_tasks(["click", "cart", "purchase", "wish"])
    with seeded(0):
        model = ESM2(table.schema, NETWORK, via={"purchase": ("cart", "wish")})
    before = evaluate(model, table, joint=True)["purchase"]
    fit(model, table, epochs=6, batch_size=256, learning_rate=0.01, progress=False)
    batch = table.batch(torch.arange(500))
    chance = {name: logit.double().sigmoid() for name, logit in model(batch).items()}
    total = 0
    for cart, wish in itertools.product((True, False), repeat=2):
        path = chance["cart"] if cart else 1 - chance["cart"]
        path = path * (chance["wish"] if wish else 1 - chance["wish"])
        end = "purchase with cart or wish" if cart or wish else "purchase without cart or wish"
        total = total + path * chance[end]
    torch.testing.assert_close(chance["purchase"], total, rtol=1e-5, atol=1e-7)
    after = evaluate(model, table, joint=True)["purchase"]
    assert after["joint_log_loss"] < 0.75 * before["joint_log_loss"]
    assert after["joint_pcoc"] == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(
    "via",
    [{"purchase": "return"}, {"purchase": "dwell"}, {"click": "cart"}, {"purchase": ()},
     {"purchase": "cart", "cart": "purchase"}, {"dwell": "cart"}, {"purchase": "nothing"}],
)  # fmt: skip
def test_an_action_that_does_not_fit_is_refused(via):
    with pytest.raises(SchemaError):
        ESM2(chains.schema(), via=via)
