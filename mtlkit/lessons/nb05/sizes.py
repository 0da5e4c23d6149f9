"""The sizes of notebook 05: (smoke, full)."""

SIZES = {
    "log": (20_000, 250_000),
    "rows": (3_000, 24_000),
    "epochs": (1, 3),
    "long": (3, 6),
    "tries": (2, 4),
    "seeds": (2, 5),
}
