"""Checkers of notebook 08: EPNet's gate, partitioned normalisation, the tower that a row reads."""

import math
from functools import partial
from typing import Any

import torch

from mtlkit.course.learner.checker import checker, require_close, require_shape


def _factors(read, W1, b1, W2, b2):
    return 2 * torch.sigmoid(torch.relu(read @ W1.T + b1) @ W2.T + b2)


def scaled(x, v, W1, b1, W2, b2):
    read = torch.cat([v, x.detach()], dim=1)
    return x * 2 * torch.sigmoid(torch.relu(read @ W1.T + b1) @ W2.T + b2)


def scaled_stub(x, v, W1, b1, W2, b2):
    return ...


def nothing_learns(x, v, *gate):
    """Cuts the result off, so that neither x nor v gets a gradient."""
    return scaled(x, v, *gate).detach()


def gate_learns_x(x, v, *gate):
    """Does not detach x where the gate reads it."""
    return x * _factors(torch.cat([v, x], dim=1), *gate)


def other_x_detached(x, v, *gate):
    """Detaches the x that is scaled in place of the one that the gate reads."""
    return x.detach() * _factors(torch.cat([v, x], dim=1), *gate)


def x_detached(x, v, *gate):
    """Detaches x everywhere, so that its embeddings never learn."""
    return scaled(x.detach(), v, *gate)


def v_detached(x, v, *gate):
    """Detaches all that the gate reads, the scenario's vector included."""
    return x * _factors(torch.cat([v, x], dim=1).detach(), *gate)


def without_two(x, v, *gate):
    """Leaves out the 2, so that no factor is above 1."""
    return scaled(x, v, *gate) / 2


def two_inside(x, v, W1, b1, W2, b2):
    """Multiplies by 2 inside of the sigmoid."""
    return x * _factors(torch.cat([v, x.detach()], dim=1), W1, b1, 2 * W2, 2 * b2) / 2


def softmax(x, v, W1, b1, W2, b2):
    """Takes a softmax over the numbers of a row in place of sigmoids."""
    read = torch.cat([v, x.detach()], dim=1)
    return x * 2 * torch.softmax(torch.relu(read @ W1.T + b1) @ W2.T + b2, dim=1)


def softmax_once(x, v, *gate):
    """Takes a softmax over the numbers of a row, and no factor 2."""
    return softmax(x, v, *gate) / 2


def factors_alone(x, v, *gate):
    """Returns the factors and does not scale x."""
    return _factors(torch.cat([v, x.detach()], dim=1), *gate)


def added(x, v, *gate):
    """Adds the factors to x."""
    return x + factors_alone(x, v, *gate)


def reads_row_only(x, v, *gate):
    """Lets the gate read the row and not the scenario."""
    return scaled(x, torch.zeros_like(v), *gate)


def reads_scenario_only(x, v, *gate):
    """Lets the gate read the scenario's vector and not the row."""
    return x * _factors(torch.cat([v, torch.zeros_like(x)], dim=1), *gate)


def row_first(x, v, *gate):
    """Hands the gate the row first and the scenario's vector behind it."""
    return x * _factors(torch.cat([x.detach(), v], dim=1), *gate)


def no_relu(x, v, W1, b1, W2, b2):
    """Leaves out the ReLU between the two layers."""
    read = torch.cat([v, x.detach()], dim=1)
    return x * 2 * torch.sigmoid((read @ W1.T + b1) @ W2.T + b2)


def last_relu(x, v, W1, b1, W2, b2):
    """Has a ReLU after the last layer as well, so that no factor is below 1."""
    read = torch.cat([v, x.detach()], dim=1)
    return x * 2 * torch.sigmoid(torch.relu(torch.relu(read @ W1.T + b1) @ W2.T + b2))


COMPETE = (
    "You take a softmax, so the numbers of a row compete for shares. Each has a sigmoid of its own."
)


