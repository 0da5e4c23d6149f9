"""Rules about the code of a notebook: names, shell, network, training labels, course calls."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator

from mtlkit.course.author import copies
from mtlkit.course.author.make import Built
from mtlkit.course.author.source import Cell
from mtlkit.course.learner import evidence, lesson, questions, study
from mtlkit.course.learner.check import load as load_checkers

LABELS = ("batch", "forward", "task losses", "combine", "backward", "step")
_SHELL = re.compile(
    r"^\s*(!|%%?(bash|sh|script|system|sx|cmd|pip|conda)\b)|\bos\.system\(|\bsubprocess\b"
)
_NETWORK = re.compile(
    r"\b(requests|urllib|urllib3|httpx|aiohttp|socket|ftplib|pooch)\b\s*(\.|import)"
    r"|\b(import|from)\s+(requests|urllib|urllib3|http|httpx|aiohttp|socket|ftplib|pooch)\b"
    r"|\burlopen\(|\.download\(|\bdownload=True"
)
Rule = Iterator[tuple[int, str, bool]]


def rules(built: Built) -> Rule:
    """All findings about the code of both copies: (line, sentence, whether it is an error)."""
    code = [cell for cell in built.source.cells if cell.kind == "code"]
    for cell in code:
        yield from _lines(cell)
    parameters = [cell for cell in code if "parameters" in cell.tags]
    if len(parameters) != 1:
        yield 1, "exactly one cell must be tagged parameters", True
    elif not re.search(r"^MODE(, SHOP)? = ", parameters[0].source, flags=re.MULTILINE):
        yield parameters[0].line, "the parameters cell does not set MODE", True
    elif "shop()" in parameters[0].source:
        yield from _shop_stays(code)
    yield from _names(built)
    yield from _course_calls(built)
    yield from _learner_names(built)


def _lines(cell: Cell) -> Rule:
    for offset, row in enumerate(cell.source.split("\n"), start=1):
        if _SHELL.search(row):
            yield cell.line + offset, f"a shell line: {row.strip()!r}", True
        if _NETWORK.search(row):
            yield (
                cell.line + offset,
                f"a network call: {row.strip()!r}; the course is offline",
                True,
            )
        if len(row) > 100:
            yield cell.line + offset, f"a line of {len(row)} characters; 100 fit", False
    if re.search(r"\bguess\(", cell.source) and "hide-output" not in cell.tags:
        yield cell.line, "the answer to a guess is not folded: tag the cell hide-output", False
    if ".backward(" in cell.source and ".step(" in cell.source:
        comments = [row.partition("#")[2].lower() for row in cell.source.split("\n") if "#" in row]
        place = 0
        for label in LABELS:
            rest = [n for n in range(place, len(comments)) if label in comments[n]]
            if not rest:
                yield cell.line, f"a training loop without the label '# {label}' in its place", True
                return
            place = rest[0] + 1


def _shop_stays(code: list[Cell]) -> Rule:
    """A market of the name `shop` would be called when the parameters cell is run again."""
    for cell in code:
        try:
            lines = ast.parse(cell.source).body
        except SyntaxError:
            continue  # reported by ruff, or a cell with magics
        lines = [n for n in lines if not isinstance(n, ast.FunctionDef | ast.ClassDef)]
        names = [n for line in lines for n in ast.walk(line) if isinstance(n, ast.Name)]
        if any(name.id == "shop" and isinstance(name.ctx, ast.Store) for name in names):
            yield cell.line, "assigns 'shop', which the parameters cell calls: name it market", True


def _names(built: Built) -> Rule:
    """Syntax errors and names that do not resolve, found by ruff in each copy as one script."""
    for audience in copies.AUDIENCES:
        script, lines = [], []
        cells = copies.kept(built.source, audience)
        for cell, new in zip(cells, getattr(built, audience).cells, strict=True):
            if cell.kind != "code":
                continue
            for row in new.source.split("\n"):
                magic = re.match(r"^\s*[!%]", row)
                script.append("pass" if magic else row)
                lines.append(cell.line)
        for line, text in undefined("\n".join(script) + "\n"):
            yield lines[min(line, len(lines)) - 1], f"{audience} copy: {text}", True


def undefined(script: str) -> list[tuple[int, str]]:
    """(line, message) of each syntax error or unresolved name in a script; needs ruff."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,F822,E9"]
    command += ["--output-format", "json", "--stdin-filename", "notebook.py", "-"]
    done = subprocess.run(command, input=script.encode("utf-8"), capture_output=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"ruff could not run: {done.stderr.decode('utf-8', 'replace').strip()}")
    return [(e["location"]["row"], e["message"]) for e in json.loads(done.stdout or b"[]")]


