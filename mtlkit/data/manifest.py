"""The list of a folder of shards: what each file holds, and how to tell that it is the one written.

``manifest.json`` names the schema, the columns and, of every file, its rows, bytes and SHA-256, and
carries a checksum of itself. What it says is checked before a shard is opened.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mtlkit.files import why_not_read, write_text
from mtlkit.schema import Schema, SchemaError

MANIFEST = "manifest.json"
FORMAT = 2
ENTRIES = {"schema", "truth", "keys", "censored", "weight", "shards"}
OPTIONAL = {"group"}  # there only where it is true, so that other folders stay as they were
SHARD_NAME = re.compile(r"shard-[0-9]{5,9}\.parquet")  # in the folder itself, nowhere else
AGAIN = "Write the shards again, or bring an undamaged copy."


@dataclass(frozen=True)
class ShardEntry:
    """One file of a folder of shards: its name, rows, bytes and SHA-256 (64 hexadecimal digits)."""

    file: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds.

    ``truth`` {name: columns, 0 for (row,)}; ``keys`` names; ``censored``, ``weight`` and ``group``
    whether the table has them; ``shards`` in the order of the rows.
    """

    schema: Schema
    truth: dict[str, int]
    keys: tuple[str, ...]
    censored: bool
    weight: bool
    shards: tuple[ShardEntry, ...]
    group: bool = False

    def columns(self) -> dict[str, Any]:
        """{name: polars type} of every column of a shard, in order."""
        schema = self.schema
        kinds: dict[str, Any] = {"row_id": pl.Int64(), "scenario": pl.Int64()}
        kinds |= {f"c:{c.name}": pl.Int64() for c in schema.categorical}
        kinds |= {f"d:{d.name}": _block(d.width if d.width > 1 else 0) for d in schema.dense}
        kinds |= {f"s:{s.name}": pl.List(pl.Int64) for s in schema.sequences}
        kinds |= {f"l:{t.name}": pl.Float32() for t in schema.tasks}
        kinds |= {f"o:{t.name}": pl.Boolean() for t in schema.tasks}
        kinds |= {f"z:{name}": pl.Boolean() for name in flagged(schema)}
        kinds |= {f"t:{name}": _block(width) for name, width in self.truth.items()}
        kinds |= {f"k:{name}": pl.Int64() for name in self.keys}
        kinds |= {"w": pl.Float32()} if self.weight else {}
        return kinds | ({"g": pl.Int64()} if self.group else {})


def _block(width: int) -> Any:
    return pl.Array(pl.Float32, width) if width else pl.Float32()


