"""The vocabulary of a multi-scenario, multi-task data set: tasks, fields, scenarios, schema.

Nothing here computes with tensors. A schema says which columns a table has, which of them a model
may read, which outcomes it predicts and what each outcome is; everything else in the package (the
table's checks, the loss, the metrics, the sizes of a model) follows from it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from numbers import Real
from typing import Any

KINDS = ("binary", "multiclass", "regression", "count", "censored_count")
WHOLE = "all"  # how tables by scenario call all rows together


class SchemaError(ValueError):
    """A column, row or split does not fit its schema; the message says which, why, what to do."""


def _check_name(name: str, what: str) -> None:
    if not isinstance(name, str) or not name.strip():
        raise SchemaError(f"{what} needs a name: a non-empty string, not {name!r}.")


def _check_text(value: str, what: str) -> None:
    if not isinstance(value, str):
        raise SchemaError(f"{what} must be a text, not {value!r}.")


def _whole(value: Any, what: str) -> int:
    """A whole number from 1 on as Python's own: NumPy's come from counting ids."""
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if not 1 <= number < 2**63:
        most = " and below 2**63" if number else ""
        raise SchemaError(f"{what} must be a whole number of 1 or more{most}, not {value!r}.")
    return number


def _number(value: Any, what: str, least: float, told: str) -> float:
    """A finite number of ``least`` or more as Python's own float."""
    try:
        real = isinstance(value, Real) and not isinstance(value, bool)
        number = float(value) if real else math.nan
    except OverflowError:
        number = math.nan
    if not (math.isfinite(number) and number >= least):
        raise SchemaError(f"{what} must be {told}, not {value!r}.")
    return number


@dataclass(frozen=True)
class Task:
    """One outcome to predict.

    Parameters
    ----------
    name
        The label's column, for example ``"click"``.
    kind
        ``"binary"`` (0 or 1), ``"multiclass"`` (0 .. classes - 1), ``"regression"`` (any finite
        number), ``"count"`` (0, 1, 2, ...) or ``"censored_count"`` (a count that is only a lower
        bound on rows flagged as censored, such as units sold before a stock-out).
    classes
        Number of classes of a multiclass task.
    given
        Name of a binary task: this label is observed only where that task's label is 1, and this
        task's logit is conditional on it (purchase given click).
    unit
        Natural unit of the label, for axes and tables ("seconds", "euro").
    weight
        Fixed default weight of the task's loss; the total loss is the sum of weight x loss.
    location, scale, log1p
        Regression only. A model's raw output z means natural = inverse(location + scale * z), where
        inverse is exp(.) - 1 if ``log1p`` else the identity. ``fitted`` measures both on labels.
    """

    name: str
    kind: str = "binary"
    classes: int | None = None
    given: str | None = None
    unit: str = ""
    weight: float = 1.0
    location: float = 0.0
    scale: float = 1.0
    log1p: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name, "A task")
        if not isinstance(self.kind, str) or self.kind not in KINDS:
            raise SchemaError(
                f"Task {self.name!r}: kind {self.kind!r} is unknown; choose one of "
                f"{', '.join(KINDS)}."
            )
        if self.kind == "multiclass":
            what = f"Task {self.name!r}: the number of classes"
            object.__setattr__(self, "classes", _whole(self.classes, what))
            if self.outputs < 2:
                raise SchemaError(f"{what} must be 2 or more, not {self.classes!r}.")
        elif self.classes is not None:
            raise SchemaError(
                f"Task {self.name!r}: classes belongs to multiclass tasks; this one is {self.kind}."
            )
        if not isinstance(self.log1p, bool):
            raise SchemaError(f"Task {self.name!r}: log1p is True or False, not {self.log1p!r}.")
        for name, least, told in (
            ("location", -math.inf, "a finite number"),
            ("scale", 5e-324, "a finite number above 0"),
            ("weight", 0, "a finite number of 0 or more"),
        ):
            value = _number(getattr(self, name), f"Task {self.name!r}: {name}", least, told)
            object.__setattr__(self, name, value)
        fitted = (self.location, self.scale, self.log1p) != (0.0, 1.0, False)
        if fitted and self.kind != "regression":
            raise SchemaError(
                f"Task {self.name!r}: location, scale and log1p belong to regression tasks; this "
                f"one is {self.kind}."
            )
        _check_text(self.unit, f"Task {self.name!r}: unit")
        if self.given is not None:
            _check_name(self.given, f"Task {self.name!r}: given")
        if self.given == self.name:
            raise SchemaError(f"Task {self.name!r} cannot be given itself.")

    @property
    def outputs(self) -> int:
        """Number of logits per row: ``classes`` for a multiclass task, otherwise 1."""
        return self.classes if self.classes is not None else 1

    @property
    def is_binary(self) -> bool:
        return self.kind == "binary"

    @property
    def is_count(self) -> bool:
        return self.kind in ("count", "censored_count")

    def fitted(self, labels: Iterable[float], weights: Iterable[float] | None = None) -> Task:
        """Return the task with location and scale measured on ``labels`` (observed training rows).

        Regression: mean and standard deviation of the labels, after log(1 + label) if ``log1p``;
        ``weights`` are those of their rows, None: 1 each. Other kinds are returned unchanged.
        """
        if self.kind != "regression":
            return self
        labels = labels if isinstance(labels, Collection) else list(labels)  # read twice
        count = len(labels)
        if count < 2:
            raise SchemaError(
                f"Task {self.name!r}: {count} observed label(s) are too few to measure a scale."
            )
        rows = None if weights is None else [float(w) for w in weights]
        total = count if rows is None else math.fsum(rows)
        if not total > 0:
            raise SchemaError(
                f"Task {self.name!r}: all {count} observed labels weigh 0, so no scale can "
                "be measured."
            )

        def summed(values: Iterable[float]) -> float:
            if rows is None:
                return math.fsum(values)
            return math.fsum(w * v for w, v in zip(rows, values, strict=True))

        mean = summed(self._units(labels)) / total
        deviation = math.sqrt(summed((v - mean) ** 2 for v in self._units(labels)) / total)
        return replace(self, location=mean, scale=deviation if deviation > 0 else 1.0)

    def _units(self, labels: Iterable[float]) -> Iterator[float]:
        """Labels one by one on the scale that a model computes with, before it is standardised."""
        for label in labels:
            try:
                value = float(label)
            except (TypeError, ValueError, OverflowError):
                value = math.nan
            if not math.isfinite(value):
                raise SchemaError(f"Task {self.name!r}: {label!r} is no label; give numbers.")
            if self.log1p and value < 0:
                raise SchemaError(
                    f"Task {self.name!r}: log1p needs labels of 0 or more, not {value}."
                )
            yield math.log1p(value) if self.log1p else value


