"""Losses of pages against slow loops over pages and pairs, finite differences, and scikit-learn."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
import torch.nn.functional as F

from mtlkit import metrics
from mtlkit.losses import RANKING_LOSSES, jrc, lambda_rank, page_losses
from mtlkit.losses.lambda_rank import relative_gains, swap_gains
from mtlkit.losses.pages import Pairs, number_pages, pairs

ORDER_ALONE = ["bpr", "listwise", "lambdarank"]
VARIANTS = RANKING_LOSSES | {
    "lambdarank at 3": partial(lambda_rank, k=3),
    "jrc alpha 0": partial(jrc, alpha=0.0),
    "jrc page": partial(jrc, alpha=0.3, against="page"),
}


def of_two(name):
    return name.startswith("jrc")


def rows_of(name, rows=60, seed=0, grades=4, ties=True):
    """Scores, labels, pages: ragged, mixed up, some without a click, all clicked, or of one row."""
    random = np.random.default_rng(seed)
    pages = random.choice([-7, 3, 4, 10**12, 11, 5, 900, 901], rows, p=[0.3, 0.3, *[0.4 / 6] * 6])
    labels = random.integers(0, grades, rows).astype(float)
    labels[pages == 11] = 0
    labels[pages == 5] = 1
    labels[(pages == 900).nonzero()[0][1:]] = 0
    pages = np.append(pages, [77, 78])  # pages of one row
    labels = np.append(labels, [0, 2])
    scores = random.normal(size=(rows + 2, 2) if of_two(name) else rows + 2)
    if ties:
        scores = np.round(scores, 1)
    return (
        torch.tensor(scores, dtype=torch.float64), torch.tensor(labels), torch.tensor(pages),
    )  # fmt: skip


# --- the slow loops ---------------------------------------------------------------------------


def soft(x):
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def slow_pointwise(z, y):
    return sum(soft(a) - (b > 0) * a for a, b in zip(z, y, strict=True))


def slow_bpr(z, y):
    each = [soft(z[j] - z[i]) for i in range(len(z)) for j in range(len(z)) if y[i] > y[j]]
    return sum(each) / len(each) if each else 0.0


def slow_listwise(z, y):
    if len(set(y)) == 1:
        return 0.0
    whole = sum(math.exp(a) for a in z)
    return -sum(b / sum(y) * math.log(math.exp(a) / whole) for a, b in zip(z, y, strict=True))


def dcg(gains, k=None):
    return sum(g / math.log2(r + 2) for r, g in enumerate(gains[:k]))


def slow_swap(z, y, i, j, k=None):
    """|change of NDCG| when i and j swap, the mean over all orders of rows with equal scores."""
    gain = [2**b - 1 for b in y]
    best = dcg(sorted(gain, reverse=True), k)
    groups = [[r for r in range(len(z)) if z[r] == s] for s in sorted(set(z), reverse=True)]
    changes = []
    for orders in itertools.product(*(itertools.permutations(group) for group in groups)):
        order = [r for part in orders for r in part]
        swapped = [j if r == i else i if r == j else r for r in order]
        changes.append(abs(dcg([gain[r] for r in order], k) - dcg([gain[r] for r in swapped], k)))
    return sum(changes) / len(changes) / best


def slow_lambda(z, y, k=None):
    rows = range(len(z))
    return sum(
        slow_swap(z, y, i, j, k) * soft(z[j] - z[i]) for i in rows for j in rows if y[i] > y[j]
    )


def slow_jrc(z, y, alpha=0.5, against="opposite"):
    total = 0.0
    for i in range(len(z)):
        mine = int(y[i] > 0)
        own = math.exp(z[i][mine])
        entropy = -math.log(own / (math.exp(z[i][0]) + math.exp(z[i][1])))
        meets = [j for j in range(len(z)) if j == i or against == "page" or int(y[j] > 0) != mine]
        contrast = -math.log(own / sum(math.exp(z[j][mine]) for j in meets))
        total += alpha * entropy + (1 - alpha) * contrast
    return total


SLOW = {
    "pointwise": slow_pointwise,
    "bpr": slow_bpr,
    "listwise": slow_listwise,
    "lambdarank": slow_lambda,
    "jrc": slow_jrc,
    "lambdarank at 3": partial(slow_lambda, k=3),
    "jrc alpha 0": partial(slow_jrc, alpha=0.0),
    "jrc page": partial(slow_jrc, alpha=0.3, against="page"),
}


def test_every_loss_of_the_registry_has_its_slow_loop():
    assert set(SLOW) == set(VARIANTS) >= set(RANKING_LOSSES)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("seed", range(3))
def test_a_loss_is_that_of_the_slow_loop_page_by_page(name, seed):
    rows = 26 if "lambda" in name else 60  # all orders of ties are tried
    scores, labels, pages = rows_of(name, rows, seed)
    found = page_losses(VARIANTS[name](scores, labels, pages), pages)
    ids = sorted(set(pages.tolist()))
    assert found.shape == (len(ids),) and found.dtype == torch.float64
    for value, page in zip(found.tolist(), ids, strict=True):
        mine = pages == page
        expected = SLOW[name](scores[mine].tolist(), labels[mine].tolist())
        assert value == pytest.approx(expected, rel=1e-10, abs=1e-12), page


@pytest.mark.parametrize("name", VARIANTS)
def test_what_a_row_pays_and_its_gradient_go_with_the_row(name):
    scores, labels, pages = rows_of(name)
    scores.requires_grad_()
    order = torch.randperm(len(pages), generator=torch.Generator().manual_seed(0))
    paid = VARIANTS[name](scores, labels, pages)
    mixed = VARIANTS[name](scores[order], labels[order], pages[order])
    assert paid.shape == pages.shape and (paid >= 0).all()
    torch.testing.assert_close(mixed, paid[order], rtol=1e-12, atol=1e-14)
    one, two = (torch.autograd.grad(p.sum(), scores, retain_graph=True)[0] for p in (paid, mixed))
    torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-14)
    renamed = VARIANTS[name](scores, labels, pages * 3 - 10)
    assert torch.equal(renamed, paid)


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_are_finite_differences(name):
    scores, labels, pages = rows_of(name, 25, seed=3, ties=False)
    rows = torch.randn(len(pages), dtype=torch.float64)  # every row's loss, not the sum alone
    scores.requires_grad_()
    weights = None
    if "lambda" in name:  # its weights pass no gradient: hold them as they are
        k = 3 if "3" in name else None
        numbered = number_pages(pages)
        two = pairs(labels, numbered)
        weights = swap_gains(scores, labels, numbered, two, k)

    def loss(s):
        if weights is None:
            return (VARIANTS[name](s, labels, pages) * rows).sum()
        shared = (rows[two.above] + rows[two.below]) / 2
        return (weights * F.softplus(s[two.below] - s[two.above]) * shared).sum()

    found = torch.autograd.grad((VARIANTS[name](scores, labels, pages) * rows).sum(), scores)[0]
    flat, step = scores.detach().flatten(), 1e-6
    for i in range(len(flat)):
        ends = [loss((flat + sign * step * F.one_hot(torch.tensor(i), len(flat)))
                     .reshape(scores.shape)) for sign in (1, -1)]  # fmt: skip
        slope = (ends[0] - ends[1]) / (2 * step)
        assert found.flatten()[i].item() == pytest.approx(slope.item(), rel=1e-6, abs=1e-8)
    if weights is None:
        assert torch.autograd.gradcheck(loss, (scores,))


@pytest.mark.parametrize("name", ORDER_ALONE)
def test_a_constant_on_a_page_changes_nothing(name):
    scores, labels, pages = rows_of(name)
    paid = RANKING_LOSSES[name](scores, labels, pages)
    moved = RANKING_LOSSES[name](scores + pages % 13 * 8, labels, pages)  # exact in float64
    torch.testing.assert_close(moved, paid, rtol=1e-9, atol=1e-12)


def test_the_contrast_of_jrc_does_not_see_a_constant_on_either_logit_and_its_entropy_does():
    scores, labels, pages = rows_of("jrc")
    more = torch.stack([pages % 13, -(pages % 7)], dim=1) * 8
    for against in ("opposite", "page"):
        contrast = partial(jrc, alpha=0.0, against=against)
        torch.testing.assert_close(
            contrast(scores + more, labels, pages), contrast(scores, labels, pages),
            rtol=1e-9, atol=1e-12,
        )  # fmt: skip
    assert not torch.allclose(jrc(scores + more, labels, pages), jrc(scores, labels, pages))


def test_jrc_with_alpha_1_is_the_cross_entropy_of_the_difference():
    scores, labels, pages = rows_of("jrc")
    expected = F.binary_cross_entropy_with_logits(
        scores[:, 1] - scores[:, 0], (labels > 0).double(), reduction="none"
    )
    torch.testing.assert_close(jrc(scores, labels, pages, alpha=1.0), expected)
    half = jrc(scores, labels, pages, alpha=0.0) / 2 + expected / 2
    torch.testing.assert_close(jrc(scores, labels, pages), half)


@pytest.mark.parametrize("against", ["opposite", "page"])
def test_jrc_is_the_dense_form_with_a_mask(against):
    scores, labels, pages = rows_of("jrc", 40)
    clicked = labels > 0
    same = pages.unsqueeze(1) == pages
    if against == "opposite":
        unlike = clicked.unsqueeze(1) != clicked
        same = same & (unlike | torch.eye(len(pages), dtype=torch.bool))
    dense = torch.stack([
        F.cross_entropy(scores[:, c].masked_fill(~same[i], -1e9).unsqueeze(0), torch.tensor([i]))
        for i, c in enumerate(clicked.long().tolist())
    ])  # fmt: skip
    torch.testing.assert_close(jrc(scores, labels, pages, alpha=0.0, against=against), dense)


NOTHING_TO_RANK = {"no click": [0, 0, 0], "all clicked": [1, 1, 1], "one row": [1], "none": []}


@pytest.mark.parametrize("labels", NOTHING_TO_RANK.values(), ids=NOTHING_TO_RANK)
@pytest.mark.parametrize("name", [*ORDER_ALONE, "lambdarank at 3", "jrc alpha 0"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_page_with_nothing_to_rank_costs_nothing_and_moves_nothing(name, labels, dtype):
    shape = (len(labels), 2) if of_two(name) else (len(labels),)
    scores = (torch.arange(math.prod(shape), dtype=dtype).reshape(shape) * 50).requires_grad_()
    paid = VARIANTS[name](scores, torch.tensor(labels).float(), torch.full(shape[:1], 4))
    assert torch.equal(paid, torch.zeros(shape[0], dtype=dtype)) and paid.requires_grad
    paid.sum().backward()
    assert torch.equal(scores.grad, torch.zeros_like(scores))


@pytest.mark.parametrize("name", VARIANTS)
def test_scores_as_large_as_they_come_give_numbers(name):
    scores, labels, pages = rows_of(name)
    for size in (1e4, 1e30):
        huge = (scores.float() * size).requires_grad_()
        paid = VARIANTS[name](huge, labels, pages)
        paid.mean().backward()
        assert torch.isfinite(paid).all() and torch.isfinite(huge.grad).all()
    low = VARIANTS[name](scores.to(torch.bfloat16), labels, pages)
    assert low.dtype == torch.float32


@pytest.mark.parametrize("name", VARIANTS)
def test_memory_grows_with_rows_or_pairs(name):
    rows = 60_000  # squared they would fill 14 gigabytes
    pages = torch.arange(rows) // 6
    scores = torch.randn((rows, 2) if of_two(name) else (rows,))
    labels = (torch.arange(rows) % 6 == 2).float()
    paid = VARIANTS[name](scores, labels, pages)
    assert paid.shape == (rows,) and torch.isfinite(paid).all()
    if name in ("listwise", "jrc", "jrc page"):  # one page: pairs would be rows squared
        VARIANTS[name](scores, labels, torch.zeros_like(pages))


# --- NDCG -------------------------------------------------------------------------------------


def test_the_weights_of_lambdarank_are_what_a_swap_changes_in_scikit_learn():
    random = np.random.default_rng(5)
    for _ in range(20):
        n = int(random.integers(2, 9))
        scores, labels = random.normal(size=n), random.integers(0, 4, n).astype(float)
        labels[:2] = 0, 3
        pages = torch.zeros(n, dtype=torch.int64)
        two = pairs(torch.tensor(labels), number_pages(pages))
        for k in (None, 2):
            found = swap_gains(
                torch.tensor(scores), torch.tensor(labels), number_pages(pages), two, k
            )
            for i, j, value in zip(two.above, two.below, found.tolist(), strict=True):
                swapped = scores.copy()
                swapped[[i, j]] = scores[[j, i]]
                gains = 2**labels - 1
                change = sk.ndcg_score([gains], [scores], k=k) - sk.ndcg_score(
                    [gains], [swapped], k=k
                )
                assert value == pytest.approx(abs(change), abs=1e-12)


def test_a_model_that_scores_all_alike_learns_by_lambdarank():
    scores = torch.zeros(4, requires_grad=True)
    lambda_rank(
        scores, torch.tensor([0.0, 1, 0, 0]), torch.zeros(4, dtype=torch.int64)
    ).sum().backward()
    assert scores.grad[1] < 0 and (scores.grad[[0, 2, 3]] > 0).all()
    assert scores.grad[0] == scores.grad[2] == scores.grad[3]


def test_gains_of_high_grades_do_not_overflow():
    pages = number_pages(torch.tensor([0, 0, 0, 1, 1]))
    labels = torch.tensor([31.0, 200.0, 2000.0, 1.0, 0.0])
    torch.testing.assert_close(relative_gains(labels, pages), torch.tensor([0.0, 0, 1, 0.5, 0]))
    paid = lambda_rank(torch.randn(5), labels, pages.of)
    assert torch.isfinite(paid).all() and (paid > 0).all()
    small = torch.tensor([1e-3, 0.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    gains = (2**small - 1) / torch.tensor([4.0, 4, 4, 2, 2])
    torch.testing.assert_close(relative_gains(small, pages), gains)


def test_ndcg_over_random_pages_with_ties_is_scikit_learn_s_and_a_constant_has_its_share():
    scores, labels, pages = (part.numpy() for part in rows_of("listwise", 200, seed=2))
    gains = 2**labels - 1
    each, constant = [], []
    for page in np.unique(pages):
        mine = pages == page
        if gains[mine].any() and mine.sum() > 1:
            each.append(sk.ndcg_score([gains[mine]], [scores[mine]]))
            constant.append(sk.ndcg_score([gains[mine]], [np.zeros(mine.sum())]))
        elif gains[mine].any():
            each.append(1.0)
            constant.append(1.0)
    assert metrics.ndcg(gains, scores, pages) == pytest.approx(np.mean(each), abs=1e-12)
    found = metrics.ndcg(gains, np.zeros_like(scores), pages)
    assert found == pytest.approx(np.mean(constant), abs=1e-12) and found < 0.95
    # one click among n rows that all tie: the mean discount of n places
    one = metrics.ndcg([0, 0, 1, 0], [2, 2, 2, 2], [0, 0, 0, 0])
    assert one == pytest.approx(np.mean(1 / np.log2(np.arange(2, 6))))


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_descent_on_a_loss_lifts_ndcg_and_gauc(name):
    scores, labels, pages = rows_of(name, 60, ties=False)
    z = torch.nn.Parameter(scores.clone())
    optimizer = torch.optim.Adam([z], lr=0.3)

    def measured():
        s = (z[:, 1] - z[:, 0] if of_two(name) else z).detach().numpy()
        gauc = metrics.gauc((labels > 0).double().numpy(), s, pages.numpy()).value
        return metrics.ndcg((labels > 0).double().numpy(), s, pages.numpy()), gauc

    before = measured()
    for _ in range(100):
        optimizer.zero_grad()
        RANKING_LOSSES[name](z, (labels > 0).double(), pages).mean().backward()
        optimizer.step()
    assert before[0] < 0.97 and before[1] < 0.8
    assert measured() == (pytest.approx(1), pytest.approx(1))


def test_pairs_are_all_of_a_page_with_unlike_labels_once():
    _, labels, pages = rows_of("bpr", 40)
    two = pairs(labels, number_pages(pages))
    assert isinstance(two, Pairs)
    found = sorted(zip(two.above.tolist(), two.below.tolist(), strict=True))
    n = range(len(pages))
    assert found == [(i, j) for i in n for j in n if pages[i] == pages[j] and labels[i] > labels[j]]


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_arguments_of_other_kinds_are_refused_by_name(name):
    scores, labels, pages = rows_of(name, 10)
    loss = RANKING_LOSSES[name]
    wrong = [
        (scores.unsqueeze(-1), labels, pages, "scores must have shape"),
        (scores.long(), labels, pages, "scores must be floating-point"),
        (scores, labels[:3], pages, "labels has shape"),
        (scores, labels, pages[:3], "pages has shape"),
        (scores, labels, pages.double(), "pages must be whole numbers"),
        (scores, labels - 5, pages, "labels must be finite and 0 or more"),
        (scores, labels * math.nan, pages, "labels must be finite"),
    ]
    for *given, words in wrong:
        with pytest.raises(ValueError, match=words):
            loss(*given)


def test_options_out_of_range_are_refused():
    given = rows_of("jrc", 10)
    for alpha in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="alpha must be from 0"):
            jrc(*given, alpha=alpha)
    with pytest.raises(ValueError, match="against is one of opposite, page"):
        jrc(*given, against="all")
    for k in (0, 1.5, True):
        with pytest.raises(ValueError, match="k must be a whole number"):
            lambda_rank(*rows_of("lambdarank", 10), k=k)
