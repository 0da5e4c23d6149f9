"""What a rebuild would change, and generated files whose source is gone."""

from typing import Any

from mtlkit.course.author import copies
from mtlkit.course.author.folders import HERE, Folders, copy_path, read_notebook, source_paths
from mtlkit.course.author.make import Built
from mtlkit.course.runner import full_runs, keys


def differences(built: Built, folders: Folders = HERE) -> list[str]:
    """Sentences about committed files that a rebuild would change (outputs are not compared)."""
    found = []
    for audience in copies.AUDIENCES:
        path = copy_path(built.source, audience, folders)
        old, new = read_notebook(path), getattr(built, audience)
        shown = folders.shown(path)
        if old is None:
            found.append(f"{shown}: missing or not a notebook")
            continue
        for position, (a, b) in enumerate(zip(old.cells, new.cells, strict=False), start=1):
            if _identity(a) != _identity(b):
                first = b.source.split("\n")[0]
                found.append(f"{shown}: cell {position} differs from its source (now {first!r})")
                break
        else:
            if len(old.cells) != len(new.cells):
                found.append(f"{shown}: has {len(old.cells)} cells, its source {len(new.cells)}")
            elif (old.metadata, old.nbformat_minor) != (new.metadata, new.nbformat_minor):
                found.append(f"{shown}: its metadata differ (kernelspec, format or extra entries)")
            elif b"\r" in path.read_bytes():
                found.append(f"{shown}: has CR LF line ends")
    for path, text in built.files.items():
        shown = folders.shown(path)
        if not path.exists():
            found.append(f"{shown}: missing")
            continue
        old_lines = path.read_text(encoding="utf-8").split("\n")
        new_lines = text.split("\n")
        if old_lines != new_lines:
            line = next(
                (
                    n
                    for n, (a, b) in enumerate(zip(old_lines, new_lines, strict=False), 1)
                    if a != b
                ),
                min(len(old_lines), len(new_lines)),
            )
            found.append(f"{shown}: line {line} differs from what its source gives")
    return found


def stale_records(built: Built, folders: Folders = HERE) -> list[str]:
    """A sentence if the records of the last full run no longer hold; none where none are stored."""
    number = built.source.number
    if not full_runs.place(number, folders.lessons).is_file() or not keys.GOLDEN.is_file():
        return []
    return full_runs.stale(number, built.learner, folders.lessons)


def _identity(cell: Any) -> tuple:
    return cell.cell_type, cell.get("id"), cell.source, dict(cell.metadata)


def orphans(folders: Folders = HERE) -> list[str]:
    """Generated files whose source is gone."""
    names = {path.stem for path in source_paths(folders)}
    generated = [
        *folders.notebooks.glob("[0-9][0-9]_*.ipynb"),
        *(folders.notebooks / "solutions").glob("[0-9][0-9]_*.ipynb"),
        *(folders.notebooks / "instructor").glob("[0-9][0-9]_*.md"),
    ]
    found = [path for path in sorted(generated) if path.stem not in names]
    numbers = {name[:2] for name in names}
    for name in ("cards.json", "records.json"):
        made = sorted(folders.lessons.glob(f"nb*/{name}"))
        found += [path for path in made if path.parent.name[2:] not in numbers]
    return [f"{folders.shown(path)}: its source is gone; delete it" for path in found]
