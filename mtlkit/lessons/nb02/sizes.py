"""The sizes of notebook 02: (smoke, full)."""

SIZES = {
    "epochs": (1, 8),
    "steps": (20, 400),
    "seeds": (2, 10),
    "timings": (1, 3),
    "tries": (2, 4),
    "map_correlations": ((0.0, 0.95), (0.0, 0.5, 0.95)),
    "map_rows": ((2_000, 4_000), (20_000, 60_000, 120_000)),
    "map_ladder": ((0.95, 4_000), (0.5, 60_000)),
    "rows": (4_000, 60_000),
    "map_epochs": (1, 8),
    "map_seeds": (2, 5),
    "map_search_rows": (4_000, 60_000),
    "map_search_seeds": (1, 3),
    "map_test_rows": (20_000, 400_000),
}
