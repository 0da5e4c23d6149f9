"""The sizes of notebook 01: (smoke, full)."""

SIZES = {
    "rows": (20_000, 100_000),
    "days": ((33, 44), (33, 44)),
    "sessions": (4_000, 20_000),
    "journey": (6_000, 30_000),
    "epochs": (2, 8),
    "starts": (1, 2),
    "seeds": (2, 5),
}
