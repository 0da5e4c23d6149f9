"""What the notebooks teach with, one folder a notebook: checks, quizzes, cards."""