def calls(cell: Cell) -> Iterator[tuple[str, list[str]]]:
    """(function, its plain texts) of each call in a cell whose first argument is a plain text."""
    try:
        tree = ast.parse(cell.source)
    except SyntaxError:
        return  # reported by ruff, or a cell with magics
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            plain = [a.value if isinstance(a, ast.Constant) else None for a in node.args]
            if isinstance(plain[0], str):
                yield name, [text for text in plain if isinstance(text, str)]


def _course_calls(built: Built) -> Rule:
    number = built.source.number
    try:
        asked = questions.load(number)
    except questions.QuestionError as error:
        yield 1, str(error), True
        asked = {"quizzes": {}, "predictions": {}}
    tables = {
        "quiz": (asked["quizzes"], f"no such quiz in lessons/nb{number}/quiz.yaml"),
        "predict": (asked["predictions"], f"no such prediction in lessons/nb{number}/quiz.yaml"),
        "guess": (asked["predictions"], f"no such prediction in lessons/nb{number}/quiz.yaml"),
        "hint": (built.source.exercises, "no such exercise"),
        "sizes": (lesson.numbers("sizes.py"), "no sizes in mtlkit/lessons/nbNN/sizes.py"),
        "evidence": (evidence.numbers(), "no stored tables: run `mtlkit evidence NN`"),
    }
    used: set[tuple[str, str]] = set()
    for cell in built.source.cells:
        for name, (argument, *more) in calls(cell) if cell.kind == "code" else ():
            used.add((name, argument))
            if name in tables and argument not in tables[name][0]:
                yield cell.line, f'{name}("{argument}"): {tables[name][1]}', True
            if name == "study" and more and (argument, more[0]) not in study.every():
                told = "no stored tables: run `mtlkit evidence NN --study NAME`"
                yield cell.line, f'study("{argument}", "{more[0]}"): {told}', True
    for name in asked["quizzes"]:
        if ("quiz", name) not in used:
            yield 1, f"the quiz {name} is never asked", False
    for name in asked["predictions"]:
        if ("predict", name) not in used:
            yield 1, f"the prediction {name} is never asked", False
    checkers = load_checkers(number)
    for exercise in built.source.exercises.values():
        if exercise.id not in checkers:
            text = f"exercise {exercise.id} has no checker in lessons/nb{number}/checks.py"
            yield exercise.line, text, True
        elif len(checkers[exercise.id].wrong) < 2:
            text = f"the checker of {exercise.id} stores fewer than two wrong answers"
            yield exercise.line, text, True


def _learner_names(built: Built) -> Rule:
    """Later cells must not need what the learner writes."""
    own: dict[str, str] = {}
    for cell in built.source.cells:
        if cell.kind != "code" or {"check", "solution"} & set(cell.tags):
            continue
        try:
            tree = ast.parse(cell.source)
        except SyntaxError:
            continue
        if "exercise-code" in cell.tags:
            for line in tree.body:
                if isinstance(line, ast.FunctionDef | ast.ClassDef):
                    own[line.name] = cell.exercise
                elif isinstance(line, ast.Assign):
                    own |= {t.id: cell.exercise for t in line.targets if isinstance(t, ast.Name)}
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                if isinstance(node.ctx, ast.Store):
                    own.pop(node.id, None)
                elif node.id in own:
                    yield (
                        cell.line,
                        f"uses {node.id!r}, which the learner writes in exercise {own[node.id]}; "
                        "later cells use the package",
                        True,
                    )
                    break
