"""What a learner calls in a notebook: checks, quizzes, guesses, hints, progress."""