@dataclass(frozen=True)
class Categorical:
    """A field of ids 0 .. size - 1. Id 0 stands for every value not seen in training."""

    name: str
    size: int

    def __post_init__(self) -> None:
        _check_name(self.name, "A categorical field")
        size = _whole(self.size, f"Categorical field {self.name!r}: size")
        object.__setattr__(self, "size", size)


@dataclass(frozen=True)
class Dense:
    """A block of ``width`` float columns (784 for a 28 x 28 picture)."""

    name: str
    width: int = 1
    unit: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name, "A dense field")
        _check_text(self.unit, f"Dense field {self.name!r}: unit")
        width = _whole(self.width, f"Dense field {self.name!r}: width")
        object.__setattr__(self, "width", width)


@dataclass(frozen=True)
class Sequence:
    """A list of ids per row, such as the categories a shopper viewed, oldest first.

    ``shares`` names a categorical field whose ids and embedding the sequence uses; otherwise
    ``size`` gives its own number of ids. Longer lists keep their newest ``max_length`` entries.
    ``beside`` names the sequence whose events this one describes, one entry each (the category of
    the viewed item, the time gap before it): both are as long in every row, and a model reads one
    sequence of events.
    """

    name: str
    size: int | None = None
    shares: str | None = None
    max_length: int = 50
    beside: str | None = None

    def __post_init__(self) -> None:
        _check_name(self.name, "A sequence field")
        if (self.size is None) == (self.shares is None):
            raise SchemaError(
                f"Sequence field {self.name!r}: give either size or shares, exactly one of the two."
            )
        if self.shares is not None:
            _check_name(self.shares, f"Sequence field {self.name!r}: shares")
        if self.beside is not None:
            _check_name(self.beside, f"Sequence field {self.name!r}: beside")
        for name in ("size", "max_length"):
            if getattr(self, name) is not None or name == "max_length":
                value = _whole(getattr(self, name), f"Sequence field {self.name!r}: {name}")
                object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Scenario:
    """A place in the shop where predictions are used: search, feed, ads, a department."""

    name: str
    description: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name, "A scenario")
        _check_text(self.description, f"Scenario {self.name!r}: description")


