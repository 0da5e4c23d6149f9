"""`check` answers in one calm sentence, whatever the learner hands in."""

import numpy as np
import pytest
import torch

from mtlkit.course import NotAttempted, check
from mtlkit.course import check as exported
from mtlkit.course.learner import store
from mtlkit.course.learner.check import CheckFailed, judge
from mtlkit.course.learner.checker import (
    REGISTRY,
    Mistake,
    checker,
    require,
    require_close,
    require_gradient,
    require_shape,
)


@pytest.fixture(autouse=True)
def exercises(home):
    before = dict(REGISTRY)

    @checker("98.1", solution=lambda x: 2 * x, stub=lambda x: ..., wrong=[], praise="Doubled.")
    def double(answer):
        found = answer(torch.tensor([1.0, 2.0]))
        require(float(found[0]) != 1.0, "You return the number itself; double it.")
        require_close(found, [2.0, 4.0], "It should be {wanted}, yours is {found}.")

    @checker("98.2", solution=3, stub=..., wrong=[(4, "That is one too many.", "One more.")])
    def value(answer):
        require(answer <= 3, "That is too many.")
        require_close(answer, 3)

    @checker("98.3", solution=dict, stub=None, wrong=[])
    def a_class(answer):
        require(answer().empty, "It must be empty.")

    yield
    REGISTRY.clear()
    REGISTRY.update(before)


def test_a_right_answer_is_said_and_remembered(capsys):
    assert check("98.1", lambda x: x + x) is None
    assert capsys.readouterr().out == "✓ 98.1: right. Doubled.\n"
    assert store.read()["checks"] == {"98.1": {"status": "right", "tries": 1}}


def test_a_named_mistake_gets_its_sentence_and_a_pointer_to_the_hint(capsys):
    check("98.1", lambda x: x)
    said = capsys.readouterr().out
    assert "✗ 98.1: not yet. You return the number itself; double it." in said
    assert 'hint("98.1")' in said


def test_the_sentence_holds_found_and_wanted():
    assert judge("98.1", lambda x: x + 3).message == "It should be [2.0, 4.0], yours is [4.0, 5.0]."


def raises_not_attempted(x):
    raise NotAttempted


def does_nothing(x):
    """Not begun."""


def half_filled(x):
    weight = ...
    return x * weight


@pytest.mark.parametrize(
    "answer",
    [
        None,
        ...,
        lambda x: None,
        does_nothing,
        lambda x: ...,
        lambda x: (..., x),
        lambda x: {"part": ...},
        raises_not_attempted,
        half_filled,
    ],
)
def test_an_unfinished_answer_is_said_calmly(answer, capsys):
    check("98.1", answer)
    said = capsys.readouterr().out
    assert said.startswith("· 98.1: not ") and "✗" not in said
    assert judge("98.1", answer).status == "not attempted"


def test_an_ellipsis_that_indexes_is_no_stub():
    assert judge("98.1", lambda x: x[..., :] * 2).status == "right"


def breaks(x):
    y = x + 1
    return y / {}["price"]


def test_an_exception_is_one_sentence_with_type_and_line():
    message = judge("98.1", breaks).message
    line = breaks.__code__.co_firstlineno + 2
    quoted = '(`return y / {}["price"]`)'
    assert message == f"Line {line} of your code {quoted} stopped with KeyError: 'price'."


def test_a_message_that_ends_in_a_full_stop_gets_no_second_one():
    def answer(x):
        raise ValueError("Give a number.")

    assert judge("98.1", answer).message.endswith("stopped with ValueError: Give a number.")


def test_the_line_is_the_learners_even_if_a_library_raised():
    def answer(x):
        return torch.stack([x, x[:1]])

    message = judge("98.1", answer).message
    assert f"Line {answer.__code__.co_firstlineno + 1} of your code" in message
    assert "RuntimeError" in message and "\n" not in message


def test_a_wrong_signature_and_a_strange_result_are_explained():
    assert "TypeError" in judge("98.1", lambda: 1).message
    assert judge("98.1", lambda x: "two").status == "wrong"
    assert judge("98.2", "three").status == "wrong"


def test_values_and_classes_can_be_answers():
    class Empty:
        empty = True

    class Broken:
        def __init__(self):
            raise ValueError("no name")

    assert judge("98.2", 3).status == "right"
    assert judge("98.2", 4).message == "That is one too many."
    assert judge("98.2", 5).message == "That is too many."
    assert judge("98.3", Empty).status == "right"
    assert "stopped with ValueError: no name" in judge("98.3", Broken).message


def test_an_unknown_exercise_is_a_sentence(capsys):
    for name in ("98.9", "nonsense", "12", 3):
        check(name, 1)
        assert "there is no check" in capsys.readouterr().out


def test_only_strict_mode_raises(monkeypatch):
    check("98.2", 4)
    monkeypatch.setenv("MTLKIT_STRICT", "1")
    check("98.2", 3)
    with pytest.raises(CheckFailed, match=r"98\.2: wrong: That is one too many"):
        check("98.2", 4)
    with pytest.raises(CheckFailed, match="not attempted"):
        check("98.2", None)
    with pytest.raises(CheckFailed, match="there is no check"):
        check("98.9", 3)


def test_an_exercise_once_right_stays_right():
    for answer in (4, 3, 4, None):
        check("98.2", answer)
    assert store.read()["checks"]["98.2"] == {"status": "right", "tries": 3}


def test_two_files_cannot_hold_the_same_exercise():
    def elsewhere(answer):
        pass

    elsewhere.__module__ = "another"
    with pytest.raises(ValueError, match=r"98\.1 already has a checker"):
        checker("98.1", solution=1, stub=..., wrong=[])(elsewhere)
    with pytest.raises(ValueError, match=r"looks like 2\.1"):
        checker("two", solution=1, stub=..., wrong=[])


@pytest.mark.parametrize(
    ("found", "wanted", "part"),
    [
        (torch.ones(2), torch.ones(3), "has shape (2,), it should have shape (3,)"),
        (1.0, 1.1, "gives 1.0, it should be 1.1"),
        (float("nan"), 1.0, "gives nan"),
        ("one", 1.0, "returns a str"),
        ({}, 1.0, "returns a dict"),
        ([[1.0], [2.0, 3.0]], 1.0, "returns a list"),
    ],
)
def test_require_close_says_what_differs(found, wanted, part):
    with pytest.raises(Mistake) as caught:
        require_close(found, wanted)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (torch.ones(2, requires_grad=True), np.ones(2)),
        (torch.tensor(3), 3),
        (float("nan"), np.nan),
        (1e6, 1e6 + 1),
        (torch.ones(2, dtype=torch.bfloat16), [1, 1]),
        (np.array([True]), torch.tensor([True])),
    ],
)
def test_require_close_accepts_equal_values_of_any_kind(found, wanted):
    require_close(found, wanted)


def test_shape_and_gradient_are_asked_for_in_words():
    require_shape(torch.ones(2, 3), (2, 3))
    with pytest.raises(Mistake, match=r"has shape \(2, 3\)"):
        require_shape(torch.ones(2, 3), (3, 2))
    tensor = torch.ones(1, requires_grad=True)
    require_gradient(tensor * 2)
    with pytest.raises(Mistake, match="No gradient flows"):
        require_gradient((tensor * 2).detach())


def test_the_package_exports_the_function_not_the_module():
    assert callable(exported)
