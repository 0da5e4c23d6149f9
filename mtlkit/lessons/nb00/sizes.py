"""The sizes of notebook 00: (smoke, full)."""

SIZES = {
    "rows": (20_000, 100_000),
    "epochs": (1, 2),
    "runs": (2, 5),
}
