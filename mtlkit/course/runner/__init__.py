"""Executing notebooks without a screen, and the report of a whole course."""
