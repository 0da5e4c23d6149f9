"""A whole multi-task learner on one page of plain PyTorch: there is no magic.

Read it from top to bottom: a shop's rows, a network, its losses, six steps, the metrics. From equal
weights on, with equal batches, mtlkit's MMoE, fit and evaluate come to the same: a test holds that.
Left out here: other kinds of labels, weights that adapt, scenarios, sequences, early stopping.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TASKS, WEIGHTS = ("click", "purchase"), (1.0, 0.5)


# The rows: ids of who saw what at which hour, two numbers, a label a task. Nobody knows whether
# those who did not click would have bought: that label is missing, NaN.
def shop(rows: int, users: int = 500, items: int = 100, seed: int = 0) -> tuple[Tensor, ...]:
    """A made-up shop: ids (row, 3), numbers (row, 2), labels (row, task) and their true chances."""
    draw = torch.Generator().manual_seed(seed)
    user, item, hour = (torch.randint(n, (rows,), generator=draw) for n in (users, items, 24))
    eager, taste = torch.randn(2, users, generator=draw)
    appeal, style, price = torch.randn(3, items, generator=draw)
    place = torch.rand(rows, generator=draw)  # on the page: 0 is its top, 1 its end
    liking = eager[user] + appeal[item] + taste[user] * style[item]  # what the tasks have in common
    click = liking - 2 * place - 1
    purchase = 0.7 * liking - price[item] - 0.5 * (hour < 6) - 2  # of those who click
    chances = torch.stack([click, purchase], dim=1).sigmoid()  # (row, task)
    labels = (torch.rand(rows, 2, generator=draw) < chances).float()
    labels[labels[:, 0] == 0, 1] = torch.nan
    ids, numbers = torch.stack([user, item, hour], 1), torch.stack([price[item], place], 1)
    return ids, numbers, labels, chances


# The network: an embedding a field, experts that all tasks share, a gate and a tower a task.
class MMoE(nn.Module):
    """Logit_k = tower_k(sum over n of gate_k(x)_n expert_n(x)), gate_k(x) = softmax(W_k x)."""

    def __init__(self, sizes: tuple[int, ...], numbers: int, tasks: int, experts: int = 4) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, 32) for size in sizes)
        width = 32 * len(sizes) + numbers
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
            for _ in range(experts)
        )
        self.gates = nn.ModuleList(nn.Linear(width, experts, bias=False) for _ in range(tasks))
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1)) for _ in range(tasks)
        )
        for layer in (*self.embeddings, *self.gates):
            nn.init.normal_(layer.weight, std=0.01)  # ids and experts begin nearly equal

    def embed(self, ids: Tensor) -> Tensor:
        rows = [table(column) for table, column in zip(self.embeddings, ids.unbind(1))]
        return torch.stack(rows, dim=1)  # (batch, field, 32)

    def forward(self, ids: Tensor, numbers: Tensor) -> Tensor:
        x = torch.cat([self.embed(ids).flatten(1), numbers], dim=1)  # (batch, width)
        experts = torch.stack([expert(x) for expert in self.experts], dim=1)  # (batch, expert, 64)
        logits = []
        for gate, tower in zip(self.gates, self.towers):
            share = gate(x).softmax(dim=1).unsqueeze(2)  # (batch, expert, 1)
            logits.append(tower((share * experts).sum(dim=1)))  # (batch, 1)
        return torch.cat(logits, dim=1)  # (batch, task)


# The losses: each task's mean goes over the rows that have its label, however few they are.
def task_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropies (task,); 0, without a gradient, where no row of the batch has a label."""
    known = ~labels.isnan()  # (batch, task)
    losses = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), reduction="none")
    return torch.where(known, losses, 0.0).sum(0) / known.sum(0).clamp(min=1)


# The loop: six steps, at a rate that falls evenly to 0. A batch is a tensor of row numbers.
def fit(model: MMoE, table: tuple[Tensor, ...], batches: list[Tensor], weights: tuple = WEIGHTS,
        learning_rate: float = 4e-3, deviation: float = 0.07) -> None:  # fmt: skip
    ids, numbers, labels = table
    reads = torch.stack([column.bincount()[column] for column in ids.unbind(1)], 1)  # (row, field)
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: 1 - done / len(batches))
    for batch in batches:  # 1. batch
        optimizer.zero_grad()
        logits = model(ids[batch], numbers[batch])  # 2. forward: (batch, task)
        losses = task_losses(logits, labels[batch])  # 3. task losses: (task,)
        total = sum(weight * loss for weight, loss in zip(weights, losses))  # 4. combine
        # A prior: an embedding e costs |e|^2 / (2 deviation^2), in equal parts at each time that an
        # epoch reads it. Ids with few rows are held back, or the network learns them by heart.
        squares = model.embed(ids[batch]).square().sum(2) / reads[batch]  # (batch, field)
        (total + squares.sum() / (2 * deviation**2 * len(batch))).backward()  # 5. backward
        optimizer.step()  # 6. step
        rate.step()


# The metrics: of each task, over all rows at once that have its label.
def evaluate(chances: Tensor, labels: Tensor) -> Tensor:
    """AUC, log-loss, predicted / observed, calibration error in ten bins: (task, 4)."""
    found = []
    for p, y in zip(chances.detach().double().unbind(1), labels.double().unbind(1)):
        p, y = p[~y.isnan()], y[~y.isnan()]  # (row,)
        won = (p[y == 1].unsqueeze(1) - p[y == 0]).sign()  # (ones, zeros): 1 won, 0 tied, -1 lost
        _, place, ties = p.unique(return_inverse=True, return_counts=True)  # by chance, from below
        bins = (ties.cumsum(0) - ties / 2)[place] * 10 // len(y)  # ten of equal size, ties together
        apart = torch.bincount(bins.long(), p - y).abs().sum()
        auc, loss = (1 + won.mean()) / 2, F.binary_cross_entropy(p, y)
        found.append(torch.stack([auc, loss, p.sum() / y.sum(), apart / len(y)]))
    return torch.stack(found)


if __name__ == "__main__":
    torch.manual_seed(0)
    *table, chances = shop(20_000)
    train, test = zip(*(column.split(16_000) for column in table))
    model = MMoE((500, 100, 24), numbers=2, tasks=2)
    fit(model, train, [b for _ in range(4) for b in torch.randperm(16_000).split(512)])
    print("task      chances          AUC  log-loss  predicted / observed  calibration error")
    for name, p in {"learned": model(*test[:2]).sigmoid(), "true": chances[16_000:]}.items():
        for task, scores in zip(TASKS, evaluate(p, test[2])):
            auc, loss, ratio, error = scores.tolist()
            print(f"{task:10}{name:13}{auc:7.3f}{loss:10.3f}{ratio:22.2f}{error:19.3f}")
