"""Checkers of notebook 05: a step of uncertainty weighting, GradNorm's slope, a test of it."""

import numpy as np
import torch

from mtlkit.course.learner.checker import checker, require, require_close, require_shape


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
    return step(-s, losses, a, rate)


@checker(
    "5.1",
    solution=step,
    stub=step_stub,
    wrong=[
        (clamped, "below 0"),
        (no_brake, "second term"),
        (uphill, "uphill"),
        (whole_brake, "s / 2"),
        (without_a, "forgot a"),
        (rises_with_s, "exp(-s)"),
        (weights_after, "before s moves"),
    ],
    praise="At rest every weight is 1 / (2 × loss): half the sum of log losses, and no units left.",
)
def uncertainty_step(answer):
    generator = torch.Generator().manual_seed(5)
    for count in (1, 4):
        s = torch.randn(count, generator=generator).double()
        losses = 0.2 + torch.rand(count, generator=generator).double()
        a = torch.tensor([1.0, 0.5, 1.0, 0.5]).double()[-count:]
        given = (s, losses, a, 0.1)
        found = answer(s.clone(), losses.clone(), a.clone(), 0.1)  # may work in place
        require(
            isinstance(found, tuple | list) and len(found) == 2,
            "Two things are asked for: the weights, then the new s.",
        )
        require_shape(found[0], (count,), "The weights have shape {found}, not {wanted}.")
        require_shape(found[1], (count,), "The new s has shape {found}, not {wanted}.")
        _name_the_slip(found, given)
        free = s.clone().requires_grad_()
        objective = (a * torch.exp(-free) * losses + free / 2).sum()
        [gradient] = torch.autograd.grad(objective, free)
        require_close(found[0], a * torch.exp(-s), "The weights must be a * exp(-s).")
        require_close(
            found[1], s - 0.1 * gradient, "The new s is not s minus rate times the derivative."
        )
    loss, s = torch.tensor([0.25]).double(), torch.zeros(1).double()
    for _ in range(400):
        weights, s = answer(s.clone(), loss.clone(), torch.ones(1).double(), 0.2)
    require(
        float(weights[0]) > 1.01,
        "A loss of 0.25 should end at weight 2, yours stays at {found}: do not keep s from falling "
        "below 0, or every loss under 1/2 is frozen.",
        found=f"{float(weights[0]):.3g}",
    )
    require_close(
        weights, [2.0], "A loss of 0.25 should come to rest at weight 2, not {found}.", 1e-3
    )


def _name_the_slip(found, given):
    def same(mistake, place):
        return torch.allclose(found[place].double(), mistake(*given)[place], atol=1e-7)

    a = given[2]
    require(not same(rises_with_s, 0), "The weight is a * exp(-s): more noise, less weight.")
    require(not same(weights_after, 0), "Return the weights of this step, before s moves.")
    require(bool((a == 1).all()) or not same(without_a, 0), "You forgot a in the weights.")
    require(not same(no_brake, 1), "The second term is missing: with it s cannot run away.")
    require(not same(uphill, 1), "You walk uphill: subtract rate times the slope.")
    require(not same(whole_brake, 1), "The derivative of s / 2 is 1/2, not 1.")
    require(
        bool((step(*given)[1] >= 0).all()) or not same(clamped, 1),
        "You keep s from falling below 0: then every loss under 1/2 is frozen at its first weight.",
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
        (flipped, "exponent"),
        (against_the_slope, "sign of the whole"),
        (no_progress, "same target"),
        (absolute_losses, "start"),
        (unscaled_progress, "by its mean"),
        (sign_only, "norm"),
        (moving_target, "held fixed"),
        (gap_itself, "not its size"),
    ],
    praise="A task that lags gets a slope below 0, so its weight rises.",
)
def gradnorm_step(answer):
    generator = torch.Generator().manual_seed(7)
    cases = []
    for _ in range(30):
        drawn = 0.2 + 2 * torch.rand(4, 3, generator=generator).double()
        cases.append((*drawn, 1.5))
    one = torch.ones(3).double()
    cases.append((one, one, one, one * 2, 0.12))  # all alike: slope 0
    answers = [answer(*[x.clone() for x in case[:4]], case[4]) for case in cases]  # in place?
    for found in answers:
        require_shape(found, (3,), "One number a task is asked for: {wanted}, not {found}.")

    def same(mistake):
        return all(
            torch.allclose(found.double(), mistake(*case), atol=1e-7)
            for found, case in zip(answers, cases, strict=True)
        )

    for mistake, sentence in (
        (flipped, "The exponent is flipped: a task that lags (r above 1) needs the larger target."),
        (against_the_slope, "The sign of the whole is flipped: return the slope; the step goes "
         "against it later."),
        (no_progress, "Every task has the same target in yours: the progress r got lost."),
        (absolute_losses, "You compare the losses themselves. Divide by `start`: progress counts."),
        (unscaled_progress, "Divide the progress by its mean: r is 1 for the average task."),
        (sign_only, "G changes with w by the norm: multiply the sign by `norms`."),
        (moving_target, "The targets must be held fixed; in yours they move with w."),
        (gap_itself, "The derivative of |G - target| by G is its sign, not its size."),
    ):  # fmt: skip
        require(not same(mistake), sentence)
    for found, case in zip(answers, cases, strict=True):
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


@checker(
    "5.3",
    solution=catches,
    stub=catches_stub,
    wrong=[
        (all_alike, "no task lags"),
        (alpha_zero, "alpha is 0"),
        (other_way_round, "the other way round"),
        (forgets_the_step, "the other way round"),
        (only_falls, "does not move"),
        (trusts_everybody, "the flipped version"),
    ],
    praise="Two numbers and no training: a case with a known answer finds what the score rewards.",
)
def catches_the_slip(answer):
    seen = []

    def watched(version):
        def slope(weights, norms, losses, start, alpha):
            seen.append((losses / start, alpha))
            return version(weights, norms, losses, start, alpha)

        return slope

    verdicts = {}
    for name, version in (("right", gradnorm), ("flipped", flipped), ("lost", no_progress)):
        value = answer(watched(version))
        require(value is not ... and value is not None, "Return true or false.")
        require(
            isinstance(value, bool | np.bool_) or (torch.is_tensor(value) and value.dim() == 0),
            "Return true or false, not the slope itself: compare it with 0.",
        )
        verdicts[name] = bool(value)
    if verdicts == {"right": False, "flipped": True, "lost": True}:
        return
    require(
        not (verdicts["right"] and not verdicts["flipped"]),
        "It is the other way round: the weight goes against the slope, and true means that the "
        "weight of the task that lags does not rise.",
    )
    require(
        not seen or any(bool((ratio != ratio[0]).any()) for ratio, _ in seen),
        "In your case no task lags: give one a larger losses / start than the other.",
    )
    require(
        not seen or any(alpha != 0 for _, alpha in seen),
        "In your case alpha is 0, which switches progress off.",
    )
    require(not verdicts["right"], "You reject the right version.")
    require(verdicts["flipped"], "Your test trusts the flipped version.")
    require(
        verdicts["lost"],
        "Your test trusts a version in which the weight does not move: it must rise.",
    )
