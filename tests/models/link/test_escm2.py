"""ESCM2: the counterfactual losses, and where their gradients go."""

import pytest
import torch
import torch.nn.functional as F

from mtlkit.models import ESCM2
from tests import chains, tiny
from tests.chains import NETWORK, moved

KINDS = [
    {"method": "ipw"},
    {"method": "dr"},
    {"method": "dr", "imputation": "label"},
]


class Leaky(ESCM2):
    """The published mistake: the gradient flows into the propensity."""

    def propensity(self, log_p):
        return log_p.exp().clamp(min=self.clip)


def make(kind=ESCM2, names=("click", "purchase"), rows=40, **options):
    schema = chains.schema(*names)
    batch = tiny.all_rows(chains.table(schema, rows, complete=True))
    return kind(schema, NETWORK, **options), batch


def purchase_gradients(model, batch):
    model.zero_grad(set_to_none=True)
    model.losses(model(batch), batch)[1].backward()


@pytest.mark.parametrize("options", KINDS)
def test_the_conversion_loss_does_not_reach_the_click_tower(options):
    model, batch = make(joint_weight=0.0, **options)
    purchase_gradients(model, batch)
    assert not moved(model.task_parameters("click"))
    assert moved(model.network.towers[1].parameters())
    assert moved(e.table for e in model.embeddings())
    leaky, batch = make(Leaky, joint_weight=0.0, **options)
    purchase_gradients(leaky, batch)
    assert moved(leaky.task_parameters("click"))  # so the test above can fail


def test_the_joint_loss_does_reach_the_click_tower():
    model, batch = make(cvr_weight=0.0)
    purchase_gradients(model, batch)
    assert moved(model.task_parameters("click"))


def test_ipw_is_the_papers_mean_plus_esmms_loss():
    model, batch = make(cvr_weight=0.7, joint_weight=0.3, rows=100)
    logits = model(batch)
    model.clip = clip = float(logits["click"].detach().sigmoid().median())  # both sides of it
    ctr, cvr = logits["click"].sigmoid(), logits["purchase"].sigmoid()
    click, bought = batch.labels.unbind(1)
    error = -(bought * cvr.log() + (1 - bought) * (1 - cvr).log())
    assert (ctr < clip).any() and (ctr > clip).any()
    ipw = (click * error / ctr.clamp(min=clip)).mean()
    joint = F.binary_cross_entropy(ctr * cvr, bought)
    torch.testing.assert_close(model.losses(logits, batch)[1], 0.7 * ipw + 0.3 * joint)


@pytest.mark.parametrize("imputation", ["error", "label"])
def test_dr_is_the_papers_mean_with_its_imputation_loss(imputation):
    model, batch = make(method="dr", imputation=imputation, joint_weight=0.0, imputation_weight=0.5)
    logits = model(batch)
    ctr, cvr = logits["click"].sigmoid(), logits["purchase"].sigmoid()
    click, bought = batch.labels.unbind(1)
    error = -(bought * cvr.log() + (1 - bought) * (1 - cvr).log())
    head = logits[f"purchase imputed {imputation}"]
    guess = (1 + head.exp()).log()
    if imputation == "label":
        guess = -(head.sigmoid() * cvr.log() + (1 - head.sigmoid()) * (1 - cvr).log())
    dr = (guess + click * (error - guess) / ctr).mean()
    miss = (click * (error - guess) ** 2 / ctr).mean()
    torch.testing.assert_close(model.losses(logits, batch)[1], dr + 0.5 * miss)


def gradients(model, batch):
    """Gradients of the purchase loss on the conversion tower and on the imputation tower."""
    purchase_gradients(model, batch)

    def flat(tower):
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in tower.parameters()]
        return torch.cat([g.flatten() for g in grads])

    return [flat(tower) for tower in model.network.towers[1:3]]


def test_with_an_imputed_error_the_conversion_tower_learns_as_with_ipw():
    model, batch = make(method="dr", joint_weight=0.0)
    dr, imputing = gradients(model, batch)
    model.method = "ipw"
    ipw, _ = gradients(model, batch)
    torch.testing.assert_close(dr, ipw)
    assert imputing.abs().sum() > 0


def test_with_an_imputed_label_the_conversion_tower_learns_on_rows_without_a_click():
    model, batch = make(method="dr", imputation="label", joint_weight=0.0)
    z = {k: v.detach().requires_grad_() for k, v in model(batch).items()}
    model.losses(z, batch)[1].backward()
    assert (z["purchase"].grad != 0).all()
    assert torch.equal(z["purchase imputed label"].grad != 0, batch.observed[:, 1])
    assert z["click"].grad is None or (z["click"].grad == 0).all()


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize("imputation", ["error", "label"])
def test_the_imputation_head_learns_from_the_imputation_loss_alone(imputation, weight):
    model, batch = make(method="dr", imputation=imputation, imputation_weight=weight)
    learning, imputing = gradients(model, batch)
    assert bool(imputing.abs().sum() > 0) == (weight > 0)
    model.imputation_weight = 5.0  # which the conversion tower does not feel
    torch.testing.assert_close(gradients(model, batch)[0], learning)


@pytest.mark.parametrize("options", KINDS[:2])
def test_no_click_in_the_batch_gives_no_nan_and_the_conversion_tower_no_gradient(options):
    model, batch = make(joint_weight=0.0, **options)
    batch.labels[:], batch.observed[:] = 0.0, torch.tensor([True, False])
    losses = model.losses(model(batch), batch)
    assert losses.isfinite().all()
    if options["method"] == "ipw":
        assert losses[1] == 0
    if losses[1].requires_grad:
        losses[1].backward()
    assert not moved(model.parameters())


@pytest.mark.parametrize("options", KINDS)
def test_extreme_logits_give_finite_losses_and_gradients(options):
    model, batch = make(**options)
    z = {k: torch.full((40,), 40.0, requires_grad=True) for k in model(batch)}
    with torch.no_grad():
        for value in z.values():
            value[::2] = -40.0
    losses = model.losses(z, batch)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert all(v.grad.isfinite().all() for v in z.values() if v.grad is not None)


def test_a_return_is_weighed_by_the_probability_of_the_purchase():
    names = ("click", "purchase", "return")
    model, batch = make(names=names, joint_weight=0.0, clip=0.01, rows=100)
    logits = model(batch)
    bought, back = batch.labels[:, 1], batch.labels[:, 2]
    e = logits["click"].sigmoid() * logits["purchase"].sigmoid()
    p = logits["return"].sigmoid()
    error = -(back * p.log() + (1 - back) * (1 - p).log())
    torch.testing.assert_close(model.losses(logits, batch)[2], (bought * error / e).mean())


@pytest.mark.parametrize(
    "options",
    [{"method": "magic"}, {"imputation": "magic"}, {"clip": 0.0}, {"clip": 2.0},
     {"cvr_weight": -1.0}],
)  # fmt: skip
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError):
        ESCM2(chains.schema(), **options)


def test_losses_say_which_helper_output_is_missing():
    model, batch = make(method="dr")
    logits = {name: z for name, z in model(batch).items() if name in model.schema.task_names}
    with pytest.raises(KeyError, match="purchase imputed error"):
        model.losses(logits, batch)