def flagged(schema: Schema) -> list[str]:
    """The tasks that have a column of flags "this count is only a lower bound"."""
    return [task.name for task in schema.tasks if task.kind == "censored_count"]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a folder, atomically."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "schema": manifest.schema.to_dict(),
        "truth": manifest.truth,
        "keys": list(manifest.keys),
        "censored": manifest.censored,
        "weight": manifest.weight,
        "shards": [asdict(shard) for shard in manifest.shards],
    }
    content |= {"group": True} if manifest.group else {}
    whole = content | {"checksum": _checksum(content)}
    write_text(folder / MANIFEST, json.dumps(whole, indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder of shards, all of whose files are there.

    Raises ``SchemaError`` naming the file: no manifest, another format, an entry that was edited,
    is missing or unknown, a shard outside the folder, missing or of another size, or a Parquet file
    that the manifest does not know. The content of shards is checked when they are read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise SchemaError(
            f"{path} is missing: {folder} holds no complete set of shards. Pass the folder that "
            "write_shards or ShardWriter made, or write them again."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise SchemaError(f"it holds a {type(content).__name__}, no entries")
        _refuse_format(path, content.pop("format", None))
        if content.pop("checksum", None) != _checksum({"format": FORMAT, **content}):
            raise SchemaError("it was edited after it was written: its checksum does not fit")
        manifest = _manifest(content)
    except _OtherFormat as error:
        raise SchemaError(str(error)) from None
    except OSError as error:
        told = why_not_read(path, error)
        raise SchemaError(f"{path} cannot be read ({told}). {AGAIN}") from error
    except (ValueError, RecursionError) as error:
        told = str(error).rstrip(".")
        raise SchemaError(f"{path} is damaged ({told}). {AGAIN}") from error
    _check_files(folder, manifest)
    return manifest


class _OtherFormat(SchemaError):
    """A manifest of another version of mtlkit: not damaged."""


def _refuse_format(path: Path, found: Any) -> None:
    if isinstance(found, int) and not isinstance(found, bool) and found != FORMAT:
        raise _OtherFormat(
            f"{path} has format {found}; this version of mtlkit reads format {FORMAT}. Write the "
            "shards again with this version."
        )
    if found != FORMAT or isinstance(found, bool):
        raise SchemaError(f"its format is {found!r}, no number of a format")


def _checksum(content: Mapping[str, Any]) -> str:
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()


def _manifest(content: Mapping[str, Any]) -> Manifest:
    """A manifest from its entries; whoever wrote a checksum of his own is believed no more."""
    odd = sorted((set(content) - OPTIONAL) ^ ENTRIES)
    if odd:
        raise SchemaError(f"entry {odd[0]!r} is {'unknown' if odd[0] in content else 'missing'}")
    for name in ("censored", "weight"):
        if not isinstance(content[name], bool):
            raise SchemaError(f"entry {name!r} is {content[name]!r}, not true or false")
    if content.get("group", True) is not True:
        raise SchemaError(f"entry 'group' is {content['group']!r}, not true")
    truth, keys = content["truth"], content["keys"]
    if not isinstance(truth, dict) or not all(_whole(width) for width in truth.values()):
        raise SchemaError("entry 'truth' does not give each name its number of columns")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise SchemaError("entry 'keys' is no list of names")
    if len(set(keys)) != len(keys):
        raise SchemaError("entry 'keys' names one key twice")
    if not isinstance(content["shards"], list):
        raise SchemaError("entry 'shards' is no list of files")
    shards = tuple(_entry(entry) for entry in content["shards"])
    if len({shard.file for shard in shards}) != len(shards):
        raise SchemaError("entry 'shards' names one file twice")
    schema = Schema.from_dict(content["schema"])
    flags = content["censored"], content["weight"]
    return Manifest(schema, truth, tuple(keys), *flags, shards, group="group" in content)


def _entry(entry: Any) -> ShardEntry:
    if not isinstance(entry, dict) or set(entry) != {"file", "rows", "bytes", "sha256"}:
        raise SchemaError(f"a shard needs file, rows, bytes and sha256, not {entry!r}")
    name, digest = entry["file"], entry["sha256"]
    if not isinstance(name, str) or not SHARD_NAME.fullmatch(name):
        raise SchemaError(f"{name!r} is no name of a shard in this folder")
    if not _whole(entry["rows"]) or entry["rows"] < 1 or not _whole(entry["bytes"]):
        raise SchemaError(f"shard {name!r} has {entry['rows']!r} rows, {entry['bytes']!r} bytes")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise SchemaError(f"shard {name!r} has no SHA-256: {digest!r}")
    return ShardEntry(**entry)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _check_files(folder: Path, manifest: Manifest) -> None:
    home = folder.resolve()
    for shard in manifest.shards:
        path = folder / shard.file
        if not path.is_file():
            raise SchemaError(f"{path} is missing. {AGAIN}")
        if path.resolve().parent != home:
            raise SchemaError(f"{path} is a link to a file outside {folder}. {AGAIN}")
        size = path.stat().st_size
        if size != shard.bytes:
            raise SchemaError(f"{path} has {size:,} bytes; {shard.bytes:,} were written. {AGAIN}")
    known = {shard.file for shard in manifest.shards}
    for path in sorted(folder.glob("*.parquet")):
        if path.name not in known:
            raise SchemaError(
                f"{path} is no shard of this table: {MANIFEST} does not name it. Remove it, or "
                "write the shards again."
            )
