"""The sizes of notebook 02: (smoke, full)."""

SIZES = {
    "epochs": (1, 8),
    "steps": (20, 400),
    "seeds": (2, 10),
    "timings": (1, 3),
    "tries": (2, 4),
}
