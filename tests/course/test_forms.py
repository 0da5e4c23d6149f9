"""Right answers in every form that a learner may choose are right, strange ones are explained."""

import numpy as np
import pytest
import torch

from mtlkit.course.learner import lesson
from mtlkit.course.learner.calls import like
from mtlkit.course.learner.check import CHANGED, judge, load
from mtlkit.course.learner.checker import REGISTRY, Mistake

EXERCISES = [name for number in lesson.numbers("checks.py") for name in load(number)]


def each(result, change):
    """The result with its tensors, arrays and numbers changed, its structure kept."""
    if isinstance(result, dict):
        return {name: each(part, change) for name, part in result.items()}
    if isinstance(result, tuple):
        return tuple(each(part, change) for part in result)
    if isinstance(result, list):
        return result
    return change(result)


def tensor(value):
    return value if torch.is_tensor(value) else torch.as_tensor(value)


def precise(dtype):
    def change(value):
        value = tensor(value)
        return value if value.dtype == torch.bool else value.to(dtype)

    return change


def apart(value):
    """Number by number, as a loop that appends to a list would make it."""
    value = tensor(value)
    return [apart(row) for row in value] if value.dim() else value


def numpy(value):
    return tensor(value).detach().numpy()


def plain(value):
    return tensor(value).tolist()


def in_result(change):
    return lambda solution: lambda *given: each(solution(*given), change)


def in_place(solution):
    """Leaves its inputs spoilt, as one does who computes in them."""

    def answer(*given):
        result = each(solution(*given), lambda value: tensor(value).clone())
        for value in given:
            if torch.is_tensor(value):
                value.zero_()
            elif isinstance(value, np.ndarray):
                value[:] = 0
            elif isinstance(value, dict | list):
                value.clear()
        return result

    return answer


def all_float32(solution):
    """Works in float32 from the first line on."""

    def low(value):
        if torch.is_tensor(value) and value.is_floating_point():
            return value.float()
        return value.astype(np.float32) if isinstance(value, np.ndarray) else value

    return lambda *given: each(solution(*map(low, given)), precise(torch.float32))


def other_sequence(solution):
    """A list in place of a tuple, a tuple in place of a list."""

    def answer(*given):
        result = solution(*given)
        return {tuple: list, list: tuple}.get(type(result), lambda same: same)(result)

    return answer


FORMS = {
    "numpy": in_result(numpy),
    "torch float32": in_result(precise(torch.float32)),
    "torch float64": in_result(precise(torch.float64)),
    "list": in_result(plain),
    "loop": in_result(apart),
    "in place": in_place,
    "computed in float32": all_float32,
    "other sequence": other_sequence,
}
NO_GRADIENT = "the answer is judged by its gradient, too, and this form has none"
SPOILT = "what autograd needs on its way back is overwritten, which PyTorch refuses"
LEFT_OUT = {  # (form, exercise): why the form makes no sense there
    **{(form, name): NO_GRADIENT for form in ("numpy", "list") for name in ("4.1", "4.2", "8.1")},
    **{("in place", name): SPOILT for name in ("4.1", "4.2", "8.1")},
}
CASES = [(form, name) for form in FORMS for name in EXERCISES if (form, name) not in LEFT_OUT]


@pytest.mark.parametrize(("form", "exercise"), CASES)
def test_a_right_answer_is_right_in_every_form(form, exercise):
    verdict = judge(exercise, FORMS[form](REGISTRY[exercise].solution))
    assert verdict.status == "right", verdict.message
    spoils = form == "in place" and exercise not in ("2.1", "3.3", "4.3", "5.3", "6.3")
    assert (CHANGED in verdict.message) == spoils


def test_each_form_is_tried_on_nearly_every_checker():
    assert len(EXERCISES) >= 16 and len(CASES) == len(EXERCISES) * len(FORMS) - len(LEFT_OUT)
    assert len(LEFT_OUT) <= len(EXERCISES) * len(FORMS) / 16
    for form, exercise in LEFT_OUT:  # no longer needed where the form passes
        assert judge(exercise, FORMS[form](REGISTRY[exercise].solution)).status == "wrong"


def shape_of_solution(fill):
    def change(value):
        return torch.full(tensor(value).shape, fill, dtype=torch.float64)

    def make(solution):
        def answer(*given):
            result = solution(*given)
            return [fill] if isinstance(result, list) else each(result, change)

        return answer

    return make


