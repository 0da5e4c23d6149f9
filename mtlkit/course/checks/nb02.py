"""Checkers of notebook 02: counting shared parameters, and the gradient of a shared layer."""

import torch
import torch.nn.functional as F

from mtlkit.course.check import checker, require, require_close, require_shape


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
        shared, separate = (float(number) for number in answer(*sizes))
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
        require_close(
            found,
            wanted,
            "The shape is right, but autograd finds another gradient of the summed losses.",
            tolerance=1e-5,
        )
