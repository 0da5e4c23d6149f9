"""The sizes of notebook 01: (smoke, full)."""

SIZES = {
    "rows": (20_000, 60_000),
    "days": ((33, 44), (33, 44)),
    "epochs": (2, 8),
    "starts": (1, 2),
    "seeds": (2, 5),
    "rounds": (30, 300),
}

# As stored with the contest's tables; it reads the last five and no other.
CONTEST_SIZES = {
    "rows": (20_000, 60_000),
    "days": ((33, 44), (33, 44)),
    "sessions": (4_000, 20_000),
    "every": (61, 7),
    "epochs": (2, 8),
    "starts": (1, 2),
    "rounds": (30, 200),
    "seeds": (2, 5),
    "contest_rows": ((2_000, 4_000), (60_000,)),
    "contest_epochs": (1, 8),
    "contest_seeds": (2, 5),
    "contest_search_seeds": (1, 3),
    "contest_test_rows": (20_000, 400_000),
}
