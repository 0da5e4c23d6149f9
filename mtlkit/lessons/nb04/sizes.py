"""The sizes of notebook 04: (smoke, full)."""

SIZES = {
    "rows": (6_000, 60_000),
    "epochs": (1, 3),
    "seeds": (2, 5),
    "tries": (2, 4),
}
CONTEST_SIZES = {
    "rows": (6_000, 60_000),
    "test_rows": (20_000, 200_000),
    "dials": ((0.0, 1.0), (0.0, 1.0, 2.0)),
    "epochs": (2, 3),
    "seeds": (2, 5),
    "search_seeds": (1, 3),
}
