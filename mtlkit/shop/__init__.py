"""The synthetic shop: one generator, many tables, known truth."""
