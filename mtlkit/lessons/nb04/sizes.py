"""The sizes of notebook 04: (smoke, full)."""

SIZES = {
    "rows": (6_000, 60_000),
    "epochs": (1, 3),
    "seeds": (2, 5),
    "tries": (2, 4),
}
