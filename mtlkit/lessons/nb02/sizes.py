"""The sizes of notebook 02: (smoke, full)."""

SIZES = {
    "rows": (4_000, 60_000),
    "map_epochs": (1, 8),
    "tries": (2, 4),
    "epochs": (1, 8),
    "steps": (20, 400),
    "seeds": (2, 10),
    "timings": (1, 3),
}

CONTEST_SIZES = {
    "correlations": ((0.0, 0.95), (0.0, 0.5, 0.95)),
    "rows": ((2_000, 4_000), (7_000, 20_000, 60_000)),
    "middle": ((0.95, 4_000), (0.5, 60_000)),
    "epochs": (1, 8),
    "batch_size": (512, 1_024),
    "seeds": (2, 5),
    "search_seeds": (1, 3),
    "test_rows": (20_000, 400_000),
    "rounds": (30, 1_000),
}
