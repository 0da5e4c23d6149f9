"""Fingerprints: equal for what does the same, different for what does not, in every process."""

import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from mtlkit.balance import BALANCERS, FixedWeights
from mtlkit.comparison.fingerprint import Fingerprints, NoFingerprint
from mtlkit.models import MMoE, SharedBottom
from mtlkit.shop.market import Market
from tests import tiny

ROOT = Path(__file__).parents[2]
WIDTH = 8


def mark(value):
    return Fingerprints().of(value)


def compiled(source, **names):
    """What ``source`` calls ``made``, as a cell of a notebook would define it."""
    scope = {"__name__": "__main__", **names}
    exec(source, scope)
    return scope["made"]


SAME = {
    "lambda": "made = lambda seed: seed + width",
    "default": "def made(seed, width=width): return seed * width",
    "closure": "def outer(w):\n  return lambda seed: seed - w\nmade = outer(width)",
    "called": "def inner(x): return x + width\ndef made(seed): return inner(seed)",
    "nested": "def made(seed):\n  def inner(): return width\n  return inner() + seed",
    "class": "class Net:\n  size = width\n  def f(self): return self.size\nmade = lambda s: Net()",
    "method": "class Net:\n  def f(self): return super().__repr__(), width\nmade = lambda s: Net()",
    "partial": "from functools import partial\nmade = partial(max, width)",
    "object": "class Net: pass\nmade = Net()\nmade.width = width",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass Net:\n  w: int = width\n"
    "made = lambda s: Net()",
    "generator of torch": "import torch\nmade = torch.Generator().manual_seed(width)",
}


@pytest.mark.parametrize("kind", SAME)
def test_a_number_behind_code_is_seen_wherever_it_stands(kind):
    first, again, other = (compiled(SAME[kind], width=w) for w in (8, 8, 9))
    assert mark(first) == mark(again) != mark(other)


def test_another_operation_is_another_function_and_another_name_of_a_file_is_not():
    plus = compile("made = lambda seed: seed + 1", "cell 1", "exec")
    same = compile("\n\nmade = lambda seed: seed + 1", "cell 2", "exec")
    minus = compile("made = lambda seed: seed - 1", "cell 1", "exec")
    a, b, c = map(compiled, (plus, same, minus))
    assert mark(a) == mark(b) != mark(c)


def test_functions_that_call_themselves_or_each_other_come_to_an_end():
    source = "def made(n): return other(n - 1) + {}\ndef other(n): return n and made(n)"
    assert mark(compiled(source.format(1))) == mark(compiled(source.format(1)))
    assert mark(compiled(source.format(1))) != mark(compiled(source.format(2)))


VALUES = [
    None, True, 1, 1.0, "1", b"1", (1, 2), [1, 2], [1, [2]], [[1], 2], {"a": 1, "b": 2}, {1, 2},
    torch.tensor([1, 2]), torch.tensor([1.0, 2.0]), torch.tensor([[1, 2]]), np.array([1, 2]),
    torch.tensor([], dtype=torch.bfloat16), torch.tensor(1.5, dtype=torch.bfloat16), np.float32(1),
    SharedBottom, MMoE, partial(MMoE, experts=2), partial(MMoE, experts=3), torch.float32,
    FixedWeights({"click": 1.0}), FixedWeights({"click": 2.0}), BALANCERS["uw"](), Path("absent"),
    max, min, [1, 2].append, tiny.schema("click"), tiny.schema("dwell"), mark, np, torch,
]  # fmt: skip


def test_different_values_have_different_fingerprints():
    marks = [mark(value) for value in VALUES]
    assert len(set(marks)) == len(VALUES)
    assert marks == [mark(value) for value in VALUES]


def test_one_reader_of_many_values_agrees_with_a_new_one_for_each():
    both = Fingerprints()
    assert [both.of(value) for value in VALUES] == [mark(value) for value in VALUES]


def test_a_shop_and_a_model_are_told_by_their_content():
    assert mark(Market("tiny")) == mark(Market("tiny")) != mark(Market("tiny", seed=1))
    with torch.no_grad():
        one, two = (SharedBottom(tiny.schema(), embedding_dim=2, hidden=(3,)) for _ in range(2))
        two.load_state_dict(one.state_dict())
        assert mark(one) == mark(two)
        next(two.parameters())[0, 0] += 1e-6
    assert mark(one) != mark(two)


def test_a_file_is_told_by_name_size_and_time(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("1,2", encoding="utf-8")
    first = mark(path), mark(tmp_path)
    os.utime(path, ns=(1, 1))
    assert mark(path) != first[0] and mark(tmp_path) != first[1]


@pytest.mark.parametrize("value", [threading.Lock(), (n for n in range(3)), sys.stdout])
def test_what_cannot_be_read_is_refused_by_its_type(value):
    with pytest.raises(NoFingerprint, match=type(value).__name__):
        mark(lambda seed: value)


def test_another_process_finds_the_same_fingerprints():
    code = (
        "from tests.comparison import test_fingerprint as t;"
        "print(t.mark([t.compiled(s, width=8) for s in t.SAME.values()]), t.mark(t.VALUES[:24]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "5"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, timeout=120,
        capture_output=True, text=True, encoding="utf-8", check=True,
    )  # fmt: skip
    here = [mark([compiled(s, width=8) for s in SAME.values()]), mark(VALUES[:24])]
    assert done.stdout.split() == here
