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
    """Counts the coefficients and forgets the offsets."""
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
        (
            without_offsets,
            "You forgot the offsets: each neuron of the layer and each head has one.",
        ),
        (one_head, "The shared network has a head for each task; you counted one head."),
        (wrong_order, "The two counts are in the wrong order: the shared network comes first."),
    ],
    praise="The layer counts once if it is shared, and once for each task if it is not.",
)
def parameters(answer):
    for inputs, hidden, tasks in ((784, 128, 2), (5, 3, 1), (10, 4, 6)):
        layer = torch.nn.Linear(inputs, hidden)
        heads = [torch.nn.Linear(hidden, 1) for _ in range(tasks)]
        layer_count = sum(weight.numel() for weight in layer.parameters())
        heads_count = sum(weight.numel() for head in heads for weight in head.parameters())
        shared, separate = answer(inputs, hidden, tasks)
        where = f"{inputs} inputs, {hidden} neurons and {tasks} task(s)"
        for name, found, wanted in (
            ("Shared", shared, layer_count + heads_count),
            ("Separate", separate, tasks * layer_count + heads_count),
        ):
            sentence = f"{name}, {where}: {{wanted}} parameters, you count {{found}}."
            require_close(found, wanted, sentence, tolerance=1e-7)


def gradient(x, z, heads, error):
    return ((error @ heads) * (z > 0)).T @ x


def gradient_stub(x, z, heads, error):
    return ...


def without_relu(x, z, heads, error):
    """Lets neurons that ReLU set to 0 pass a message on."""
    return (error @ heads).T @ x


def first_head(x, z, heads, error):
    """Uses the message of the first head only."""
    return ((error[:, :1] @ heads[:1]) * (z > 0)).T @ x


def two_heads(x, z, heads, error):
    """Adds the messages of two heads, however many there are."""
    return gradient(x, z, heads[:2], error[:, :2])


def mean_of_heads(x, z, heads, error):
    """Averages the messages of the heads instead of adding them."""
    return gradient(x, z, heads, error) / len(heads)


def divided_again(x, z, heads, error):
    """Divides by the number of rows, which `error` already is."""
    return gradient(x, z, heads, error) / len(x)


def times_z(x, z, heads, error):
    """Multiplies by Z itself instead of by whether Z is above 0."""
    return ((error @ heads) * z).T @ x


def transposed(x, z, heads, error):
    """Returns the gradient with rows and columns swapped."""
    return gradient(x, z, heads, error).T


@checker(
    "2.2",
    solution=gradient,
    stub=gradient_stub,
    wrong=[
        (without_relu, "You forgot ReLU: a neuron with Z = 0 passes nothing back."),
        (first_head, "You use the first head only; add the messages of all heads."),
        (two_heads, "You add the first two heads only; `heads` may have more: `len(heads)`."),
        (mean_of_heads, "You take the average of the heads' messages: add them."),
        (divided_again, "`error` is already divided by the number of rows."),
        (times_z, "The slope of ReLU is 1 where Z > 0, not Z: use `(Z > 0)`."),
        (transposed, "Rows and columns are swapped: V has the shape (hidden, inputs)."),
    ],
    praise="The messages of the heads are added, and a silent neuron passes nothing on.",
)
def shared_layer(answer, seed):
    generator = torch.Generator().manual_seed(2 + seed)
    for rows, inputs, hidden, tasks in ((12, 5, 7, 2), (6, 4, 4, 3), (9, 3, 6, 4)):
        x = torch.randn(rows, inputs, generator=generator)
        weights = torch.randn(hidden, inputs, generator=generator).requires_grad_()
        heads = torch.randn(tasks, hidden, generator=generator)
        labels = (torch.rand(rows, tasks, generator=generator) < 0.5).float()
        z = F.relu(x @ weights.T)
        logits = z @ heads.T
        losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(dim=0)
        (wanted,) = torch.autograd.grad(losses.sum(), weights)
        error = ((torch.sigmoid(logits) - labels) / rows).detach()
        found = answer(x, z.detach(), heads, error)
        require_shape(found, (hidden, inputs))
        require_close(
            found,
            wanted,
            "The shape is right, but autograd finds another gradient of the summed losses.",
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
        (
            not_zero,
            "You drop the zeros, and with them each honest no that a supplier wrote down.",
        ),
        (all_of_them, "You take each cell for an answer; half were filled in later."),
        (columns_swapped, "The columns are swapped: footwear comes first."),
        (rows_first, "You stack the two lists as rows; they are the columns: `dim=1`."),
    ],
    praise="Who wrote a label decides, not its value.",
)
def true_mask(answer, seed):
    generator = torch.Generator().manual_seed(4 + seed)
    cases = [
        (torch.tensor([[1.0, 0], [0, 0], [0, 1], [0, 0], [0, 1]]), torch.tensor([0, 0, 1, 1, 1]))
    ]
    for rows in (1, 7, 30):
        supplier = (torch.rand(rows, generator=generator) < 0.4).long()
        labels = (torch.rand(rows, 2, generator=generator) < 0.5).float()
        cases.append((labels * written(labels, supplier), supplier))
    for labels, supplier in cases:
        found = answer(labels, supplier)
        require_shape(found, (len(supplier), 2))
        for row, (mine, wrote) in enumerate(zip(found.tolist(), supplier.tolist(), strict=True)):
            require(
                mine == [wrote == 0, wrote == 1],
                "Supplier {wrote} wrote one column; your row {row} says {mine}.",
                wrote=wrote, row=row, mine=str(mine),
            )  # fmt: skip
