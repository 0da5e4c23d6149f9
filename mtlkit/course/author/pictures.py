"""The pictures that a notebook shows, with their sizes and descriptions."""

import base64
from typing import Any

LARGEST_PICTURE = 80 * 1024  # bytes of PNG


def pictures(notebook: Any) -> list[tuple[int, int, str]]:
    """Every PNG output as (position of its cell from 1, bytes, alt text, "" if it has none)."""
    found = []
    for position, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            png = output.get("data", {}).get("image/png")
            if png:
                size = len(base64.b64decode(png))
                metadata = output.get("metadata", {})
                alt = metadata.get("image/png", {}).get("alt") or metadata.get("alt") or ""
                found.append((position, size, str(alt).strip()))
    return found