@checker(
    "8.1",
    solution=scaled,
    stub=scaled_stub,
    wrong=[
        (
            nothing_learns,
            "No gradient gets through your result, neither to x nor to v. Detach only the x that "
            "the gate reads.",
        ),
        (
            gate_learns_x,
            "The result is right, but x also gets a gradient through the gate. Detach it there.",
        ),
        (
            other_x_detached,
            "It is the other way round: detach the x that the gate reads, not the x that is "
            "scaled.",
        ),
        (factors_alone, "You return the factors; x is to be multiplied by them."),
        (reads_row_only, "Your gate does not read v: rows of all scenarios get the same factors."),
        (
            x_detached,
            "No gradient reaches x, so its embeddings would never learn. Detach x only where the "
            "gate reads it.",
        ),
        (
            v_detached,
            "No gradient reaches v, so the scenario's vector would never learn. Detach x alone.",
        ),
        (
            without_two,
            "Your factors lie between 0 and 1. The 2 is missing, with which a gate at rest "
            "changes nothing: 2 sigmoid(0) = 1.",
        ),
        (two_inside, "The 2 belongs before the sigmoid; inside, factors stay between 0 and 1."),
        (softmax, COMPETE),
        (softmax_once, COMPETE),
        (added, "You add the factors to x; multiply by them."),
        (reads_scenario_only, "Your gate reads v alone; it reads the row as well, detached."),
        (row_first, "The first columns of `W1` belong to v: v comes first, then x."),
        (no_relu, "The ReLU between the two layers is missing."),
        (last_relu, "You have a ReLU after the last layer, too: so no factor falls below 1."),
    ],
    praise="Each number of a row is scaled, and the gate steers without pulling at what it reads.",
)
def epnet_gate(answer, seed):
    for case, (rows, width, vector, hidden) in enumerate(GATES):
        luck = torch.Generator().manual_seed(100 * seed + case)
        x, v = _normal(luck, rows, width), _normal(luck, rows, vector)
        W1, b1 = _normal(luck, hidden, vector + width), _normal(luck, hidden)
        gate = W1, b1, _normal(luck, width, hidden) / 2, _normal(luck, width) / 2
        factors = _slow_factors(v, x, *gate)
        x, v = x.requires_grad_(), v.requires_grad_()
        found = answer(x, v, *gate)
        require_shape(found, (rows, width))
        require_close(
            found, x * factors, "The scaled rows are wrong: should be {wanted}, yours {found}."
        )
        slopes: Any = (None, None)
        if found.requires_grad:
            slopes = torch.autograd.grad(found.sum(), (x, v), allow_unused=True)
        wanted = factors, _slope_of(v, x.detach(), gate)
        for name, slope, right in zip("xv", slopes, wanted, strict=True):
            require_close(
                torch.zeros_like(right) if slope is None else slope,
                right,
                f"The scaled rows are right, but not their gradient for {name}. Detach the x that "
                "the gate reads, and nothing else.",
                tolerance=1e-4,
            )
    still = *gate[:2], torch.zeros_like(gate[2]), torch.zeros_like(gate[3])
    require_close(
        answer(x, v, *still), x, "With a last layer of zeros all factors are 1: x stays as it is."
    )


GATES = ((4, 3, 2, 5), (3, 2, 3, 4), (5, 4, 2, 6), (6, 3, 3, 4), (1, 3, 2, 5))


def _normal(luck, *shape):
    return torch.randn(*shape, generator=luck, dtype=torch.float64)


def _slow_factors(v, x, W1, b1, W2, b2):
    """The slow reference, in plain Python numbers: one row after the other."""
    rows = []
    for read in torch.cat([v, x], dim=1).tolist():
        inner = [
            max(sum(a * b for a, b in zip(read, line, strict=True)) + offset, 0.0)
            for line, offset in zip(W1.tolist(), b1.tolist(), strict=True)
        ]
        rows.append([
            2 / (1 + math.exp(-sum(a * b for a, b in zip(inner, line, strict=True)) - offset))
            for line, offset in zip(W2.tolist(), b2.tolist(), strict=True)
        ])  # fmt: skip
    return torch.tensor(rows, dtype=torch.float64)


def _slope_of(v, x, gate, step=1e-6):
    """How fast the sum of x * factors rises with each number of v, by finite differences."""
    v, slope = v.detach().clone(), torch.zeros_like(v)
    for place in range(v.shape[1]):
        up, down = v.clone(), v.clone()
        up[:, place] += step
        down[:, place] -= step
        change = _slow_factors(up, x, *gate) - _slow_factors(down, x, *gate)
        slope[:, place] = (x * change).sum(1) / (2 * step)
    return slope


def normalised(x, s, mean, variance, scale, own_scale, shift, own_shift, eps):
    normal = (x - mean[s]) / torch.sqrt(variance[s] + eps)
    return normal * scale * own_scale[s] + shift + own_shift[s]


_right: Any = normalised


def normalised_stub(x, s, mean, variance, scale, own_scale, shift, own_shift, eps):
    return ...


