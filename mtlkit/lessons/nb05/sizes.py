"""The sizes of notebook 05: (smoke, full)."""

SIZES = {
    "log": (20_000, 340_000),
    "rows": (3_000, 24_000),
    "validation_rows": (1_000, 8_000),
    "epochs": (1, 5),
    "long": (3, 6),
    "seeds": (2, 5),
}

CONTEST_SIZES = {
    "log": (40_000, 340_000),
    "rows": (4_000, 24_000),
    "validation_rows": (3_000, 8_000),
    "epochs": (1, 5),
    "watched": (5, 50),
    "seeds": (2, 5),
    "search_seeds": (2, 3),
    "rounds": (40, 600),
}
