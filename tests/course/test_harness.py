"""What a learner's code may do to a check: write into inputs, hang, exit, print without end."""

import _thread
import contextlib
import signal
import sys
import threading
import time

import numpy as np
import pytest
import torch

from mtlkit.course import check
from mtlkit.course.learner import guard
from mtlkit.course.learner.calls import Watched
from mtlkit.course.learner.check import CHANGED, judge
from mtlkit.course.learner.checker import REGISTRY, checker, observed, require, require_close
from mtlkit.course.learner.diagnose import Outcome, explains

X = torch.arange(1.0, 9.0)
SOON = 0.3  # seconds


def triples(x, factor):
    """Multiplies by three."""
    return 3 * x


def adds(x, factor):
    """Adds in place of multiplying."""
    return x + factor


def zero(x, factor):
    """Returns zeros."""
    return 0 * x


@pytest.fixture(autouse=True)
def exercises(home):
    before = dict(REGISTRY)

    @checker(
        "98.1",
        solution=lambda x, factor: factor * x,
        stub=...,
        wrong=[(triples, "You always multiply by three."), (adds, "You add the factor.")],
    )
    def scaled(answer, seed):
        for factor in (2.0, 3.0, 5.0):
            require_close(answer(X, factor), factor * X, "It should be {wanted}, not {found}.")

    @checker("98.2", solution=lambda ask: ask(1) > 1, stub=..., wrong=[observed(zero, "No call.")])
    def asks(answer):
        require(answer(lambda n: n + 1), "It is more.")
        require(answer.asked, "No call.")

    yield
    REGISTRY.clear()
    REGISTRY.update(before)


def test_an_answer_that_works_in_place_is_right_and_told_so():
    def answer(x, factor):
        x *= factor
        return x

    verdict = judge("98.1", answer)
    assert verdict.status == "right" and verdict.message.endswith(CHANGED)
    assert X.tolist() == list(range(1, 9))
    assert CHANGED not in judge("98.1", lambda x, factor: factor * x).message


def test_the_input_is_printed_below_in_one_short_line(capsys):
    check("98.1", lambda x, factor: x)
    said = capsys.readouterr().out.split("\n")
    assert said[1] == "  Input: x (8,) = [1, 2, 3, 4, 5, 6, ...], factor = 2.0"
    assert said[2:] == [""]


def test_a_forgotten_return_is_told_apart_from_nothing_done():
    def computes(x, factor):
        y = factor * x  # noqa: F841

    def prints(x, factor):
        print(factor * x)

    for answer in (computes, prints, lambda x, factor: [].append(x)):
        verdict = judge("98.1", answer)
        assert verdict.status == "wrong" and "returned None: did you forget `return`" in (
            verdict.message
        )

    def empty(x, factor):
        """Later."""

    for answer in (empty, lambda x, factor: None):
        assert judge("98.1", answer).status == "not attempted"


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_what_would_end_a_notebook_is_one_sentence(error, capsys):
    def answer(x, factor):
        raise error("enough")

    check("98.1", answer)
    line = answer.__code__.co_firstlineno + 1
    assert f"Line {line} of your code (`raise error" in (said := capsys.readouterr().out)
    assert f"stopped with {error.__name__}: enough." in said


def test_an_exit_in_a_class_is_contained_too():
    class Leaves:
        def __init__(self, *given):
            sys.exit(3)

    assert "stopped with SystemExit: 3" in judge("98.1", Leaves).message


def spins(x, factor):
    while True:
        pass


def forgives(x, factor):
    while True:
        with contextlib.suppress(Exception):
            while True:
                x = x + 1


def forgives_once(x, factor):
    try:
        while True:
            x = x + 1
    except:  # noqa: E722
        while True:
            x = x - 1


@pytest.mark.parametrize("answer", [spins, forgives, forgives_once])
def test_a_loop_without_an_end_is_stopped_and_its_line_is_named(answer):
    begun = time.monotonic()
    verdict = judge("98.1", answer, seconds=SOON)
    assert time.monotonic() - begun < SOON + guard._PATIENCE + 5
    assert verdict.status == "wrong" and "is there a loop without an end?" in verdict.message
    first = answer.__code__.co_firstlineno
    number = int(verdict.message.split()[1])
    assert verdict.message.startswith("Line ") and first < number <= first + 7
    assert not [thread for thread in threading.enumerate() if thread.name == "check"]


def test_a_call_that_cannot_be_stopped_does_not_hold_the_notebook():
    def answer(x, factor):
        time.sleep(guard._PATIENCE + 2 * SOON + 1)

    verdict = judge("98.1", answer, seconds=SOON)
    assert f"Line {answer.__code__.co_firstlineno + 1} of your code" in verdict.message
    assert "cannot be stopped" in verdict.message
    for thread in threading.enumerate():
        if thread.name == "check":
            thread.join()


