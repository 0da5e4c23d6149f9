"""Solution markers: what the learner gets of an exercise cell, and what the solution copy."""

import re
from dataclasses import dataclass

_BEGIN = re.compile(r"^\s*# BEGIN SOLUTION\s*$")
_END = re.compile(r"^\s*# END SOLUTION\s*$")
_STUB = re.compile(r"^(\s*)# STUB: ?(.*)$")
_LOOKS_LIKE_MARKER = re.compile(r"#\s*(BEGIN|END|STUB)\b.*", re.IGNORECASE)


@dataclass(frozen=True)
class Block:
    """One solution block: the lines that the learner must find, and the stub shown instead."""

    solution: tuple[str, ...]
    stub: tuple[str, ...]


def split_solution(source: str) -> tuple[str, str, list[Block]]:
    """Split a cell with solution markers into (learner's text, solution's text, blocks).

    Raises ValueError with a sentence if the markers are out of order, a solution is empty, or a
    block has no `# STUB:` line right after its end.
    """
    learner: list[str] = []
    solved: list[str] = []
    blocks: list[Block] = []
    inside: list[str] | None = None
    waiting: list[str] | None = None  # the solution whose stub lines are being read
    stub: list[str] = []

    def close() -> None:
        nonlocal waiting, stub
        if waiting is not None:
            if not stub:
                raise ValueError(
                    "a solution block has no stub: put at least one '# STUB: ...' line right after "
                    "'# END SOLUTION'"
                )
            blocks.append(Block(tuple(waiting), tuple(stub)))
        waiting, stub = None, []

    for text in source.split("\n"):
        stub_line = _STUB.match(text)
        if _BEGIN.match(text):
            if inside is not None:
                raise ValueError("'# BEGIN SOLUTION' inside a block that has not ended")
            close()
            inside = []
        elif _END.match(text):
            if inside is None:
                raise ValueError("'# END SOLUTION' without a '# BEGIN SOLUTION' before it")
            if not any(line.strip() for line in inside):
                raise ValueError(
                    "a solution block is empty: write the solution between its markers"
                )
            waiting, inside = inside, None
        elif stub_line:
            if inside is not None:
                raise ValueError(
                    "'# STUB:' stands inside the solution: put it after '# END SOLUTION'"
                )
            if waiting is None:
                raise ValueError("'# STUB:' without a solution block right before it")
            stub.append((stub_line[1] + stub_line[2]).rstrip())
            learner.append(stub[-1])
        elif _LOOKS_LIKE_MARKER.fullmatch(text.strip()) and text.strip()[2:5].isupper():
            raise ValueError(
                f"'{text.strip()}' looks like a marker but is none: the markers are "
                "'# BEGIN SOLUTION', '# END SOLUTION' and '# STUB: ...'"
            )
        elif inside is not None:
            inside.append(text)
            solved.append(text)
        else:
            close()
            learner.append(text)
            solved.append(text)
    if inside is not None:
        raise ValueError("'# BEGIN SOLUTION' without '# END SOLUTION'")
    close()
    return "\n".join(learner), "\n".join(solved), blocks


def has_markers(source: str) -> bool:
    """Whether any line of a cell is a solution marker."""
    return any(_BEGIN.match(t) or _END.match(t) or _STUB.match(t) for t in source.split("\n"))
