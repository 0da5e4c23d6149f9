import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchjd.scalarization import FAMO as PeerFAMO

from mtlkit.balance.famo import EPSILON, FAMO
from mtlkit.balance.fixed import EqualWeights
from mtlkit.balance.scalarizations import LogSum
from mtlkit.models import SharedBottom
from mtlkit.schema import Schema, Task
from mtlkit.train import fit, seeded
from tests import tiny

SCHEMA = Schema((Task("click"), Task("dwell", "regression"), Task("purchase")))
OLD = torch.tensor([0.5, 2.0, 0.02], dtype=torch.float64)
three = st.lists(st.floats(0.01, 50.0), min_size=3, max_size=3)
three_xi = st.lists(st.floats(-3, 3), min_size=3, max_size=3)


class Remember:
    """In the place of SmallAdam: keeps the gradient and moves nothing."""

    gradient = None

    def step(self, x, gradient, where):
        self.gradient = gradient


def with_xi(xi, **options):
    rule = FAMO(**options)
    rule.xi = torch.as_tensor(xi, dtype=torch.float64).clone()
    return rule


@settings(max_examples=40, deadline=None)
@given(old=three, new=three, xi=three_xi)
def test_weights_and_the_step_of_xi_equal_autograd_through_softmax_and_log(old, new, xi):
    losses = torch.tensor(old, dtype=torch.float64, requires_grad=True)
    leaf = torch.tensor(xi, dtype=torch.float64, requires_grad=True)
    z = leaf.softmax(0)
    c = (z / (losses + EPSILON)).sum().detach()
    total = 3 * (z / c * (losses + EPSILON).log()).sum()
    (expected,) = torch.autograd.grad(total, losses, retain_graph=True)
    rule = with_xi(xi)
    rule.adam = Remember()
    torch.testing.assert_close(rule.weights(losses), expected)
    after = torch.tensor(new, dtype=torch.float64)
    improvement = (losses.detach() + EPSILON).log() - (after + EPSILON).log()
    (slope,) = torch.autograd.grad(z, leaf, grad_outputs=improvement)
    rule.after_step(after)
    torch.testing.assert_close(rule.adam.gradient, slope, rtol=1e-8, atol=1e-12)


def test_sixty_steps_equal_torchjds_with_torchs_adam():
    ours, peer = FAMO(0.1, 0.01), PeerFAMO(3, lr=0.1, weight_decay=0.01).double()
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        old, new = torch.rand(2, 3, generator=generator, dtype=torch.float64) + 0.05
        old.requires_grad_()
        peer(old).backward()
        torch.testing.assert_close(ours.weights(old), 3 * old.grad)  # theirs sum to 1
        peer.update(new)
        ours.after_step(new)
    torch.testing.assert_close(ours.xi, peer._w.detach())


def test_the_task_that_improves_least_gets_more_weight():
    rule = FAMO(0.1, 0.0)
    start = rule.weights(OLD)
    for _ in range(20):
        rule.weights(OLD)
        rule.after_step(OLD * torch.tensor([0.9, 0.99, 0.9]))  # dwell hardly moves
    assert rule.xi[1] > 0 > rule.xi[0]
    ratio = rule.weights(OLD) / start
    assert ratio[1] > ratio[0] and ratio[1] > ratio[2]


def test_c_divides_so_the_size_of_the_step_does_not_depend_on_the_size_of_the_losses():
    """With c as a factor the weights of losses 100 times as large would be 10 000 times smaller."""
    rule = with_xi([0.3, -0.2, 0.5])
    torch.testing.assert_close(rule.weights(OLD), rule.weights(100 * OLD), rtol=1e-5, atol=0)
    torch.testing.assert_close(float(rule.weights(OLD).sum()), 3.0)


def test_equal_xi_are_the_log_sum():
    expected = LogSum(rescale=True).weights(OLD)
    torch.testing.assert_close(FAMO().weights(OLD), expected, rtol=1e-5, atol=0)


def test_equal_improvements_move_nothing_but_the_decay():
    rule = with_xi([0.3, -0.2, 0.5], decay=0.0)
    rule.adam = Remember()
    rule.weights(OLD)
    rule.after_step(OLD * 0.9)
    torch.testing.assert_close(rule.adam.gradient, torch.zeros(3).double(), atol=1e-7, rtol=0)


