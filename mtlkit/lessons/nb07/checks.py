"""Checkers of notebook 07: a gate and its mixture, a layer of CGC, experts that never part."""

import math
import operator

import torch

from mtlkit.course.learner.checker import checker, require, require_close, require_shape


def mixture(x, W, experts):
    gate = torch.softmax(x @ W.T, dim=1)
    return (gate.T.unsqueeze(2) * experts).sum(0)


def mixture_stub(x, W, experts):
    return ...


def over_the_rows(x, W, experts):
    """Takes the softmax over the rows, so that a row depends on its batch."""
    gate = torch.softmax(x @ W.T, dim=0)
    return (gate.T.unsqueeze(2) * experts).sum(0)


def no_softmax(x, W, experts):
    """Mixes by the raw numbers of the linear layer, which may be negative."""
    return ((x @ W.T).T.unsqueeze(2) * experts).sum(0)


def sigmoids(x, W, experts):
    """Takes a sigmoid of each number, so that the shares do not sum to 1."""
    return (torch.sigmoid(x @ W.T).T.unsqueeze(2) * experts).sum(0)


def same_for_all_rows(x, W, experts):
    """Uses the mean shares of the batch for each row."""
    gate = torch.softmax(x @ W.T, dim=1).mean(0)
    return (gate[:, None, None] * experts).sum(0)


def winner_only(x, W, experts):
    """Takes the expert with the largest share alone."""
    best = (x @ W.T).argmax(1)
    return experts[best, torch.arange(len(x))]


def plain_mean(x, W, experts):
    """Takes the plain mean of the experts and ignores the gate."""
    return experts.mean(0)


def mean_not_sum(x, W, experts):
    """Divides the mixture by the number of experts."""
    return mixture(x, W, experts) / len(experts)


@checker(
    "7.1",
    solution=mixture,
    stub=mixture_stub,
    wrong=[
        (
            over_the_rows,
            "Your softmax runs over the rows. Each row has shares of its own, which sum to 1 over "
            "the experts.",
        ),
        (no_softmax, "You mix by the raw numbers of the gate; the softmax makes shares of them."),
        (sigmoids, "You take a sigmoid of each number: such shares do not sum to 1."),
        (
            same_for_all_rows,
            "You use the same shares for all rows; a gate reads the row, so each row has its own.",
        ),
        (
            winner_only,
            "You keep the expert with the largest share alone; a mixture takes some of each.",
        ),
        (plain_mean, "That is the plain mean of the experts. Where is the gate?"),
        (
            mean_not_sum,
            "You divide by the number of experts as well; the shares already sum to 1.",
        ),
    ],
    praise="Each row takes from each expert what its gate says.",
)
def one_mixture(answer, seed):
    for case, (rows, inputs, experts, units) in enumerate(SHAPES):
        luck = torch.Generator().manual_seed(100 * seed + case)
        x, W = _normal(luck, rows, inputs), _normal(luck, experts, inputs)
        outputs = _normal(luck, experts, rows, units)
        found = answer(x, W, outputs)
        require_shape(found, (rows, units))
        wanted = _slowly(x, W, outputs)
        require_close(
            found, wanted, "The mixture is wrong: weigh each expert by its share and add."
        )
    found = answer(x, torch.zeros_like(W), outputs)
    require_close(found, outputs.mean(0), "A gate of zeros gives all experts the same share.")


SHAPES = ((4, 3, 2, 5), (3, 2, 4, 2), (6, 4, 3, 3), (1, 3, 3, 4), (5, 5, 5, 1))


def _normal(luck, *shape):
    return torch.randn(*shape, generator=luck, dtype=torch.float64)


def _slowly(x, W, experts):
    """The slow reference, in plain Python numbers: one row after the other."""
    mixed = []
    for row, line in enumerate(x.tolist()):
        scores = [math.exp(sum(a * b for a, b in zip(line, w))) for w in W.tolist()]
        parts = [[s / sum(scores) * v for v in e[row].tolist()] for s, e in zip(scores, experts)]
        mixed.append([sum(column) for column in zip(*parts)])
    return torch.tensor(mixed, dtype=torch.float64)


def cgc_layer(x, own, shared, gates):
    return torch.stack([mixture(x, W, torch.cat([mine, shared])) for mine, W in zip(own, gates)])


def cgc_stub(x, own, shared, gates):
    return ...


def shared_first(x, own, shared, gates):
    """Puts the shared experts before the own ones."""
    return torch.stack([mixture(x, W, torch.cat([shared, mine])) for mine, W in zip(own, gates)])