def test_an_interrupt_by_the_user_ends_the_cell_and_the_code():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # may be ignored by a parent
    timer = threading.Timer(SOON, _thread.interrupt_main)
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        judge("98.1", spins, seconds=30)
    timer.join()
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 5
    while any(t.name == "check" for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [thread for thread in threading.enumerate() if thread.name == "check"]


def test_prints_are_shown_up_to_a_limit_and_the_rest_is_counted(capsys):
    def answer(x, factor):
        print("y" * 1_000_000)
        return factor * x

    check("98.1", answer)
    said = capsys.readouterr().out
    assert said.count("y" * 100) and len(said) < guard.PRINTED + 300
    assert "characters more; they are left out.)\n" in said
    assert said.rstrip("\n").split("\n")[-1].startswith("✓ 98.1: right.")


def test_prints_are_not_repeated_while_a_mistake_is_looked_for(capsys):
    def answer(x, factor):
        print("here")
        return 3 * x

    check("98.1", answer)
    said = capsys.readouterr().out
    assert said.count("here") == 1 and "You always multiply by three." in said


def test_streams_are_the_callers_again_after_code_that_could_not_be_stopped(monkeypatch):
    monkeypatch.setattr(guard, "SECONDS", SOON / 3)
    before = sys.stdout, sys.stderr
    check("98.1", lambda x, factor: time.sleep(guard._PATIENCE + 4 * SOON + 1))
    assert (sys.stdout, sys.stderr) == before
    for thread in threading.enumerate():
        if thread.name == "check":
            thread.join()
    assert (sys.stdout, sys.stderr) == before


def test_a_short_print_stays_and_the_verdict_begins_a_line(capsys):
    def answer(x, factor):
        print("here", end="")
        return factor * x

    check("98.1", answer)
    assert capsys.readouterr().out.endswith("here\n✓ 98.1: right. well done.\n")


def test_a_long_text_of_an_exception_keeps_both_ends_and_all_its_lines():
    def answer(x, factor):
        raise ValueError("wanted (3, 4)\n" + "blah " * 10_000 + "\nfound (4, 3)")

    message = judge("98.1", answer).message
    assert "ValueError: wanted (3, 4) blah" in message and message.endswith("found (4, 3).")
    assert len(message) < 500 and "\n" not in message


def test_the_line_of_a_helper_is_named():
    def helper(x):
        return x + np.ones(3)[7]

    def answer(x, factor):
        return helper(x) * factor

    line = helper.__code__.co_firstlineno + 1
    message = judge("98.1", answer).message
    assert message.startswith(f"Line {line} of your code (`return x + np.ones(3)[7]`)")
    assert "IndexError" in message


def test_an_exception_without_a_text_is_an_exception_still():
    class Odd(Exception):
        def __str__(self):
            raise RuntimeError

    def answer(x, factor):
        raise Odd

    assert "stopped with Odd." in judge("98.1", answer).message


def test_a_callable_object_is_an_answer():
    class Scale:
        def __call__(self, x, factor):
            return factor * x

    assert judge("98.1", Scale()).status == "right"


def test_what_an_answer_asked_is_seen_and_said_rather_than_guessed():
    assert judge("98.2", lambda ask: ask(n=3) > 1).status == "right"
    assert judge("98.2", lambda ask: True).message == "No call."


def test_a_mistake_is_named_where_it_shows_on_two_inputs():
    assert judge("98.1", lambda x, factor: x * 3).message == "You always multiply by three."
    assert judge("98.1", lambda x, factor: (x + factor).numpy()).message == "You add the factor."


@pytest.mark.parametrize(
    "answer",
    [
        lambda x, factor: 3 * x if factor == 2 else x,  # on one input alone
        lambda x, factor: 3 * x if factor < 5 else x,  # the second is where three is right
        lambda x, factor: 3.01 * x,
        lambda x, factor: torch.full_like(x, float("nan")),
        lambda x, factor: torch.where(x > 7, float("nan"), 3 * x),
        lambda x, factor: 3 * x[:4],
    ],
)
def test_a_mistake_is_not_named_for_less(answer):
    assert judge("98.1", answer).message not in ("You always multiply by three.", "You add")
    assert judge("98.1", answer).status == "wrong"


def test_an_answer_that_is_right_to_float32_is_no_mistake():
    assert judge("98.1", lambda x, factor: factor * x * (1 + 1e-6)).status == "right"


def test_what_was_asked_is_that_of_the_last_call():
    mine = Watched(lambda ask: ask(1) + ask(2), None)
    mine(abs), mine(abs)
    assert mine.asked == [(1,), (2,)] and mine.calls == [(abs,), (abs,)] and not mine.changed


def outcomes(*values):
    """A number for each input; a text stands for an error."""
    return [
        Outcome({}, value) if isinstance(value, str) else Outcome({"result": np.array(value)})
        for value in values
    ]


NAN = float("nan")


@pytest.mark.parametrize(
    ("theirs", "found", "named"),
    [
        ((3.0, 3.0, 3.0), (3.0, 3.0, 3.0), True),  # right are 1, 2, 3
        ((3.0, 2.0, 3.0), (3.0, 2.0, 3.0), False),  # it shows on one input alone
        ((3.0, 3.0, 3.0), (3.0, 3.0, 4.0), False),  # the answer leaves it on the third
        ((3.0, 3.0, 3.0), (3.00001, 3.0, 3.0), True),  # rounding
        ((1.0001, 2.0001, 3.0), (1.0001, 2.0001, 3.0), False),  # a mistake as small as rounding
        ((NAN, NAN, 3.0), (NAN, NAN, 3.0), False),
        ((3.0, 3.0, 3.0), (3.0, 3.0, NAN), False),
        (("Oops", "Oops", 3.0), ("Oops", "Oops", 3.0), True),
        (("Oops", "Oops", 3.0), ("Else", "Else", 3.0), False),
        (("Oops", 3.0, 4.0), (1.5, 3.0, 4.0), True),  # the crash is avoided, the rest is not
        ((3.0, 3.0, 4.0), ("Oops", 3.0, 4.0), False),
    ],
)
def test_a_mistake_explains_an_answer_that_gives_the_same_on_two_inputs(theirs, found, named):
    right = outcomes(1.0, 2.0, 3.0)
    assert explains(outcomes(*theirs), outcomes(*found), right) == named