def _with(x, s, mean, variance, scale, own_scale, shift, own_shift, eps):
    """As the solution, with statistics of one line for each row, or of one for all."""
    normal = (x - mean) / torch.sqrt(variance + eps)
    return normal * scale * own_scale[s] + shift + own_shift[s]


def of_the_batch(x, s, mean, variance, *rest):
    """Takes mean and variance from the batch at hand."""
    return _with(x, s, x.mean(0), x.var(0, correction=0), *rest)


def of_the_batch_less_one(x, s, mean, variance, *rest):
    """Takes mean and variance from the batch, the latter divided by one less than its rows."""
    correction = len(x) / max(len(x) - 1, 1)
    return _with(x, s, x.mean(0), x.var(0, correction=0) * correction, *rest)


def of_its_rows_in_the_batch(x, s, mean, variance, *rest):
    """Takes mean and variance of the scenario's rows in the batch."""
    means, variances = x.clone(), x.clone()
    for one in s.unique():
        mine = s == one
        means[mine] = x[mine].mean(0)
        variances[mine] = x[mine].var(0, correction=0)
    return _with(x, s, means, variances, *rest)


def first_row_for_all(x, s, *rest):
    """Takes the first row's scenario for all rows."""
    return _right(x, s[:1], *rest)


def first_rows_statistics(x, s, mean, variance, *rest):
    """Takes the statistics of the first row's scenario for all rows."""
    return _with(x, s, mean[s[0]], variance[s[0]], *rest)


def last_scenario(x, s, mean, variance, *rest):
    """Takes the statistics of the last scenario for all rows."""
    return _with(x, s, mean[-1], variance[-1], *rest)


def mixed(x, s, mean, variance, *rest):
    """Takes the mean of all scenarios' statistics."""
    return _with(x, s, mean.mean(0), variance.mean(0), *rest)


def no_eps(*given):
    """Forgets eps."""
    return _right(*given[:-1], 0.0)


def eps_behind_the_root(x, s, mean, variance, *rest):
    """Adds eps to the standard deviation in place of the variance."""
    root = variance.sqrt() + rest[-1]
    return _right(x, s, mean, root**2, *rest[:-1], 0.0)


def no_root(x, s, mean, variance, *rest):
    """Divides by the variance and takes no root."""
    return _right(x, s, mean, (variance + rest[-1]) ** 2, *rest[:-1], 0.0)


def not_centred(x, s, mean, *rest):
    """Does not subtract the mean."""
    return _right(x, s, torch.zeros_like(mean), *rest)


def no_own_scale(x, s, mean, variance, scale, own_scale, *rest):
    """Leaves out the scenario's own scale."""
    return _right(x, s, mean, variance, scale, torch.ones_like(own_scale), *rest)


def own_scale_added(x, s, mean, variance, scale, own_scale, *rest):
    """Adds the two scales in place of multiplying them."""
    return _right(x, s, mean, variance, torch.ones_like(scale), scale + own_scale, *rest)


def no_shared_scale(x, s, mean, variance, scale, *rest):
    """Leaves out the shared scale."""
    return _right(x, s, mean, variance, torch.ones_like(scale), *rest)


def no_own_shift(*given):
    """Leaves out the scenario's own shift."""
    return _right(*given[:-2], torch.zeros_like(given[-2]), given[-1])


def no_shared_shift(*given):
    """Leaves out the shared shift."""
    return _right(*given[:-3], torch.zeros_like(given[-3]), *given[-2:])


def no_shift(*given):
    """Leaves out both shifts."""
    return _right(*given[:-3], *(torch.zeros_like(part) for part in given[-3:-1]), given[-1])


BATCH = (
    "You take mean and variance from the batch. In evaluation a row must not depend on who stands "
    "beside it: read the running ones."
)


