"""Checkers of notebook 02: parameters, a shared layer's gradient, a true mask."""

import torch
import torch.nn.functional as F

from mtlkit.course.learner.checker import (
    checker,
    require,
    require_close,
    require_shape,
)


def count(inputs, hidden, tasks):
    layer = inputs * hidden + hidden
    head = hidden + 1
    return layer + tasks * head, tasks * (layer + head)


def count_stub(inputs, hidden, tasks):
    return ..., ...


def without_offsets(inputs, hidden, tasks):
    """Counts the weights and forgets the offsets."""
    return inputs * hidden + tasks * hidden, tasks * (inputs * hidden + hidden)


def one_head(inputs, hidden, tasks):
    """Gives the shared network a single head for all tasks."""
    layer, head = inputs * hidden + hidden, hidden + 1
    return layer + head, tasks * (layer + head)


def wrong_order(inputs, hidden, tasks):
    """Returns the separate count first."""
    return count(inputs, hidden, tasks)[::-1]


@checker(
    "2.1",
    solution=count,
    stub=count_stub,
    wrong=[
        (without_offsets, "forgot the offsets"),
        (one_head, "a head for each task"),
        (wrong_order, "wrong order"),
    ],
    praise="The layer counts once if it is shared, and once for each task if it is not.",
)
def parameters(answer):
    found = answer(784, 128, 2)
    require(
        isinstance(found, tuple | list) and len(found) == 2,
        "Two numbers are asked for: the shared count, then the separate count.",
    )
    shared, separate = (float(number) for number in found)
    require(
        (shared, separate) != without_offsets(784, 128, 2),
        "You forgot the offsets: each unit of the layer and each head has one.",
    )
    require(
        shared != one_head(784, 128, 2)[0],
        "The shared network has a head for each task; you counted one head.",
    )
    require(
        (shared, separate) != wrong_order(784, 128, 2),
        "The two counts are in the wrong order: the shared network comes first.",
    )
    for sizes in ((784, 128, 2), (5, 3, 1), (10, 4, 6)):
        inputs, hidden, tasks = sizes
        layer = torch.nn.Linear(inputs, hidden)
        heads = [torch.nn.Linear(hidden, 1) for _ in range(tasks)]
        layer_count = sum(weight.numel() for weight in layer.parameters())
        heads_count = sum(weight.numel() for head in heads for weight in head.parameters())
        shared, separate = answer(*sizes)
        where = f"{inputs} inputs, {hidden} units and {tasks} task(s)"
        require_close(
            shared,
            layer_count + heads_count,
            f"Shared, {where}: {{wanted}} parameters, you count {{found}}.",
        )
        require_close(
            separate,
            tasks * layer_count + heads_count,
            f"Separate, {where}: {{wanted}} parameters, you count {{found}}.",
        )


def gradient(x, z, heads, error):
    return ((error @ heads) * (z > 0)).T @ x


def gradient_stub(x, z, heads, error):
    return ...


def without_relu(x, z, heads, error):
    """Lets units that ReLU set to 0 pass a message on."""
    return (error @ heads).T @ x


def first_head(x, z, heads, error):
    """Uses the message of the first head only."""
    return ((error[:, :1] @ heads[:1]) * (z > 0)).T @ x


def mean_of_heads(x, z, heads, error):
    """Averages the messages of the heads instead of adding them."""
    return gradient(x, z, heads, error) / len(heads)


def divided_again(x, z, heads, error):
    """Divides by the number of rows, which `error` already is."""
    return gradient(x, z, heads, error) / len(x)


def times_z(x, z, heads, error):
    """Multiplies by z itself instead of by whether z is above 0."""
    return ((error @ heads) * z).T @ x


def transposed(x, z, heads, error):
    """Returns the gradient with rows and columns swapped."""
    return gradient(x, z, heads, error).T


