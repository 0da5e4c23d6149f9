"""A lesson in a temporary folder, imported as `mtlkit.lessons.nb96`, with frozen numbers."""

import json
import sys
from contextlib import contextmanager

import mtlkit.lessons
from mtlkit.course.learner import lesson
from mtlkit.course.runner import keys

GOLDEN = {
    "shop": {"small, seed 1: live": "aa", "small: demand": "bb", "tiny: live": "cc"},
    "training": {"SharedBottom: ten steps": [0.5, 0.25], "MMoE: ten steps": [1.0]},
}


class Lesson:
    """Its files by name, such as "contest" or "studies/census", and the frozen numbers."""

    def __init__(self, root, files):
        self.folder = root / "lessons" / "nb96"
        self.golden = root / "values.json"
        for name, text in files.items():
            self.write(name, text)
        self.freeze(GOLDEN)

    def write(self, name, text):
        path = self.folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        self.forget()

    def edit(self, name, old, new):
        text = (self.folder / f"{name}.py").read_text(encoding="utf-8")
        assert old in text
        self.write(name, text.replace(old, new))

    def freeze(self, values):
        self.golden.write_text(json.dumps(values), encoding="utf-8")

    @staticmethod
    def forget():
        """The next import reads the files anew."""
        for name in [n for n in sys.modules if n.startswith("mtlkit.lessons.nb96")]:
            del sys.modules[name]
        vars(mtlkit.lessons).pop("nb96", None)

    def stored(self, place="evidence"):
        """{file: content} of stored tables and their key."""
        return {p.name: p.read_bytes() for p in sorted((self.folder / place).glob("*"))}

    def key(self, place="evidence"):
        return json.loads((self.folder / place / "key.json").read_text(encoding="utf-8"))


@contextmanager
def mounted(files, root, monkeypatch):
    """The lesson, found by the course in place of the real ones."""
    made = Lesson(root, files)
    monkeypatch.setattr(lesson, "FOLDER", root / "lessons")
    monkeypatch.setattr(
        mtlkit.lessons, "__path__", [*mtlkit.lessons.__path__, str(root / "lessons")]
    )
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(keys, "GOLDEN", made.golden)
    yield made
    made.forget()