@checker(
    "8.2",
    solution=normalised,
    stub=normalised_stub,
    wrong=[
        (of_the_batch, BATCH),
        (of_the_batch_less_one, BATCH),
        (
            of_its_rows_in_the_batch,
            "You take the statistics of the scenario's rows in this batch. That is for training; "
            "in evaluation read the running ones.",
        ),
        (
            first_row_for_all,
            "You take the first row's scenario for all rows. Each row has its own.",
        ),
        (
            first_rows_statistics,
            "All your rows read the statistics of the first row's scenario; row r reads those of "
            "`s[r]`.",
        ),
        (
            last_scenario,
            "All your rows read the statistics of the last scenario; row r reads those of `s[r]`.",
        ),
        (mixed, "You average the statistics over the scenarios; row r reads those of `s[r]`."),
        (no_eps, "`eps` is missing; it keeps you from dividing by 0. It belongs to the variance."),
        (eps_behind_the_root, "Add `eps` to the variance, before the root."),
        (no_root, "You divide by the variance; divide by its root."),
        (not_centred, "You do not subtract the mean."),
        (own_scale_added, "You add the two scales; they multiply."),
        (no_own_scale, "The scenario's own scale is missing: multiply by it, too."),
        (no_shared_scale, "The shared scale is missing: multiply by it, too."),
        (no_own_shift, "The scenario's own shift is missing."),
        (no_shared_shift, "The shared shift is missing."),
        (no_shift, "Both shifts are missing: add the shared one and the scenario's own."),
    ],
    praise="Each row reads its scenario's running statistics, whoever stands beside it.",
)
def partitioned_normalisation(answer, seed):
    for case, (rows, width, scenarios) in enumerate(((6, 3, 3), (8, 2, 4), (7, 4, 3), (10, 3, 5))):
        luck = torch.Generator().manual_seed(100 * seed + case)
        x = 2 + 3 * _normal(luck, rows, width)
        s = torch.randint(scenarios, (rows,), generator=luck)
        s[0], s[1], s[-1] = 1, scenarios - 1, 0
        mean, variance = _normal(luck, scenarios, width), 0.2 + _positive(luck, scenarios, width)
        scale, own_scale = 0.5 + _positive(luck, width), 0.5 + _positive(luck, scenarios, width)
        shift, own_shift = 1 + _positive(luck, width), 1 + _positive(luck, scenarios, width)
        given = (mean, variance, scale, own_scale, shift, own_shift, 0.1 * (case + 1))
        found = answer(x, s, *given)
        require_shape(found, (rows, width))
        for row in range(rows):
            require_close(
                found[row],
                _one_row(x[row].tolist(), int(s[row]), *given),
                f"Row {row} of scenario {s[row]} is wrong: it should be {{wanted}}, yours is "
                "{found}.",
            )
    require_close(
        answer(x[:1], s[:1], *given), found[:1], "A row alone must give what it gives in a batch."
    )


def _positive(luck, *shape):
    return torch.rand(*shape, generator=luck, dtype=torch.float64)


def _one_row(row, s, mean, variance, scale, own_scale, shift, own_shift, eps):
    """The slow reference: one number after the other, in plain Python."""
    numbers = zip(
        row, *(part[s].tolist() for part in (mean, variance, own_scale, own_shift)),
        scale.tolist(), shift.tolist(), strict=True,
    )  # fmt: skip
    return torch.tensor(
        [(x - m) * (v + eps) ** -0.5 * c * a + b + d for x, m, v, a, b, c, d in numbers],
        dtype=torch.float64,
    )


def which_tower(score, towers):
    before = score(towers)
    found = torch.zeros(len(before), dtype=torch.long)
    for k in range(len(towers)):
        moved = towers.clone()
        moved[k] += 1
        found[score(moved) != before] = k
    return found


def which_tower_stub(score, towers):
    return ...


def _moves(score, towers, factor=2.0):
    """How far the score of each row moves when each tower is multiplied, (tower, row)."""
    before, moves = score(towers), []
    for k in range(len(towers)):
        moved = towers.clone()
        moved[k] *= factor
        moves.append(score(moved) - before)
    return torch.stack(moves)


def _last(moved):
    """For each row the last tower that is marked, 0 where there is none."""
    numbers = torch.arange(len(moved))[:, None]
    return (moved * numbers).amax(0)


def never_put_back(score, towers):
    """Moves one tower after the other and puts none back."""
    before, moved = score(towers), towers.clone()
    found = torch.zeros(len(before), dtype=torch.long)
    for k in range(len(towers)):
        moved[k] += 1
        found[score(moved) != before] = k
    return found


def of_the_first_row(score, towers):
    """Gives all rows the tower of the first."""
    found = which_tower(score, towers)
    return found[:1].expand(len(found))


def any_row(score, towers):
    """Gives all rows the last tower that moves any of them."""
    found = which_tower(score, towers)
    return found.max().expand(len(found))


def last_that_rests(score, towers):
    """Gives each row the last tower that does not move it."""
    return _last(_moves(score, towers) == 0)


