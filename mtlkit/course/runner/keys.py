"""What a stored result rests on, and which of it has moved since.

A key is a dictionary of plain values: "code" {file: hash} of a contest or study, or "cells" [id] of
a notebook, "sizes" {name: full size}, "torch" (its release), "golden" {frozen name: hash},
"evidence" (a hash of the contest's tables that a notebook shows), "studies" {name: hash of its
tables}. Only what the old key names can have moved: a number frozen since does not make a result
stale, nor do tables stored since.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mtlkit.course.learner import lesson, study
from mtlkit.course.learner.modes import sizes
from mtlkit.course.learner.stored_tables import KEY, read_key, short_hash
from mtlkit.course.runner.execute import CHECKOUT
from mtlkit.files import why_not_read

GOLDEN = CHECKOUT / "tests" / "golden" / "values.json"
NAMED = 4  # frozen names told one by one; the rest are counted


class NoCheckout(RuntimeError):
    """Something needs the project's files, and this is an installed package."""


def golden(path: Path | None = None) -> dict[str, str]:
    """{frozen name: hash of its value}, all of them.

    Raises ``NoCheckout`` without the file, ``ValueError`` for a damaged one.
    """
    path = path or GOLDEN
    if not path.is_file():
        raise NoCheckout(
            f"There is no {path}: stored results are made and checked in a git clone of mtlkit."
        )
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
        values = {name: value for part in parts.values() for name, value in part.items()}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        told = why_not_read(path, error) if isinstance(error, OSError) else error
        raise ValueError(f"{path} is damaged ({told}): restore it from the repository.") from error
    return {name: short_hash(json.dumps(value)) for name, value in values.items()}


def golden_of(prefixes: Iterable[str], found: Mapping[str, str], where: str) -> dict[str, str]:
    """The frozen names that begin with one of the prefixes, up to a colon or a comma.

    Raises ``ValueError`` for a prefix that no name has; ``where`` says where it is written.
    """
    chosen: dict[str, str] = {}
    for prefix in prefixes:
        mine = {n: h for n, h in found.items() if n.startswith((f"{prefix}:", f"{prefix},"))}
        if not mine:
            known = dict.fromkeys(name.split(":")[0].split(",")[0] for name in found)
            raise ValueError(
                f"{where}: no frozen number in tests/golden/values.json begins with {prefix!r}; "
                f"there are: {', '.join(known)}."
            )
        chosen |= mine
    return chosen


def torch_release() -> str:
    """The release of torch, "2.13.0", without what follows a plus sign."""
    import torch

    return str(torch.__version__).partition("+")[0]


def full_sizes(number: str, *, of_contest: bool = False) -> dict[str, str]:
    """{size: its value in full mode, as code}; empty for a lesson without sizes."""
    if number not in lesson.numbers("sizes.py"):
        return {}
    found = sizes(number, "full", of_contest=of_contest)
    return {name: repr(value) for name, value in vars(found).items()}


def file_hash(path: Path) -> str:
    """A hash of a text file, blind to line ends and to spaces at the end of a line."""
    return text_hash(path.read_text(encoding="utf-8"))


def text_hash(text: str) -> str:
    """A hash of a text, blind to line ends and to spaces at the end of a line."""
    return short_hash("\n".join(line.rstrip() for line in text.split("\n")))


def evidence_hash(number: str) -> str | None:
    """A hash of the stored tables of a lesson's contest, None without any."""
    folder = lesson.path(number, "evidence")
    return _tables_hash(folder) if (folder / KEY).is_file() else None


def study_hashes(number: str) -> dict[str, str]:
    """{study: a hash of its stored tables} of a lesson."""
    return {name: _tables_hash(study.folder(number, name)) for name in study.names(number)}


def _tables_hash(folder: Path) -> str:
    return short_hash(json.dumps(read_key(folder)["tables"], sort_keys=True))


def moved(old: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs from an old key, in words; empty if the result still stands."""
    return [text for part in now for text in _moved(part, old.get(part), now[part])]


def _moved(part: str, old: Any, now: Any) -> Iterator[str]:
    if part == "evidence":
        if old is not None and old != now:
            yield "the stored evidence that the notebook shows"
    elif part == "studies":
        for name in (name for name in old or {} if old[name] != now.get(name)):
            yield f"the tables of the study {name}, which the notebook shows,"
    elif old is None:
        yield f"the form of the key, which says nothing of {part},"
    elif part == "torch" and old != now:
        yield f"torch ({old}, now {now})"
    elif part == "cells" and old != now:
        both = zip(old, now, strict=False)
        place = next((n for n, (a, b) in enumerate(both, 1) if a != b), min(len(old), len(now)) + 1)
        yield f"the notebook's code, from code cell {place} on"
    elif part == "code":
        yield from (name for name in sorted({*old, *now}) if old.get(name) != now.get(name))
    elif part == "sizes":
        for name in sorted({*old, *now}):
            if old.get(name) != now.get(name):
                yield f"size {name} ({old.get(name, 'none')}, now {now.get(name, 'none')})"
    elif part == "golden":
        names = [name for name in old if old[name] != now.get(name)]
        for name in names[:NAMED]:
            yield f'the frozen number "{name}"' + ("" if name in now else ", which is gone")
        if len(names) > NAMED:
            yield f"{len(names) - NAMED} more frozen numbers"
