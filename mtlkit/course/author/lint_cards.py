"""Rules about the exercise cards: each says its importance, and `cut` leaves no core one out."""

from collections.abc import Iterator

from mtlkit.course.author.cuts import cuts
from mtlkit.course.author.source import Source
from mtlkit.course.learner.cards import IMPORTANCE

IMPORTANCE_REQUIRED = False  # True makes a card without `importance` an error
Rule = Iterator[tuple[int, str, bool]]  # line, sentence, whether it is an error


def rules(source: Source) -> Rule:
    """All findings about the exercise cards: (line, sentence, whether it is an error)."""
    for exercise in source.exercises.values():
        if not exercise.importance:
            text = f"exercise {exercise.id} does not say its importance"
            yield (
                exercise.line,
                f"{text}: add 'importance: {' | '.join(IMPORTANCE)}' to its card",
                IMPORTANCE_REQUIRED,
            )
    for cut in cuts(source):
        if cut.typed > cut.minutes:
            text = f"`cut` says {cut.typed} minutes for {cut.what}, the plan gives it {cut.minutes}"
            yield 1, f"{text}: leave the number out, or mend it", False
        if cut.exercise and cut.exercise.importance == "core":
            text = f"`cut` leaves out exercise {cut.exercise.id}, whose card says core"
            yield cut.exercise.line, f"{text}: change one of the two", False
