"""The schema of several tables together: tasks and scenarios side by side, inputs kept apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mtlkit.schema import Scenario, Schema, SchemaError, Task


@dataclass(frozen=True)
class JoinedSchema(Schema):
    """The schema of a ``Join``: tasks ``table.task``, scenarios ``table/scenario``.

    ``parts`` ((table, its schema), ...) hold the inputs of each table, which stay apart: a batch
    has those of one table. ``shared`` ((name, ("table.field", ...)), ...) lists the categorical
    fields that are one and the same, whose ids read the same embedding rows; nothing else is
    shared, whatever it is called. Made by ``join_schemas``.
    """

    parts: tuple[tuple[str, Schema], ...] = ()
    shared: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def part(self, table: str) -> Schema:
        """The schema of one table; an unknown name raises ``SchemaError``."""
        for name, schema in self.parts:
            if name == table:
                return schema
        raise SchemaError(
            f"Unknown table {table!r}; joined are {', '.join(name for name, _ in self.parts)}."
        )

    def extend(self, *, scenario: str) -> JoinedSchema:
        """Return a schema whose table has one scenario more: ``scenario`` is "table/scenario".

        Scenarios of later tables move on by one, as in a ``Join`` of the extended tables. Raises
        ``SchemaError`` for a name of another form, an unknown table and a scenario that is there.
        """
        table, slash, name = str(scenario).partition("/")
        if not slash:
            raise SchemaError(
                f"In a join a scenario belongs to a table: name it as table/scenario, such as "
                f"{self.parts[0][0]}/{scenario}."
            )
        larger = self.part(table).extend(scenario=name)
        parts = {other: larger if other == table else part for other, part in self.parts}
        joined = join_schemas(parts, dict(self.shared))
        return replace(self, scenarios=joined.scenarios, parts=joined.parts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and strings, ready for JSON."""
        parts = [{"table": name, "schema": schema.to_dict()} for name, schema in self.parts]
        shared = [{"name": name, "fields": list(fields)} for name, fields in self.shared]
        return super().to_dict() | {"parts": parts, "shared": shared}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> JoinedSchema:
        """Rebuild a schema from ``to_dict``."""
        own = {key: value for key, value in data.items() if key not in ("parts", "shared")}
        plain = Schema.from_dict(own)
        return cls(
            plain.tasks,
            scenarios=plain.scenarios,
            parts=tuple((p["table"], Schema.from_dict(p["schema"])) for p in data["parts"]),
            shared=tuple((s["name"], tuple(s["fields"])) for s in data["shared"]),
        )


def join_schemas(
    schemas: Mapping[str, Schema], shared: Mapping[str, Iterable[str]] | None = None
) -> JoinedSchema:
    """The joined schema of {table: schema}; ``shared`` {name: fields, each as "table.field"}.

    Raises ``SchemaError`` for a table without a name or with a dot or slash in it, and for shared
    fields that are unknown, named twice, of one table, or of different sizes.
    """
    if not schemas:
        raise SchemaError("A join needs at least one table.")
    for name in schemas:
        if not isinstance(name, str) or not name.strip() or "." in name or "/" in name:
            raise SchemaError(
                f"A joined table needs a name without dots and slashes, not {name!r}."
            )
    tasks = [_renamed(task, name) for name, s in schemas.items() for task in s.tasks]
    scenarios = [
        Scenario(f"{name}/{scenario}")
        for name, s in schemas.items()
        for scenario in s.scenario_names
    ]
    declared = tuple((name, tuple(fields)) for name, fields in (shared or {}).items())
    _check_shared(schemas, declared)
    return JoinedSchema(
        tuple(tasks), scenarios=tuple(scenarios), parts=tuple(schemas.items()), shared=declared
    )


def _renamed(task: Task, table: str) -> Task:
    given = None if task.given is None else f"{table}.{task.given}"
    return replace(task, name=f"{table}.{task.name}", given=given)


def _check_shared(
    schemas: Mapping[str, Schema], shared: Sequence[tuple[str, tuple[str, ...]]]
) -> None:
    sizes = {
        f"{table}.{field.name}": field.size
        for table, schema in schemas.items()
        for field in schema.categorical
    }
    seen: set[str] = set()
    for name, fields in shared:
        for field in fields:
            if field not in sizes:
                raise SchemaError(
                    f"shared[{name!r}] names {field!r}, which is no categorical field; known are "
                    f"{', '.join(sizes)}."
                )
            if field in seen:
                raise SchemaError(f"shared[{name!r}]: {field!r} is shared already.")
            seen.add(field)
        if len({field.partition(".")[0] for field in fields}) < len(fields) or len(fields) < 2:
            raise SchemaError(
                f"shared[{name!r}] needs fields of two or more tables, one each, not "
                f"{', '.join(fields) or 'none'}."
            )
        first = fields[0]
        for field in fields[1:]:
            if sizes[field] != sizes[first]:
                raise SchemaError(
                    f"shared[{name!r}]: {first!r} has {sizes[first]} ids, {field!r} "
                    f"{sizes[field]}: encode both with one vocabulary first."
                )