@checker(
    "2.2",
    solution=gradient,
    stub=gradient_stub,
    wrong=[
        (without_relu, "ReLU"),
        (first_head, "first head only"),
        (mean_of_heads, "average"),
        (divided_again, "already divided"),
        (times_z, "slope of ReLU"),
        (transposed, "shape"),
    ],
    praise="The messages of the heads are added, and a silent unit passes nothing on.",
)
def shared_layer(answer):
    generator = torch.Generator().manual_seed(2)
    for rows, inputs, hidden, tasks in ((12, 5, 7, 2), (6, 4, 3, 3)):
        x = torch.randn(rows, inputs, generator=generator)
        weights = torch.randn(hidden, inputs, generator=generator).requires_grad_()
        heads = torch.randn(tasks, hidden, generator=generator)
        labels = (torch.rand(rows, tasks, generator=generator) < 0.5).float()
        z = F.relu(x @ weights.T)
        logits = z @ heads.T
        losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(dim=0)
        (wanted,) = torch.autograd.grad(losses.sum(), weights)
        given = (x, z.detach(), heads, ((torch.sigmoid(logits) - labels) / rows).detach())
        found = answer(*given)
        require_shape(found, (hidden, inputs))

        def same(mistake, found=found, given=given):
            return torch.allclose(found, mistake(*given), atol=1e-6)

        require(not same(without_relu), "You forgot ReLU: a unit with z = 0 passes nothing back.")
        require(not same(first_head), "You use the first head only; add the messages of all heads.")
        require(not same(mean_of_heads), "You take the average of the heads' messages: add them.")
        require(not same(divided_again), "`error` is already divided by the number of rows.")
        require(not same(times_z), "The slope of ReLU is 1 where z > 0, not z: use `(z > 0)`.")
        require_close(
            found,
            wanted,
            "The shape is right, but autograd finds another gradient of the summed losses.",
            tolerance=1e-5,
        )


def written(labels, supplier):
    return torch.stack([supplier == 0, supplier == 1], dim=1)


def written_stub(labels, supplier):
    return ...


def not_zero(labels, supplier):
    """Takes each 0 for a gap, and so drops the honest answers "no"."""
    return labels != 0


def all_of_them(labels, supplier):
    """Believes the tidy table: each cell holds a number, so each is an answer."""
    return torch.ones_like(labels, dtype=torch.bool)


def columns_swapped(labels, supplier):
    """Gives each supplier the other one's column."""
    return torch.stack([supplier == 1, supplier == 0], dim=1)


def rows_first(labels, supplier):
    """Stacks the two lists as rows, not as columns."""
    return torch.stack([supplier == 0, supplier == 1])


@checker(
    "2.3",
    solution=written,
    stub=written_stub,
    wrong=[
        (not_zero, "honest no"),
        (all_of_them, "each cell"),
        (columns_swapped, "swapped"),
        (rows_first, "shape"),
    ],
    praise="Who wrote a label decides, not its value.",
)
def true_mask(answer):
    supplier = torch.tensor([0, 0, 1, 1, 1])
    labels = torch.tensor([[1.0, 0], [0, 0], [0, 1], [0, 0], [0, 1]])
    found = answer(labels, supplier)
    require_shape(found, (5, 2))
    require(
        getattr(found, "dtype", None) == torch.bool,
        "Return true and false (a bool tensor), not numbers.",
    )
    wanted = written(labels, supplier)
    require(not torch.equal(found, ~wanted), "The columns are swapped: footwear comes first.")
    require(not bool(found.all()), "You take each cell for an answer; half were filled in later.")
    require(
        not torch.equal(found, labels != 0),
        "You drop the zeros, and with them each honest no that a supplier wrote down.",
    )
    generator = torch.Generator().manual_seed(4)
    for rows in (1, 7, 30):
        supplier = (torch.rand(rows, generator=generator) < 0.4).long()
        labels = (torch.rand(rows, 2, generator=generator) < 0.5).float()
        labels = labels * written(labels, supplier)
        for row, (mine, wrote) in enumerate(zip(answer(labels, supplier), supplier, strict=True)):
            require(
                mine.tolist() == [int(wrote) == 0, int(wrote) == 1],
                "Supplier {wrote} wrote one column; your row {row} says {mine}.",
                wrote=int(wrote), row=row, mine=str(mine.tolist()),
            )  # fmt: skip