STRANGE = {
    "NaN everywhere": shape_of_solution(float("nan")),
    "infinity everywhere": shape_of_solution(float("inf")),
    "a text": lambda _: lambda *given: "two",
    "a long text": lambda _: lambda *given: "x" * 1_000_000,
    "an empty list": lambda _: lambda *given: [],
    "an empty dictionary": lambda _: lambda *given: {},
    "three things": lambda _: lambda *given: (1.0, 2.0, 3.0),
    "a ragged list": lambda _: lambda *given: [[1.0], [1.0, 2.0]],
    "a list with None": lambda _: lambda *given: [None, None],
    "a generator": lambda _: lambda *given: (x for x in (1, 2)),
    "a complex number": lambda _: lambda *given: 1j,
    "a class": lambda _: lambda *given: dict,
    "a set of numbers": lambda _: lambda *given: {3, 4},
    "a cube": lambda _: lambda *given: torch.zeros(2, 2, 2),
    "a number and a text": lambda _: lambda *given: (1.0, "two"),
    "a dictionary of texts": lambda _: lambda *given: {"a": "b"},
    "an object array": lambda _: lambda *given: np.array([None, 1], dtype=object),
}


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_strange_result_is_wrong_in_one_calm_line(strange, exercise):
    entry = REGISTRY[exercise]
    verdict = judge(exercise, STRANGE[strange](entry.solution))
    assert verdict.status == "wrong"
    assert "stopped with" not in verdict.message, "the checker itself broke"
    assert len(verdict.message) < 400 and "\n" not in verdict.message
    assert len(verdict.input) <= 240 and "\n" not in verdict.input
    if strange == "NaN everywhere":
        assert verdict.message not in {wrong.message for wrong in entry.wrong}


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (np.float32(2), 2.0),
        (torch.tensor(2), 2.0),
        (np.array(2), 2.0),
        (True, 1.0),
        (np.bool_(True), True),
        (torch.tensor(True), True),
        ([np.bool_(True), torch.tensor(False)], torch.tensor([True, False])),
        ([[1, 2.0], [torch.tensor(3), np.int64(4)]], np.array([[1.0, 2], [3, 4]])),
        (np.array([[1, 2], [3, 4]]), (torch.tensor([1.0, 2]), torch.tensor([3.0, 4]))),
        ({np.int64(1): np.float32(0.5), torch.tensor(2): 1}, {1: 0.5, 2: 1.0}),
        (np.array(["a", "b"]), ["a", "b"]),
    ],
)
def test_a_result_takes_the_form_of_the_wanted_one(found, wanted):
    made = like(found, wanted)
    assert type(made) is type(wanted)
    if isinstance(wanted, tuple):
        assert all(torch.equal(a, b.double()) for a, b in zip(made, wanted, strict=True))
    elif torch.is_tensor(wanted):
        assert made.tolist() == wanted.tolist() and made.dtype in (torch.float64, torch.bool)
    else:
        assert np.array_equal(made, wanted) if isinstance(wanted, np.ndarray) else made == wanted


def test_a_gradient_survives_the_change_of_form():
    x = torch.ones(3, requires_grad=True)
    for found in (x * 2, [x[0] * 2, x[1] * 2, x[2] * 2]):
        made = like(found, torch.zeros(3))
        assert torch.autograd.grad(made.sum(), x)[0].tolist() == [2, 2, 2]
        assert like(found, np.zeros(3)).tolist() == [2, 2, 2]  # where an array is wanted it is cut


@pytest.mark.parametrize(
    ("found", "wanted", "part"),
    [
        ([1.0], 1.0, "One number is asked for; your answer has shape (1,)."),
        ([True], True, "Return true or false; your answer has shape (1,)."),
        (1.0, True, "Return true or false, not a number"),
        ([1.0, 0.0], torch.tensor([True, False]), "Return true and false, not numbers"),
        (1.0, (1.0, 2.0), "Two things are asked for, your answer returns a float."),
        ([1, 2, 3], (1.0, 2.0), "Two things are asked for, your answer returns 3 in a list"),
        ((1, 2), {1: 2.0}, "A dictionary is asked for, your answer returns a tuple."),
        ((1, None), (1.0, 2.0), "returns None where numbers are needed"),
        ("two", 2.0, "returns a str, a number"),
    ],
)
def test_a_result_of_no_such_form_is_explained(found, wanted, part):
    with pytest.raises(Mistake) as caught:
        like(found, wanted)
    assert part in str(caught.value)
