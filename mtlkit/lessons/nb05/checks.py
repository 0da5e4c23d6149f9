"""Checkers of notebook 05: a step of uncertainty weighting, GradNorm's slope, a test of it."""

import torch

from mtlkit.course.learner.checker import (
    checker,
    observed,
    require,
    require_close,
    require_shape,
)


def step(s, losses, a, rate):
    weights = torch.exp(-s) * a
    slope = 0.5 - weights * losses
    return weights, s - rate * slope


def step_stub(s, losses, a, rate):
    return ..., ...


def clamped(s, losses, a, rate):
    """Keeps s from falling below 0, "for safety"."""
    weights, new = step(s, losses, a, rate)
    return weights, new.clamp(min=0)


def kept_in_bounds(s, losses, a, rate):
    """Keeps s between -5 and 5, "for safety"."""
    weights, new = step(s, losses, a, rate)
    return weights, new.clamp(-5, 5)


def no_brake(s, losses, a, rate):
    """Forgets the second term, so that s grows for ever."""
    weights = torch.exp(-s) * a
    return weights, s + rate * weights * losses


def uphill(s, losses, a, rate):
    """Walks up the slope."""
    return step(s, losses, a, -rate)


def whole_brake(s, losses, a, rate):
    """Takes 1 for the derivative of s / 2."""
    weights = torch.exp(-s) * a
    return weights, s - rate * (1 - weights * losses)


def without_a(s, losses, a, rate):
    """Forgets a in the weight."""
    return step(s, losses, torch.ones_like(a), rate)


def weights_after(s, losses, a, rate):
    """Returns the weights after the step, not those that the step was made with."""
    new = step(s, losses, a, rate)[1]
    return torch.exp(-new) * a, new


def rises_with_s(s, losses, a, rate):
    """Takes e^s for the weight: the noisier, the louder."""
    weights = torch.exp(s) * a
    return weights, s - rate * (0.5 - weights * losses)


@checker(
    "5.1",
    solution=step,
    stub=step_stub,
    wrong=[
        (
            clamped,
            "You keep s from falling below 0: then every loss under 1/2 is frozen at its first "
            "weight.",
        ),
        (kept_in_bounds, "You keep s between bounds; the rule has none."),
        (no_brake, "The second term is missing: with it s cannot run away."),
        (uphill, "You walk uphill: subtract rate times the slope."),
        (whole_brake, "The derivative of s / 2 is 1/2, not 1."),
        (without_a, "You forgot a in the weights."),
        (rises_with_s, "The weight is a * exp(-s): more noise, less weight."),
        (weights_after, "Return the weights of this step, before s moves."),
    ],
    praise="At rest every weight is 1 / (2 × loss): half the sum of log losses, and no units left.",
)
def uncertainty_step(answer, seed):
    generator = torch.Generator().manual_seed(5 + seed)
    for count, spread in ((1, 1.0), (4, 1.0), (2, 6.0), (3, 12.0)):
        s = torch.randn(count, generator=generator).double()
        s[-1], s = -s[-1].abs(), spread * (s.sign() + s)  # one below 0, and then further out
        losses = 0.2 + torch.rand(count, generator=generator).double()
        a = torch.tensor([1.0, 0.5, 1.0, 0.5]).double()[-count:]
        weights, new = answer(s, losses, a, 0.1)
        require_shape(weights, (count,), "The weights have shape {found}, not {wanted}.")
        require_shape(new, (count,), "The new s has shape {found}, not {wanted}.")
        free = s.clone().requires_grad_()
        objective = (a * torch.exp(-free) * losses + free / 2).sum()
        [gradient] = torch.autograd.grad(objective, free)
        require_close(weights, a * torch.exp(-s), "The weights must be a * exp(-s).")
        require_close(
            new, s - 0.1 * gradient, "The new s is not s minus rate times the derivative."
        )
    loss, s = torch.tensor([0.25]).double(), torch.zeros(1).double()
    for _ in range(400):
        weights, s = answer(s, loss, torch.ones(1).double(), 0.2)
    require_close(
        weights, [2.0], "A loss of 0.25 should come to rest at weight 2, not {found}.", 1e-3
    )


def gradnorm(weights, norms, losses, start, alpha):
    pull = weights * norms
    progress = losses / start
    target = pull.mean() * (progress / progress.mean()) ** alpha
    return torch.sign(pull - target) * norms


def gradnorm_stub(weights, norms, losses, start, alpha):
    return ...


def flipped(weights, norms, losses, start, alpha):
    """Flips the exponent: a task that lags is slowed further."""
    return gradnorm(weights, norms, losses, start, -alpha)


def against_the_slope(weights, norms, losses, start, alpha):
    """Returns the direction of the step in place of the slope."""
    return -gradnorm(weights, norms, losses, start, alpha)


def no_progress(weights, norms, losses, start, alpha):
    """Loses r, so that all targets are the same."""
    return gradnorm(weights, norms, losses, losses, alpha)


def absolute_losses(weights, norms, losses, start, alpha):
    """Compares the losses themselves, not how far they have come."""
    return gradnorm(weights, norms, losses, torch.ones_like(start), alpha)


def unscaled_progress(weights, norms, losses, start, alpha):
    """Forgets to divide the progress by its mean."""
    pull = weights * norms
    return torch.sign(pull - pull.mean() * (losses / start) ** alpha) * norms


def sign_only(weights, norms, losses, start, alpha):
    """Forgets that G changes with w by the norm."""
    return torch.sign(gradnorm(weights, norms, losses, start, alpha))


def gap_itself(weights, norms, losses, start, alpha):
    """Differentiates half the square of the gap in place of its size."""
    pull, progress = weights * norms, losses / start
    return (pull - pull.mean() * (progress / progress.mean()) ** alpha) * norms


