"""The sizes of notebook 09: (smoke, full)."""

SIZES = {
    "rows": (4_000, 60_000),
    "epochs": (1, 6),
    "log": (2_000, 20_000),  # sessions of the event log
}

CONTEST_SIZES = {
    "rows": (3_000, 60_000),
    "test_rows": (6_000, 100_000),
    "epochs": (1, 10),
    "batch_size": (256, 512),
    "seeds": (1, 1),
    "search_seeds": (1, 1),
    "rounds": (10, 100),
}
