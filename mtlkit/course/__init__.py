"""What a learner calls in a notebook: checks, quizzes, guesses, progress, sizes, stored results."""

from mtlkit.course.doctor import doctor
from mtlkit.course.learner.answers import watch
from mtlkit.course.learner.check import check
from mtlkit.course.learner.checker import NotAttempted
from mtlkit.course.learner.display import plain_tables
from mtlkit.course.learner.evidence import evidence
from mtlkit.course.learner.hint import hint, lay_ready
from mtlkit.course.learner.modes import announce, mode, shop, sizes
from mtlkit.course.learner.predict import guess, predict, skip
from mtlkit.course.learner.progress import progress
from mtlkit.course.learner.quiz import quiz
from mtlkit.course.learner.record import record
from mtlkit.course.learner.study import study

__all__ = [
    "NotAttempted",
    "check",
    "doctor",
    "evidence",
    "guess",
    "hint",
    "mode",
    "plain_tables",
    "predict",
    "progress",
    "quiz",
    "record",
    "shop",
    "sizes",
    "skip",
    "study",
]

announce()
lay_ready(hint=hint, predict=predict, skip=skip)
watch()
