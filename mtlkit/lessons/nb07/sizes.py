"""The sizes of notebook 07: (smoke, full)."""

SIZES = {
    "seeds": (2, 6),  # of the live experiment, at each correlation
    "steps": (20, 1_000),
    "block": (5, 50),  # steps in a point of its figure
    "rows": (4_000, 60_000),
    "epochs": (1, 8),
    "tries": (2, 3),
}

CONTEST_SIZES = {
    "correlations": ((0.0, 0.95), (0.0, 0.5, 0.95)),
    "rows": ((2_000, 4_000), (7_000, 60_000)),
    "middle": ((0.95, 4_000), (0.5, 60_000)),
    "epochs": (1, 8),
    "batch_size": (512, 1_024),
    "seeds": (2, 5),
    "search_seeds": (1, 2),
    "test_rows": (20_000, 400_000),
    "looked_at": (1_000, 20_000),
    "steps": (3, 30),
}
