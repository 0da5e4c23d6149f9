"""The sizes of notebook 09: (smoke, full)."""

SIZES = {
    "rows": (4_000, 60_000),
    "epochs": (1, 6),
    "log": (2_000, 20_000),  # sessions of the event log
}
