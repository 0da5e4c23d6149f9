"""What code reads in other files: a change there is seen, and what cannot be read is refused."""

import functools
import importlib
import sys
import types

import numpy as np
import pytest
import torch

from mtlkit.comparison import reads
from mtlkit.comparison.fingerprint import Fingerprints, NoFingerprint
from mtlkit.comparison.reads import is_installed
from tests.comparison.test_fingerprint import compiled, mark


@pytest.fixture
def module(tmp_path, monkeypatch):
    """``module(name, source)`` writes a file of the user's and imports it, or imports it again."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("conf", "helper", "mods", "test", "profile"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def make(name, source):
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        importlib.invalidate_caches()
        old = sys.modules.get(name)
        return importlib.import_module(name) if old is None else importlib.reload(old)

    yield make
    for name in ("conf", "helper", "mods", "test", "profile"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "code",
    [
        "made = lambda seed: conf.HIDDEN",
        "made = lambda seed: [conf.HIDDEN for _ in range(2)]",
        "made = lambda seed: getattr(conf, 'HIDDEN')",
        "def outer(c):\n  return lambda seed: c.HIDDEN\nmade = outer(conf)",
        "def made(seed):\n  import conf\n  return conf.HIDDEN",
        "def made(seed):\n  from conf import HIDDEN\n  return HIDDEN",
        "def made(seed):\n  from conf import net\n  return net()",
    ],
)
def test_an_attribute_of_a_module_of_yours_is_seen_however_it_is_read(module, code):
    source = "HIDDEN = 8\ndef net(): return HIDDEN"
    conf = module("conf", source)
    made = compiled(code, conf=conf)
    first = mark(made)
    assert mark(made) == first
    conf.HIDDEN = 9
    assert mark(made) != first
    conf.HIDDEN = 8
    assert mark(made) == first


def test_the_code_of_a_lesson_is_read_and_that_of_mtlkit_goes_by_its_version(monkeypatch):
    """Contests change without a version of mtlkit."""
    made = {}
    for name, place in (("lessons", reads.LESSONS / "nb00"), ("train", reads.LESSONS.parent)):
        module = types.ModuleType(f"mtlkit.{name}.made_for_this_test")
        module.__file__ = str(place / "made_for_this_test.py")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec("W = 8\ndef factory(seed): return W", vars(module))
        made[name] = module
        assert is_installed(module.__name__) == (name == "train")
    first = {name: mark(module.factory) for name, module in made.items()}
    for module in made.values():
        module.W = 9
    assert mark(made["lessons"].factory) != first["lessons"]
    assert mark(made["train"].factory) == first["train"]


def test_what_the_code_does_not_read_of_a_module_does_not_count(module):
    conf = module("conf", "HIDDEN = 8\nCALLS = []\nRUNNING = (n for n in range(3))")
    made = compiled("made = lambda seed: conf.HIDDEN", conf=conf)
    first = mark(made)
    conf.CALLS.append(1)
    assert mark(made) == first
    whole = compiled("made = lambda seed: print(conf)", conf=conf)
    with pytest.raises(NoFingerprint, match="generator"):
        mark(whole)


def test_a_module_behind_a_module_is_seen_changed_or_edited(module):
    helper = module("helper", "W = 8\ndef sizes(): return W")
    mods = module("mods", "import helper\ndef build(): return helper.sizes()")
    made = compiled("made = lambda seed: mods.build()", mods=mods)
    marks = [mark(made)]
    helper.W = 9
    marks.append(mark(made))
    module("helper", "W = 8\ndef sizes(): return W + 1  # edited")
    marks.append(mark(made))
    assert len(set(marks)) == 3


def test_an_import_inside_of_what_is_not_there_is_refused():
    made = compiled("def made(seed):\n  import no_such_module_of_anybody")
    with pytest.raises(NoFingerprint, match="import of no_such_module_of_anybody"):
        mark(made)


@pytest.mark.parametrize("code", ["eval('width')", "globals()['width']", "__import__('conf')"])
def test_code_that_reads_by_a_text_is_refused(code):
    with pytest.raises(NoFingerprint, match="a call of"):
        mark(compiled(f"made = lambda seed: {code}", width=8))


@pytest.mark.parametrize(
    "code",
    [
        "import importlib\nmade = lambda seed: importlib.import_module('conf')",
        "from importlib import import_module as get\nmade = lambda seed: get('conf')",
        "def made(seed):\n  from importlib import import_module\n  return import_module('conf')",
    ],
)
def test_code_that_imports_by_a_text_is_refused(code):
    with pytest.raises(NoFingerprint, match="importlib"):
        mark(compiled(code))


WRAPPERS = {
    "cache": "@functools.cache\ndef made(seed): return width",
    "lru_cache": "@functools.lru_cache(3)\ndef inner(): return width\nmade = lambda s: inner()",
    "closure": "def outer(w):\n  return functools.cache(lambda seed: w)\nmade = outer(width)",
    "no_grad": "@torch.no_grad()\ndef made(seed): return width",
    "attribute": "def made(seed): return made.width\nmade.width = width",
    "wraps": "def inner(x): return width\nmade = functools.wraps(torch.relu)(inner)",
    "wraps nothing of yours": "@functools.wraps(torch.nn.Linear.forward)\n"
    "def made(seed): return width\ndel made.__wrapped__",
    "list with attributes": "class L(list): pass\nmade = L([1])\nmade.width = width",
    "int with code": "class I(int):\n  def f(self): return width\nmade = I(3)",
    "default of a dict": "from collections import defaultdict\nmade = defaultdict(lambda: width)",
    "metaclass": "class M(type):\n  size = width\nclass made(metaclass=M): pass",
    "frozen": "made = torch.nn.Parameter(torch.zeros(2), requires_grad=width > 8)",
    "masked": "made = np.ma.array([1, 2], mask=[width > 8, False])",
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_a_wrapper_does_not_hide_what_it_wraps(kind):
    known = {"functools": functools, "torch": torch, "np": np}
    first, again, other = (compiled(WRAPPERS[kind], width=w, **known) for w in (8, 8, 9))
    assert mark(first) == mark(again) != mark(other)


@pytest.mark.parametrize(
    "code",
    [
        "@functools.singledispatch\ndef made(x): return width",
        "made = np.frompyfunc(lambda x: x + width, 1, 1)",
        "from typing import TypeVar\nmade = TypeVar('T', bound=width)",
    ],
)
def test_a_wrapper_that_cannot_be_read_is_refused(code):
    with pytest.raises(NoFingerprint):
        mark(compiled(code, width=8, functools=functools, np=np))


@pytest.mark.parametrize("name", ["test", "profile", "helper"])
def test_a_file_of_yours_counts_as_yours_whatever_its_name(module, name):
    yours = module(name, "W = 8\ndef f(seed): return W")
    assert not is_installed(name)
    first = mark(yours.f)
    yours.W = 9
    assert mark(yours.f) != first


def test_a_module_that_borrows_an_installed_name_counts_as_yours():
    mine = types.ModuleType("json")
    mine.W = 8
    made = compiled("made = lambda seed: mine.W", mine=mine)
    first = mark(made)
    mine.W = 9
    assert mark(made) != first


def test_python_and_packages_count_as_installed_and_the_tests_do_not():
    for name in ("sys", "json", "math", "torch", "torch.nn", "numpy", "mtlkit.models", "torch._C"):
        assert is_installed(name), name
    for name in ("__main__", __name__, "tests", None, "no_such_module_of_anybody"):
        assert not is_installed(name), name


def test_functions_in_a_circle_are_read_whole_whoever_is_read_first():
    source = "def f(n): return g(n) + {}\ndef g(n): return f(n)\nmade = f, g"
    marks = []
    for number in (1, 2):
        f, g = compiled(source.format(number))
        both = Fingerprints()
        both.of([f, g])  # g was read inside f
        assert both.of(g) == mark(g)
        marks.append(both.of(g))
    assert marks[0] != marks[1]


def test_what_packages_offer_is_told_by_its_name():
    offered = [torch.relu, torch.nn.functional.relu, np.mean, np.sin, torch.nn.Linear, np.add]
    assert len({mark(value) for value in offered}) == len(offered)