def first_that_rests(score, towers):
    """Gives each row the first tower that does not move it."""
    return (_moves(score, towers) == 0).long().argmax(0)


def counts_from_one(score, towers):
    """Numbers the towers from 1."""
    return which_tower(score, towers) + 1


def _as_text(count):
    return torch.tensor([int(name) for name in sorted(map(str, range(count)))])


def names_as_text(score, towers):
    """Goes through the towers' numbers sorted as text, and takes the place for the number."""
    return _as_text(len(towers)).argsort()[which_tower(score, towers)]


def places_as_text(score, towers):
    """Takes the towers to stand in the order of their numbers as text."""
    return _as_text(len(towers))[which_tower(score, towers)]


def rises_only(score, towers):
    """Doubles a tower and looks for scores that rise."""
    return _last(_moves(score, towers) > 0)


def falls_only(score, towers):
    """Doubles a tower and looks for scores that fall."""
    return _last(_moves(score, towers) < 0)


ONE_WAY = (
    "You count moves in one direction only. A score that falls has moved, one that rises, too."
)
TURNED = "You name a tower that leaves the row's score as it is. Name the one that moves it."
TEXT = (
    "You number the towers in the order of their names as text, where 10 comes before 2. Tower k "
    "is `towers[k]`."
)


@checker(
    "8.3",
    solution=which_tower,
    stub=which_tower_stub,
    wrong=[
        (
            never_put_back,
            "You name the last tower for every row, whatever the function does. Do you put a tower "
            "back before you move the next one?",
        ),
        (of_the_first_row, "You give all rows the tower of the first one. Look at each row."),
        (any_row, "You give all rows the last tower that moves any of them. Look at each row."),
        (last_that_rests, TURNED),
        (first_that_rests, TURNED),
        (counts_from_one, "You number the towers from 1; the first one is tower 0."),
        (names_as_text, TEXT),
        (places_as_text, TEXT),
        (rises_only, ONE_WAY),
        (falls_only, ONE_WAY),
    ],
    praise="You moved one tower at a time and saw whose score moves: no error message needed.",
)
def tower_of_each_row(answer, seed):
    for name, version, route in VERSIONS:
        luck = torch.Generator().manual_seed(100 * seed + len(name))
        h = 0.5 + _positive(luck, ROWS, 4)
        s = torch.arange(ROWS)[torch.randperm(ROWS, generator=luck)] % SCENARIOS
        s[s.tolist().index(5)], s[0] = s[0].clone(), 5
        towers = _normal(luck, SCENARIOS, 4)
        score: Any = partial(_scores, version, h, s)
        score.__name__ = name
        found = answer(score, towers)
        require_shape(found, (ROWS,), "One tower a row is asked for: {wanted}, not {found}.")
        for row, wanted in enumerate(route(s.tolist())):
            require_close(
                found[row],
                wanted,
                f"In {name}, row {row} reads tower {{wanted}}; you say {{found}}.",
            )


SCENARIOS, ROWS = 12, 30


def _scores(version, h, s, towers):
    return version(h, s, torch.as_tensor(towers).double())


def own_tower(h, s, towers):
    scores = []
    for k in range(len(towers)):
        scores.append(h @ towers[k])
    return torch.stack(scores)[s, torch.arange(len(s))]


def overwritten(h, s, towers):
    for k in range(len(towers)):
        scores = [h @ towers[k]]  # a new list at each turn
    return torch.stack(scores)[0 * s, torch.arange(len(s))]


def sorted_as_text(h, s, towers):
    scores = {str(k): h @ towers[k] for k in range(len(towers))}
    stacked = torch.stack([scores[name] for name in sorted(scores)])
    return stacked[s, torch.arange(len(s))]


def one_for_the_batch(h, s, towers):
    return h @ towers[s[0]]


def one_too_far(h, s, towers):
    return own_tower(h, (s + 1) % len(towers), towers)


TEXT_ORDER = (0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9)
VERSIONS = (  # (name, version, the tower that each row reads)
    ("a right function", own_tower, lambda s: s),
    ("a function whose list is overwritten", overwritten, lambda s: [11] * len(s)),
    ("a function that sorts names as text", sorted_as_text, lambda s: [TEXT_ORDER[k] for k in s]),
    ("a function of the first row's tower", one_for_the_batch, lambda s: s[:1] * len(s)),
    ("a function that is one too far", one_too_far, lambda s: [(k + 1) % 12 for k in s]),
    ("another right function", own_tower, lambda s: s),
)
