"""What a learner calls in a notebook: checks, quizzes, guesses, hints, progress, modes, sizes."""

from mtlkit.course.check import NotAttempted, check
from mtlkit.course.display import plain_tables
from mtlkit.course.doctor import doctor
from mtlkit.course.hint import hint, lay_ready
from mtlkit.course.modes import mode, sizes
from mtlkit.course.predict import guess, predict
from mtlkit.course.progress import progress
from mtlkit.course.quiz import quiz
from mtlkit.course.record import record

__all__ = [
    "NotAttempted",
    "check",
    "doctor",
    "guess",
    "hint",
    "mode",
    "plain_tables",
    "predict",
    "progress",
    "quiz",
    "record",
    "sizes",
]

lay_ready()
