"""Quizzes: a few questions, each wrong option answered by the misconception behind it."""

from mtlkit.course.learner import display, store
from mtlkit.course.learner.questions import Question, quiz_questions


def quiz(identifier: str, *answers: int) -> None:
    """Show the quiz `identifier` ("2.exit"), or answer it in plain text: `quiz("2.exit", 2, 1, 3)`.

    `answers` are the numbers of the chosen options, one a question, counted from 1. In JupyterLab
    the questions appear as buttons. The answers stay on this machine; see `progress()`.
    """
    try:
        questions = quiz_questions(identifier)
    except KeyError as missing:
        print(missing.args[0])
        return
    if answers:
        print(reply(identifier, questions, answers))
    elif display.live():
        _show(identifier, questions)
    else:
        print(as_text(identifier, questions))


def as_text(identifier: str, questions: tuple[Question, ...]) -> str:
    """The questions as plain text, with the call that answers them."""
    rows = []
    for number, question in enumerate(questions, start=1):
        rows.append(f"{number}. {question.text}")
        rows += [f"   {place}) {o.text}" for place, o in enumerate(question.options, start=1)]
    call = ", ".join(["1"] * len(questions))
    rows.append(f'Answer with the numbers of your options, such as quiz("{identifier}", {call}).')
    return "\n".join(rows)


def reply(identifier: str, questions: tuple[Question, ...], answers: tuple[int, ...]) -> str:
    """Store the answers and return what to say; a malformed answer is explained, not stored."""
    if len(answers) != len(questions):
        return (
            f"{identifier} has {len(questions)} questions, {len(answers)} answers were given: "
            "give one number a question."
        )
    rows, right = [], 0
    for number, (question, answer) in enumerate(zip(questions, answers, strict=True), start=1):
        if not isinstance(answer, int) or not 1 <= answer <= len(question.options):
            return (
                f"Question {number} has the options 1 to {len(question.options)}, not {answer!r}."
            )
        option = question.options[answer - 1]
        right += option.right
        mark, text = "✓" if option.right else "✗", option.text.rstrip(".")
        rows.append(f"{mark} {number}. {text}: {option.why}")
    rows.append(f"{right} of {len(questions)} right.")
    result = {"answers": list(answers), "right": right, "of": len(questions)}
    store.update(lambda record: record["quizzes"].update({identifier: result}))
    return "\n".join(rows)


def _show(identifier: str, questions: tuple[Question, ...]) -> None:
    import ipywidgets

    parts, choices = [], []
    for number, question in enumerate(questions, start=1):
        options = [(option.text, place) for place, option in enumerate(question.options, start=1)]
        layout = ipywidgets.Layout(width="auto", max_width="60em")
        choices.append(ipywidgets.RadioButtons(options=options, index=None, layout=layout))
        parts += [display.label(f"{number}. {question.text}"), choices[-1]]

    def answer() -> str:
        missing = [str(n) for n, box in enumerate(choices, start=1) if box.value is None]
        if missing:
            return f"Choose an option for question {', '.join(missing)} first."
        return reply(identifier, questions, tuple(box.value for box in choices))

    display.form(parts, "Answer", answer)
