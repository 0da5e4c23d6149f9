"""Reading a notebook source: its cells, tags, cards and solution markers.

The format is described for authors in `notebooks/README.md`. Everything that is wrong with a source
is collected and reported at once, with file, line and what to do.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

SECTIONS = (
    "title",
    "goals",
    "recall",
    "setup",
    "story",
    "predict",
    "worked",
    "observe",
    "exercise",
    "compare",
    "exercise",
    "trap",
    "practice",
    "challenge",
    "exit",
    "sources",
)
TAGS = frozenset(SECTIONS) | {
    "exercise-code",
    "check",
    "solution",
    "instructor",
    "quiz",
    "parameters",
    "lang-en",
    "lang-zh",
    "hide-input",
    "hide-output",
}
LEVELS = ("look", "fill in", "modify", "write", "challenge")
TITLE_FIELDS = ("title", "question", "read", "run")
EXERCISE_FIELDS = ("id", "level", "minutes", "goal", "hints")

_BEGIN = re.compile(r"^\s*# BEGIN SOLUTION\s*$")
_END = re.compile(r"^\s*# END SOLUTION\s*$")
_STUB = re.compile(r"^(\s*)# STUB: ?(.*)$")
_LOOKS_LIKE_MARKER = re.compile(r"#\s*(BEGIN|END|STUB)\b.*", re.IGNORECASE)
_CHECK_CALL = re.compile(r"""\bcheck\(\s*["']([^"']+)["']""")


class SourceError(ValueError):
    """A notebook source breaks the format; the message lists every problem with file and line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass
class Cell:
    """One cell of a source: its kind ("markdown" or "code"), text, tags and line in the file."""

    kind: str
    source: str
    tags: tuple[str, ...] = ()
    line: int = 0
    translates: str = ""
    exercise: str = ""


@dataclass
class Exercise:
    """An exercise card with the cells that belong to it."""

    id: str
    level: str
    minutes: int
    goal: str
    hints: list[str]
    body: str
    line: int
    code: list[Cell] = field(default_factory=list)
    explanations: list[Cell] = field(default_factory=list)
    checked: bool = False


@dataclass
class Title:
    """The fields of a title card, and the markdown below them."""

    title: str
    question: str
    read: int
    run: int
    needs: list[str]
    cut: list[str]
    body: str


@dataclass
class Source:
    """A parsed notebook source: `number` is "02", `name` is "02_share_the_bottom"."""

    path: Path
    cells: list[Cell]
    title: Title
    exercises: dict[str, Exercise]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def number(self) -> str:
        return self.name.split("_")[0]


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


def split_card(source: str) -> tuple[dict, str]:
    """Split a card into its fields (YAML above `---`, all values text) and the markdown below."""
    import yaml

    head, mark, body = source.partition("\n---")
    if not mark:
        raise ValueError("the card has no '---' line between its fields and its text")
    try:
        fields = yaml.load(head, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1} of the card" if where else ""
        raise ValueError(f"the card's fields are not YAML{line}: {error.problem}") from None
    if not isinstance(fields, dict):
        raise ValueError("the card's fields must be 'name: value' lines")
    return fields, body.lstrip("-").strip("\n")


def _minutes(fields: dict, name: str) -> int:
    try:
        return int(fields[name])
    except (TypeError, ValueError):
        raise ValueError(f"'{name}' must be whole minutes, found {fields[name]!r}") from None


def _listed(fields: dict, name: str) -> list[str]:
    value = fields.get(name, [])
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError(f"'{name}' must be a list ('- one entry a line'; quote texts with ': ')")
    return value


def _require_fields(fields: dict, required: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    missing = [name for name in required if not fields.get(name)]
    unknown = [name for name in fields if name not in allowed]
    if missing:
        raise ValueError(f"the card lacks {', '.join(missing)}")
    if unknown:
        raise ValueError(f"unknown field {', '.join(unknown)}; known: {', '.join(allowed)}")


def read_title(source: str) -> Title:
    """Read a title card; raises ValueError naming the field that is wrong."""
    fields, body = split_card(source)
    _require_fields(fields, TITLE_FIELDS, (*TITLE_FIELDS, "needs", "cut"))
    return Title(
        fields["title"],
        fields["question"],
        _minutes(fields, "read"),
        _minutes(fields, "run"),
        _listed(fields, "needs"),
        _listed(fields, "cut"),
        body,
    )


def read_exercise(source: str, line: int = 0) -> Exercise:
    """Read an exercise card; raises ValueError naming the field that is missing or malformed."""
    fields, body = split_card(source)
    _require_fields(fields, EXERCISE_FIELDS, EXERCISE_FIELDS)
    if not re.fullmatch(r"\d+\.\d+", fields["id"]):
        raise ValueError(f"'id' must look like 2.1, found {fields['id']!r}")
    if fields["level"] not in LEVELS:
        raise ValueError(f"'level' must be one of {', '.join(LEVELS)}; found {fields['level']!r}")
    if not body:
        raise ValueError("the card has no text below '---'")
    return Exercise(
        fields["id"],
        fields["level"],
        _minutes(fields, "minutes"),
        fields["goal"],
        _listed(fields, "hints"),
        body,
        line,
    )


def read_cells(text: str) -> list[Cell]:
    """Cells of a percent-format text, with the line of each `# %%` marker where it is known."""
    import jupytext

    notebook = jupytext.reads(text, fmt="py:percent")
    lines = [n for n, row in enumerate(text.split("\n"), start=1) if re.match(r"# ?%%", row)]
    cells = []
    for position, cell in enumerate(notebook.cells):
        line = lines[position] if len(lines) == len(notebook.cells) else 0
        kind = "markdown" if cell.cell_type == "markdown" else "code"
        tags = cell.metadata.get("tags", [])
        tags = tuple(tags) if isinstance(tags, list) else (str(tags),)
        translates = str(cell.metadata.get("of", ""))
        cells.append(Cell(kind, cell.source.strip("\n"), tags, line, translates))
    return cells


def parse(path: Path | str) -> Source:
    """Read and validate one notebook source.

    Raises SourceError listing every problem: markers out of order, a missing solution or stub, an
    unknown tag, a duplicate exercise id, an exercise without check, a check for an unknown
    exercise.
    """
    path = Path(path)
    problems: list[str] = []
    cells = [cell for cell in read_cells(path.read_text(encoding="utf-8")) if cell.source]
    title: Title | None = None
    exercises: dict[str, Exercise] = {}
    current: Exercise | None = None
    where = path.name

    def problem(cell: Cell, sentence: object) -> None:
        problems.append(f"{where}:{cell.line}: {sentence}")

    for cell in cells:
        for tag in cell.tags:
            if tag not in TAGS:
                problem(cell, f"unknown tag {tag!r}; known: {', '.join(sorted(TAGS))}")
        if "title" in cell.tags:
            try:
                title = read_title(cell.source)
            except ValueError as error:
                problem(cell, f"title card: {error}")
                title = title or Title("", "", 0, 0, [], [], "")
        if "hide-output" in cell.tags and cell.kind != "code":
            problem(cell, "a cell tagged hide-output is no code cell: there is no output to fold")
        if {"hide-input", "hide-output"} <= set(cell.tags) and not cell.source.startswith("# "):
            problem(
                cell,
                "a cell tagged hide-input and hide-output shows only its first line: make it a "
                "comment such as '# The answer to your guess: run this cell.'",
            )
        if "exercise" in cell.tags:
            try:
                current = read_exercise(cell.source, cell.line)
            except ValueError as error:
                current = None
                problem(cell, f"exercise card: {error}")
            else:
                if current.id in exercises:
                    first = exercises[current.id].line
                    problem(cell, f"exercise {current.id} is already defined in line {first}")
                else:
                    exercises[current.id] = current
                number = path.stem.split("_")[0]
                if number.isdigit() and int(current.id.split(".")[0]) != int(number):
                    problem(cell, f"exercise {current.id} does not belong to notebook {number}")
        cell.exercise = current.id if current else ""
        if "exercise-code" in cell.tags:
            try:
                _, _, blocks = split_solution(cell.source)
                if not blocks:
                    raise ValueError(
                        "an exercise-code cell without a solution: mark it with "
                        "'# BEGIN SOLUTION' and '# END SOLUTION'"
                    )
            except ValueError as error:
                problem(cell, error)
            if current is None:
                problem(cell, "an exercise-code cell without an exercise card above it")
            else:
                current.code.append(cell)
        elif cell.kind == "code" and has_markers(cell.source):
            problem(cell, "solution markers in a cell that is not tagged exercise-code")
        if "solution" in cell.tags and current is not None:
            current.explanations.append(cell)
        called = _CHECK_CALL.findall(cell.source) if cell.kind == "code" else []
        if called and "check" not in cell.tags:
            problem(cell, "check(...) is called in a cell that is not tagged check")
        if "check" in cell.tags and not called:
            problem(cell, 'a cell tagged check does not call check("<id>", answer)')
        for name in called:
            if name in exercises:
                exercises[name].checked = True
            else:
                problem(cell, f"check for an unknown exercise {name}: no card above has this id")
    for exercise in exercises.values():
        if not exercise.checked:
            problems.append(
                f"{where}:{exercise.line}: exercise {exercise.id} has no check: add a cell "
                f'tagged check with check("{exercise.id}", answer)'
            )
    if title is None:
        problems.append(f"{where}:1: no cell is tagged title")
    if problems or title is None:
        raise SourceError(problems)
    return Source(path, cells, title, exercises)
