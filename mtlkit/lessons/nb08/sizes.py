"""The sizes of notebook 08: (smoke, full)."""

SIZES = {
    "rows": (4_000, 60_000),
    "epochs": (1, 8),
}

CONTEST_SIZES = {
    "shifts": ((0.0, 0.5), (0.0, 0.5, 1.0)),
    "middle": (0.5, 0.5),
    "rows": (3_000, 60_000),
    "tail": ((300,), (2_000, 500)),
    "late": ((0, 100), (0, 100, 1_000, 10_000)),
    "epochs": (1, 8),
    "batch_size": (512, 1_024),
    "seeds": (1, 1),
    "search_seeds": (1, 1),
    "test_rows": (6_000, 400_000),
    "many": ((3, 6), (3, 10, 30, 100)),
    "steps": (2, 8),
}
