"""Public data sets: a registry of where they are found, and one file a set."""
