"""The sizes of notebook 06: (smoke, full)."""

SIZES = {
    "rows": (12_000, 60_000),
    "test_rows": (20_000, 200_000),
    "epochs": (1, 5),
    "live": (2, 3),
    "tries": (2, 4),
    "batches": (3, 40),
    "batch_sizes": ((64, 512, 2_048), (64, 512, 4_096)),
    "toy_steps": (100, 35_000),
}

CONTEST_SIZES = {
    "rows": (6_000, 60_000),
    "test_rows": (20_000, 200_000),
    "epochs": (1, 5),
    "search_seeds": (1, 3),
    "seeds": (2, 5),
    "rounds": (30, 1_000),
}