def _duplicate(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


PARTS = {
    "tasks": Task,
    "categorical": Categorical,
    "dense": Dense,
    "sequences": Sequence,
    "scenarios": Scenario,
}


def _parts(entries: Any, name: str, kind: type) -> tuple[Any, ...]:
    if isinstance(entries, kind | str | bytes | Mapping) or not isinstance(entries, Iterable):
        raise SchemaError(f"{name} must be a list, each entry a {kind.__name__}, not {entries!r}.")
    entries = tuple(entries)
    for entry in entries:
        if not isinstance(entry, kind):
            raise SchemaError(f"{name} holds {entry!r}; each entry must be a {kind.__name__}.")
    return entries


@dataclass(frozen=True)
class Schema:
    """Everything a table promises and a model may rely on.

    Known scenarios are 0 .. num_scenarios - 1; a row of none of them has the number
    ``unknown_scenario``, one more, and meets shared weights only. Without ``scenarios`` there is
    one scenario, and every row belongs to it. ``encoding`` tells apart what ids and scales mean: a
    short hash that an ``Encoder`` sets, "" where nobody encoded.
    Raises ``SchemaError`` for repeated names, a ``given`` that is unknown, not binary or circular,
    a sequence that shares an unknown field, and one beside what is no sequence of as many entries.
    """

    tasks: tuple[Task, ...]
    categorical: tuple[Categorical, ...] = ()
    dense: tuple[Dense, ...] = ()
    sequences: tuple[Sequence, ...] = ()
    scenarios: tuple[Scenario, ...] = ()
    encoding: str = ""
    _task_index: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in PARTS.items():
            object.__setattr__(self, name, _parts(getattr(self, name), name, kind))
        _check_text(self.encoding, "encoding")
        if not self.tasks:
            raise SchemaError("A schema needs at least one task.")
        fields = [f.name for f in self.categorical] + [f.name for f in self.dense]
        fields += [f.name for f in self.sequences]
        for names, what in (
            (self.task_names, "task"),
            (fields, "field"),
            ([s.name for s in self.scenarios], "scenario"),
        ):
            repeated = _duplicate(names)
            if repeated is not None:
                raise SchemaError(f"The {what} name {repeated!r} appears twice; names must differ.")
        clash = sorted(set(fields) & set(self.task_names))
        if clash:
            raise SchemaError(
                f"{clash[0]!r} is both an input field and a task: a label among the features leaks "
                "the answer. Rename or remove one of them."
            )
        categorical_names = {c.name for c in self.categorical}
        for sequence in self.sequences:
            if sequence.shares is not None and sequence.shares not in categorical_names:
                raise SchemaError(
                    f"Sequence field {sequence.name!r} shares {sequence.shares!r}, which is no "
                    f"categorical field; known are "
                    f"{', '.join(sorted(categorical_names)) or 'none'}."
                )
            self._check_beside(sequence)
        self._task_index.update({t.name: i for i, t in enumerate(self.tasks)})
        for task in self.tasks:
            self._check_given(task)

    def _check_beside(self, sequence: Sequence) -> None:
        if sequence.beside is None:
            return
        start = f"Sequence field {sequence.name!r} stands beside {sequence.beside!r}"
        others = [s for s in self.sequences if s.beside is None and s.name != sequence.name]
        main = next((s for s in others if s.name == sequence.beside), None)
        if main is None:
            raise SchemaError(
                f"{start}, which is no other sequence of events; known are "
                f"{', '.join(s.name for s in others) or 'none'}."
            )
        if main.max_length != sequence.max_length:
            raise SchemaError(
                f"{start} but keeps {sequence.max_length} entries, not {main.max_length}: give "
                "both the same max_length, so that the same events stay."
            )

    def _check_given(self, task: Task) -> None:
        seen = [task.name]
        while task.given is not None:
            if task.given not in self._task_index:
                raise SchemaError(
                    f"Task {task.name!r} is given {task.given!r}, which is no task of this schema; "
                    f"known are {', '.join(self.task_names)}."
                )
            parent = self.task(task.given)
            if not parent.is_binary:
                raise SchemaError(
                    f"Task {task.name!r} is given {parent.name!r}, which is {parent.kind}; only a "
                    "binary task can be a condition."
                )
            if parent.name in seen:
                raise SchemaError(
                    "The given links form a circle: " + " -> ".join([*seen, parent.name]) + "."
                )
            seen.append(parent.name)
            task = parent

    @property
    def task_names(self) -> tuple[str, ...]:
        return tuple(t.name for t in self.tasks)

    @property
    def num_tasks(self) -> int:
        return len(self.tasks)

    @property
    def scenario_names(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.scenarios) or (WHOLE,)

    @property
    def num_scenarios(self) -> int:
        return max(1, len(self.scenarios))

    @property
    def unknown_scenario(self) -> int:
        """The number of a row whose scenario is not known: one past the known ones."""
        return self.num_scenarios

    @property
    def unknown_scenario_name(self) -> str:
        """How reports call the rows of ``unknown_scenario``; never a known scenario's name."""
        name = "unknown"
        while name in self.scenario_names:
            name = f"({name})"
        return name

    @property
    def categorical_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.categorical)

    @property
    def dense_width(self) -> int:
        """Number of columns of the dense block, over all dense fields."""
        return sum(d.width for d in self.dense)

    @property
    def dense_slices(self) -> dict[str, slice]:
        """Columns of the dense block that each dense field fills."""
        slices, start = {}, 0
        for d in self.dense:
            slices[d.name] = slice(start, start + d.width)
            start += d.width
        return slices

    def task(self, name: str) -> Task:
        """Return the task called ``name``; an unknown name raises ``SchemaError``."""
        return self.tasks[self.task_index(name)]

    def task_index(self, name: str) -> int:
        """Return the column of task ``name`` in labels; an unknown name raises ``SchemaError``."""
        if not isinstance(name, str) or name not in self._task_index:
            raise SchemaError(
                f"Unknown task {name!r}; this schema has {', '.join(self.task_names)}."
            )
        return self._task_index[name]

    def scenario_index(self, name: str) -> int:
        """Return the number of scenario ``name``; an unknown name raises ``SchemaError``."""
        if not isinstance(name, str) or name not in self.scenario_names:
            raise SchemaError(
                f"Unknown scenario {name!r}; this schema has {', '.join(self.scenario_names)}."
            )
        return self.scenario_names.index(name)

    def children(self, name: str) -> tuple[str, ...]:
        """Names of the tasks that are given task ``name``."""
        self.task_index(name)
        return tuple(t.name for t in self.tasks if t.given == name)

    def select(self, tasks: Iterable[str]) -> Schema:
        """Return a schema with only these tasks, in this order.

        A task whose parent is left out keeps its observed rows but loses its ``given``: it can no
        longer be checked against a label that is not there.
        """
        if not isinstance(tasks, Iterable):
            raise SchemaError(f"Name a task or a list of tasks, not {tasks!r}.")
        names = [tasks] if isinstance(tasks, str) else list(tasks)
        chosen = [self.task(name) for name in names]
        chosen = [t if t.given in names else replace(t, given=None) for t in chosen]
        return self.with_tasks(chosen)

    def with_tasks(self, tasks: Iterable[Task]) -> Schema:
        """Return a schema with the same inputs and scenarios and other tasks."""
        return replace(self, tasks=_parts(tasks, "tasks", Task))

    def extend(self, *, scenario: str) -> Schema:
        """Return a schema with one scenario more, the last one; the known ones keep their numbers.

        ``encoding`` stays: ids and scales mean what they did. Raises ``SchemaError`` for a scenario
        that is there already, and where there are none.
        """
        if not self.scenarios:
            raise SchemaError(
                f"The schema has no scenarios, so {scenario!r} cannot be one more: fit an Encoder "
                "with scenario=column, and a model on its tables."
            )
        if scenario in self.scenario_names:
            raise SchemaError(f"Scenario {scenario!r} is known already.")
        return replace(self, scenarios=(*self.scenarios, Scenario(scenario)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and strings, ready for JSON."""
        parts: dict[str, Any] = {
            name: [asdict(part) for part in getattr(self, name)] for name in PARTS
        }
        for sequence in parts["sequences"]:
            if sequence["beside"] is None:  # schemas without any read as they always did
                del sequence["beside"]
        return parts | {"encoding": self.encoding} if self.encoding else parts

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Schema:
        """Rebuild a schema from ``to_dict``; an unknown or missing entry raises ``SchemaError``."""
        if not isinstance(data, Mapping):
            raise SchemaError(f"A schema is a dictionary of its parts, not {data!r}.")
        data = dict(data)
        encoding = data.pop("encoding", "")
        if not isinstance(encoding, str):
            raise SchemaError(f"Schema entry 'encoding' must be a text, not {encoding!r}.")
        unknown = [name for name in data if name not in PARTS]
        if unknown:
            raise SchemaError(f"Unknown schema entry {unknown[0]!r}; known are {', '.join(PARTS)}.")
        built: dict[str, tuple[Any, ...]] = {}
        for name, kind in PARTS.items():
            entries = data.get(name, ())
            if not isinstance(entries, list | tuple):
                raise SchemaError(f"Schema entry {name!r} must be a list, not {entries!r}.")
            try:
                built[name] = tuple(kind(**entry) for entry in entries)
            except TypeError as error:
                raise SchemaError(f"Schema entry {name!r}: {error}.") from error
        return cls(**built, encoding=encoding)
