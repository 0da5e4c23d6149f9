"""The sizes of notebook 03: (smoke, full)."""

SIZES = {
    "rows": (12_000, 60_000),
    "epochs": (2, 3),
    "seeds": (2, 5),
    "tries": (2, 4),
    "draws": (2, 12),
    "journey": (3_000, 30_000),
}
