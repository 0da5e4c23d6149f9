"""The sizes of notebook 03: (smoke, full)."""

SIZES = {
    "rows": (12_000, 60_000),
    "epochs": (2, 5),
    "tries": (2, 4),
}
CONTEST_SIZES = {
    "rows": (12_000, 60_000),
    "test_rows": (20_000, 200_000),
    "epochs": (1, 5),
    "seeds": (2, 5),
    "search_seeds": (1, 3),
}