def moving_target(weights, norms, losses, start, alpha):
    """Lets the gradient flow into the targets."""
    w = weights.clone().requires_grad_()
    pull, progress = w * norms, losses / start
    target = pull.mean() * (progress / progress.mean()) ** alpha
    return torch.autograd.grad((pull - target).abs().sum(), w)[0]


@checker(
    "5.2",
    solution=gradnorm,
    stub=gradnorm_stub,
    wrong=[
        (
            flipped,
            "The exponent is flipped: a task that lags (r above 1) needs the larger target.",
        ),
        (
            against_the_slope,
            "The sign of the whole is flipped: return the slope; the step goes against it later.",
        ),
        (no_progress, "Every task has the same target in yours: the progress r got lost."),
        (
            absolute_losses,
            "You compare the losses themselves. Divide by `start`: progress counts.",
        ),
        (
            unscaled_progress,
            "Divide the progress by its mean: r is 1 for the average task.",
        ),
        (sign_only, "G changes with w by the norm: multiply the sign by `norms`."),
        (moving_target, "The targets must be held fixed; in yours they move with w."),
        (gap_itself, "The derivative of |G - target| by G is its sign, not its size."),
    ],
    praise="A task that lags gets a slope below 0, so its weight rises.",
)
def gradnorm_step(answer, seed):
    generator = torch.Generator().manual_seed(7 + seed)
    cases = []
    for _ in range(30):
        drawn = 0.2 + 2 * torch.rand(4, 3, generator=generator).double()
        cases.append((*drawn, 1.5))
    one = torch.ones(3).double()
    cases.append((one, one, one, one * 2, 0.12))  # all alike: slope 0
    for case in cases:
        found = answer(*case)
        require_shape(found, (3,), "One number a task is asked for: {wanted}, not {found}.")
        weights, norms, losses, start, alpha = case
        free = weights.clone().requires_grad_()
        pull = free * norms
        ratio = losses / start
        target = (pull.mean() * (ratio / ratio.mean()) ** alpha).detach()
        [wanted] = torch.autograd.grad((pull - target).abs().sum(), free)
        require_close(found, wanted, "The slope should be {wanted}, yours is {found}.")


def catches(slope):
    one = torch.ones(2)
    found = slope(one, one, torch.tensor([1.0, 0.5]), one, 1.5)
    return not bool(found[0] < 0)


def catches_stub(slope):
    return ...


def all_alike(slope):
    """Tests with two tasks that are equally far: there is nothing to see."""
    one = torch.ones(2)
    return not bool(slope(one, one, one * 0.5, one, 1.5)[0] <= 0)


def alpha_zero(slope):
    """Tests with alpha 0, which switches progress off."""
    one = torch.ones(2)
    return not bool(slope(one, one, torch.tensor([1.0, 0.5]), one, 0.0)[0] <= 0)


def other_way_round(slope):
    """Returns true for a right version."""
    return not catches(slope)


def only_falls(slope):
    """Asks whether the weight falls, and so misses a version in which nothing moves."""
    one = torch.ones(2)
    return bool(slope(one, one, torch.tensor([1.0, 0.5]), one, 1.5)[0] > 0)


def forgets_the_step(slope):
    """Takes the slope for the step: reads a slope below 0 as a weight that falls."""
    one = torch.ones(2)
    return bool(slope(one, one, torch.tensor([1.0, 0.5]), one, 1.5)[0] < 0)


def trusts_everybody(slope):
    """Never finds anything."""
    return False


def frozen(weights, norms, losses, start, alpha):
    return torch.zeros_like(weights)


VERSIONS = (  # (name, version, whether the weight of a task that lags does not rise)
    ("the right version", gradnorm, False),
    ("the right version, half the step", lambda *given: gradnorm(*given) / 2, False),
    ("the flipped version", flipped, True),
    ("the flipped version with the gap itself", lambda w, n, x, s, a: gap_itself(w, n, x, s, -a),
     True),
    ("the step in place of the slope", against_the_slope, True),
    ("a version that lost the progress r", no_progress, True),
    ("a version in which no weight moves", frozen, True),
)  # fmt: skip
NO_LAG = "In your case no task lags: give one a larger losses / start than the other."
NO_ALPHA = "In your case alpha is 0, which switches progress off."
TURNED = (
    "It is the other way round: the weight goes against the slope, and true means that the weight "
    "of the task that lags does not rise."
)


@checker(
    "5.3",
    solution=catches,
    stub=catches_stub,
    wrong=[
        observed(all_alike, NO_LAG),
        observed(alpha_zero, NO_ALPHA),
        (other_way_round, TURNED),
        (forgets_the_step, TURNED),
        (
            only_falls,
            "Your test trusts a version in which the weight does not move: it must rise.",
        ),
        (trusts_everybody, "Your test trusts every version, also one in which no weight moves."),
    ],
    praise="Two numbers and no training: a case with a known answer finds what the score rewards.",
)
def catches_the_slip(answer):
    for name, version, caught in VERSIONS:

        def slope(weights, norms, losses, start, alpha, version=version):
            given = (torch.as_tensor(x).double() for x in (weights, norms, losses, start))
            found = version(*given, alpha)
            return found if torch.is_tensor(weights) else found.numpy()

        slope.__name__ = name
        if answer(slope) == caught:
            continue
        tried = [
            (torch.as_tensor(losses) / torch.as_tensor(start), alpha)
            for _, _, losses, start, alpha in answer.asked
        ]
        require(not tried or any(bool((r != r[0]).any()) for r, _ in tried), NO_LAG)
        require(not tried or any(alpha != 0 for _, alpha in tried), NO_ALPHA)
        if caught:
            require(False, "Your test trusts {name}.", name=name)
        require(False, "You reject {name}.", name=name)