def two_softmaxes(x, own, shared, gates):
    """Takes one softmax over the own experts and another one over the shared ones."""
    count = own.shape[1]
    return torch.stack([
        mixture(x, W[:count], mine) + mixture(x, W[count:], shared) for mine, W in zip(own, gates)
    ])  # fmt: skip


def first_tasks_own(x, own, shared, gates):
    """Gives every task the own experts of the first."""
    return torch.stack([mixture(x, W, torch.cat([own[0], shared])) for W in gates])


def first_gate(x, own, shared, gates):
    """Uses the gate of the first task for all."""
    return torch.stack([mixture(x, gates[0], torch.cat([mine, shared])) for mine in own])


def own_only(x, own, shared, gates):
    """Leaves the shared experts out."""
    count = own.shape[1]
    return torch.stack([mixture(x, W[:count], mine) for mine, W in zip(own, gates)])


def shared_only(x, own, shared, gates):
    """Leaves the own experts out, which is MMoE."""
    count = own.shape[1]
    return torch.stack([mixture(x, W[count:], shared) for W in gates])


def cgc_over_the_rows(x, own, shared, gates):
    """Takes the softmax over the rows."""
    parts = [over_the_rows(x, W, torch.cat([mine, shared])) for mine, W in zip(own, gates)]
    return torch.stack(parts)


def unshared_kept_whole(x, own, shared, gates):
    """Adds the shared experts in full, beside a gate over the own ones."""
    count = own.shape[1]
    parts = [mixture(x, W[:count], mine) + shared.sum(0) for mine, W in zip(own, gates)]
    return torch.stack(parts)


@checker(
    "7.2",
    solution=cgc_layer,
    stub=cgc_stub,
    wrong=[
        (
            two_softmaxes,
            "You take two softmaxes, so the shares sum to 2. One softmax runs over own and shared "
            "experts together.",
        ),
        (
            shared_first,
            "Your gate takes the shared experts first; its first numbers belong to the own ones.",
        ),
        (
            first_tasks_own,
            "Every task gets the own experts of the first; task k reads `own[k]`.",
        ),
        (first_gate, "You use the gate of the first task for all; each task has its own."),
        (own_only, "You leave the shared experts out: then nothing is shared."),
        (shared_only, "You leave the own experts out: that is MMoE."),
        (cgc_over_the_rows, "Your softmax runs over the rows; it belongs over the experts."),
        (
            unshared_kept_whole,
            "You add the shared experts in full; the gate weighs them like the own ones.",
        ),
    ],
    praise="One softmax over own and shared experts, and none of another task's.",
)
def layer_of_cgc(answer, seed):
    for case, (tasks, count, common) in enumerate(((2, 1, 2), (3, 2, 1), (2, 2, 2), (4, 3, 2))):
        luck = torch.Generator().manual_seed(100 * seed + case)
        x, own = _normal(luck, 5, 3), _normal(luck, tasks, count, 5, 4)
        shared, gates = _normal(luck, common, 5, 4), _normal(luck, tasks, count + common, 3)
        found = answer(x, own, shared, gates)
        require_shape(found, (tasks, 5, 4))
        for task in range(tasks):
            readable = torch.cat([own[task], shared])
            require_close(
                found[task],
                _slowly(x, gates[task], readable),
                f"The mixture for task {task} is wrong.",
            )


def never_parted(outputs):
    pairs = []
    for i in range(len(outputs)):
        for j in range(i + 1, len(outputs)):
            if torch.allclose(outputs[i], outputs[j], atol=1e-6):
                pairs.append((i, j))
    return pairs


def never_parted_stub(outputs):
    return ...


def _pairs(outputs, alike):
    count = len(outputs)
    return [(i, j) for i in range(count) for j in range(i + 1, count) if alike(i, j)]


def first_row_only(outputs):
    """Compares the experts on the first row alone."""
    return _pairs(outputs, lambda i, j: torch.allclose(outputs[i, 0], outputs[j, 0], atol=1e-6))


def first_unit_only(outputs):
    """Compares the first unit alone."""
    first = outputs[:, :, 0]
    return _pairs(outputs, lambda i, j: torch.allclose(first[i], first[j], atol=1e-6))


def means_alike(outputs):
    """Compares the means over the rows."""
    means = outputs.mean(1)
    return _pairs(outputs, lambda i, j: torch.allclose(means[i], means[j], atol=1e-6))


def on_any_row(outputs):
    """Takes experts that agree on one row for experts that never parted."""
    return _pairs(
        outputs, lambda i, j: bool(((outputs[i] - outputs[j]).abs().amax(1) < 1e-6).any())
    )


