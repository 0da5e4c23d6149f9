"""The sizes of notebook 09: (smoke, full)."""

SIZES = {
    "rows": (3_000, 60_000),  # sessions to train on, to choose on and to test on
    "log": (2_000, 20_000),  # sessions of the event log
    "epochs": (1, 8),
}