def test_decay_pulls_xi_back_to_0():
    rule = with_xi([2.0, -2.0, 0.0], decay=0.5)
    for _ in range(400):
        rule.weights(OLD)
        rule.after_step(OLD)
    assert rule.xi.abs().max() < 0.2


def test_a_missing_task_is_the_two_task_method_for_the_others():
    rule, pair = with_xi([0.3, -0.2, 0.5]), with_xi([0.3, 0.5])
    here = [0, 2]
    for step in range(5):
        losses, after = OLD + step, OLD * 0.8 + step
        losses[1] = after[1] = 0.0
        weights = rule.weights(losses)
        assert torch.equal(weights[here], pair.weights(losses[here])) and weights[1] == 0
        rule.after_step(after)
        pair.after_step(after[here])
    assert rule.xi[1] == -0.2 and torch.equal(rule.xi[here], pair.xi)


def test_a_loss_that_falls_to_its_minimum_is_no_mistake():
    rule = FAMO()
    rule.weights(OLD)
    rule.after_step(torch.tensor([0.0, 2.0, 0.02]))
    assert rule.xi.isfinite().all()


def test_after_step_belongs_to_one_call_of_weights():
    rule = FAMO()
    with pytest.raises(RuntimeError, match="weights"):
        rule.after_step(OLD)
    rule.weights(OLD)
    rule.after_step(OLD)
    with pytest.raises(RuntimeError, match="weights"):
        rule.after_step(OLD)


def test_a_loss_below_its_minimum_or_not_finite_after_the_step_is_named():
    rule = FAMO(minimum={"dwell": 1.0}).bind(SCHEMA)
    rule.weights(OLD)
    with pytest.raises(ValueError, match=r"'dwell' is 0.5"):
        rule.after_step(torch.tensor([0.5, 0.5, 0.02]))
    rule.weights(OLD)
    with pytest.raises(ValueError, match="after the step of task 'click' is nan"):
        rule.after_step(torch.tensor([torch.nan, 2.0, 0.02]))


def test_it_asks_fit_for_a_second_pass_and_refuses_impossible_options():
    assert FAMO.needs_second_pass and not FAMO.needs_gramian
    with pytest.raises(ValueError, match="learning_rate"):
        FAMO(learning_rate=-0.1)
    with pytest.raises(ValueError, match="decay"):
        FAMO(decay=-0.1)


class Noting(EqualWeights):
    """Equal weights that keep the losses before and after each step, and count whole epochs."""

    needs_second_pass = True

    def __init__(self):
        self.before, self.after, self.epochs = [], [], 0

    def weights(self, losses, gramian=None):
        self.before.append(losses.clone())
        return super().weights(losses, gramian)

    def after_step(self, losses):
        self.after.append(losses.clone())

    def end_epoch(self, losses):
        self.epochs += 1


class Normed(SharedBottom):
    """A shared bottom with running statistics."""

    def __init__(self, schema, **sizes):
        super().__init__(schema, **sizes)
        self.norm = torch.nn.BatchNorm1d(self.bottom.width)

    def represent(self, x, batch):
        return (self.norm(super().represent(x, batch)[0]),)


def passed_twice(rule, **options):
    table = tiny.learnable(96)
    with seeded(0):
        model = Normed(table.schema, embedding_dim=4, hidden=(8,), tower=(4,), dropout=0.5)
    settings = {"epochs": 3, "batch_size": 32, "optimizer": "sgd", "device": "cpu", **options}
    fit(model, table, balancer=rule, progress=False, **settings)
    return model.state_dict()


def test_the_second_pass_sees_the_same_dropout_masks_and_leaves_no_trace():
    noted = Noting()
    passed_twice(noted, learning_rate=0.0)  # nothing moves, so nothing may change
    assert len(noted.before) == len(noted.after) == 9
    for before, after in zip(noted.before, noted.after, strict=True):
        assert torch.equal(before, after)
    assert not torch.equal(noted.before[0], noted.before[3])  # other masks, other rows
    once = passed_twice(EqualWeights(), learning_rate=0.1)
    twice = passed_twice(Noting(), learning_rate=0.1)
    assert int(twice["norm.num_batches_tracked"]) == 9
    for name, value in once.items():
        assert torch.equal(twice[name], value), name


def test_only_whole_epochs_are_told_to_a_rule():
    rule = Noting()
    passed_twice(rule, learning_rate=0.1, max_steps=7)  # three steps an epoch
    assert rule.epochs == 2
