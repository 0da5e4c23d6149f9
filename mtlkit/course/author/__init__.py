"""From sources to copies: the builder, its lints, instructor pages and decks."""