def neighbours_only(outputs):
    """Compares each expert with the next one alone."""
    return [(i, j) for i, j in never_parted(outputs) if j == i + 1]


def with_the_first(outputs):
    """Compares all experts with the first one alone."""
    return [(i, j) for i, j in never_parted(outputs) if i == 0]


def to_the_bit(outputs):
    """Asks for equality to the last bit, and misses pairs that differ by rounding."""
    return _pairs(outputs, lambda i, j: torch.equal(outputs[i], outputs[j]))


def with_itself(outputs):
    """Also counts each expert as a pair with itself."""
    count = len(outputs)
    found = never_parted(outputs)
    return sorted([*found, *((i, i) for i in range(count))])


def both_ways(outputs):
    """Lists each pair twice, both ways round."""
    found = never_parted(outputs)
    return sorted([*found, *((j, i) for i, j in found)])


def those_that_part(outputs):
    """Lists the pairs that differ."""
    same = never_parted(outputs)
    return _pairs(outputs, lambda i, j: (i, j) not in same)


@checker(
    "7.3",
    solution=never_parted,
    stub=never_parted_stub,
    wrong=[
        (first_row_only, "You compare the first row alone; experts may part on a later one."),
        (first_unit_only, "You compare the first unit alone; all units of a pair must agree."),
        (
            means_alike,
            "You compare the means over the rows; two experts can differ on each row and have the "
            "same mean.",
        ),
        (on_any_row, "One row on which two experts agree is not enough: they must on all."),
        (
            neighbours_only,
            "You compare each expert with the next one only; a pair may stand further apart.",
        ),
        (
            with_the_first,
            "You compare with the first expert only; two others may be equal as well.",
        ),
        (
            to_the_bit,
            "You ask for equality to the last bit; experts that differ by rounding never parted.",
        ),
        (with_itself, "An expert is no pair with itself: i is smaller than j."),
        (both_ways, "You list each pair twice; i is smaller than j."),
        (those_that_part, "It is the other way round: list the pairs that agree."),
    ],
    praise="All rows, all units, all pairs: a copy among the experts cannot hide.",
)
def copies_among_experts(answer, seed):
    for case in range(6):
        outputs, wanted = _experts(100 * seed + case)
        found = answer(outputs)
        require(
            isinstance(found, list) and all(_is_pair(pair) for pair in found),
            "Return a list of pairs of whole numbers, such as [(0, 2)].",
        )
        listed = [tuple(int(n) for n in pair) for pair in found]
        missing = [pair for pair in wanted if pair not in listed]
        wrong = [pair for pair in listed if pair not in wanted]
        require(not missing, "Experts {one} and {other} agree on all rows; your list has no such "
                "pair.", **_named(missing))  # fmt: skip
        require(not wrong, "Your list has the pair {one}, {other}, which does not belong there.",
                **_named(wrong))  # fmt: skip
        require(len(listed) == len(set(listed)), "Your list has a pair twice.")
    alone = torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(seed))
    require(answer(alone) == [], "Here no two experts agree: the list must be empty.")


def _is_pair(pair):
    try:
        return len([operator.index(number) for number in pair]) == 2
    except (TypeError, ValueError, RuntimeError):
        return False


def _named(pairs):
    return {"one": pairs[0][0], "other": pairs[0][1]} if pairs else {}


def _experts(seed):
    """Outputs of seven experts with the pairs that never parted.

    1 is a copy of 4, and 2 of 6 up to rounding. 0 and 3 differ in the last row alone, 3 and 5 agree
    in the first unit alone, 2 and 5 in one row in the middle, and 5 has the rows of 1 in another
    order: the same mean.
    """
    luck = torch.Generator().manual_seed(seed)
    outputs = 1 + torch.rand(7, 6, 3, generator=luck, dtype=torch.float64)
    outputs[4] = outputs[1]
    outputs[5] = outputs[1].flip(0)
    outputs[2, 3] = outputs[5, 3]
    outputs[6] = outputs[2] + 1e-9
    outputs[0] = outputs[3]
    outputs[0, -1] += 0.5
    outputs[3, :, 0] = outputs[5, :, 0]
    outputs[0, :-1, 0] = outputs[3, :-1, 0]
    order = torch.randperm(7, generator=luck)
    place = {old: new for new, old in enumerate(order.tolist())}
    pairs = [tuple(sorted((place[i], place[j]))) for i, j in ((1, 4), (2, 6))]
    return outputs[order], sorted(pairs)
