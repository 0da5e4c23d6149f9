"""Damage of every kind to a folder of shards: a sentence that names the file, or the same rows."""

import hashlib
import json
import shutil

import numpy as np
import polars as pl
import pytest

from mtlkit.data import ShardedTable, write_shards
from mtlkit.data.manifest import FORMAT, MANIFEST
from mtlkit.schema import SchemaError
from tests.data.test_shards import assert_equal_tables, make_table

TABLE = make_table(30)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_shards(TABLE, tmp_path_factory.mktemp("whole") / "shards", rows_per_shard=10)


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "shards")


def read(folder):
    """All that a folder says: opened, every column and every batch."""
    assert_equal_tables(ShardedTable(folder), TABLE)


def refused(folder, *words):
    """Reading is refused by a sentence that names the file and says what to do."""
    with pytest.raises(SchemaError) as refusal:
        list(ShardedTable(folder).batches(7))
    told = str(refusal.value)
    assert str(folder) in told and told.endswith(".")
    assert "again" in told or "Remove it" in told or "complete set" in told, told
    for word in words:
        assert word in told, told
    return told


def checksum(content):
    """The manifest's own checksum, as whoever wants to deceive would compute it."""
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()


def edit(folder, change, *, honest):
    """Change the manifest; ``honest``: without a new checksum."""
    path = folder / MANIFEST
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    if not honest:
        content.pop("checksum", None)
        content["checksum"] = checksum(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def entries(content, path=()):
    """The place of every entry of the manifest, however deep."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from entries(value, (*path, key))


def changed(value):
    """Another value of the same type, which the manifest might well hold."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list):
        return value[::-1][:-1]
    return {key: value[key] for key in list(value)[1:]} if isinstance(value, dict) else 1


PLACES = list(entries({
    "format": FORMAT, "schema": TABLE.schema.to_dict(), "truth": {"click": 0, "chances": 2},
    "keys": ["a", "b"], "censored": True, "weight": False, "checksum": "",
    "shards": [{"file": "", "rows": 1, "bytes": 1, "sha256": ""}] * 3,
}))  # fmt: skip


def at(content, place):
    for key in place[:-1]:
        content = content[key]
    return content


def setting(place, value):
    """A change of the manifest: another value at a place."""
    return lambda content: at(content, place).__setitem__(place[-1], value)


def test_the_sweep_goes_through_every_entry_of_a_manifest(whole):
    content = json.loads((whole / MANIFEST).read_text(encoding="utf-8"))
    assert set(entries(content)) == set(PLACES)


def each_place(test):
    return pytest.mark.parametrize("place", PLACES, ids=lambda p: ".".join(map(str, p)))(test)


@each_place
def test_each_entry_of_a_manifest_edited_emptied_or_removed_is_refused(whole, place, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "shards")
    content = json.loads((whole / MANIFEST).read_text(encoding="utf-8"))
    old = at(content, place)[place[-1]]
    changes = [lambda c: at(c, place).__delitem__(place[-1])]
    changes += [setting(place, new) for new in (changed(old), None) if new != old]
    for change in changes:
        shutil.copy(whole / MANIFEST, folder / MANIFEST)
        edit(folder, change, honest=True)
        refused(folder, MANIFEST)


WRONG = (None, True, -1, 2.5, "", "x", "../x", [], [1], {}, {"a": 1}, 10**400)


@each_place
def test_whoever_writes_a_checksum_of_his_own_gets_no_error_but_ours(whole, place, tmp_path):
    if place == ("checksum",):
        return
    folder = shutil.copytree(whole, tmp_path / "shards")
    for wrong in WRONG:
        shutil.copy(whole / MANIFEST, folder / MANIFEST)
        edit(folder, setting(place, wrong), honest=False)
        try:
            table = ShardedTable(folder)
            list(table.batches(7))
            [table.keys[name] for name in table.keys]
        except SchemaError as refusal:
            assert str(folder) in str(refusal) and str(refusal).endswith(".")


@pytest.mark.parametrize(
    "name",
    ["../shard-00000.parquet", "/etc/passwd", "a/shard-00000.parquet", "..", "", "manifest.json",
     "shard-00000.parquet/../shard-00001.parquet", "shard-00000.parquet\n", "shard-٠٠٠٠٠.parquet",
     "C:\\shard-00000.parquet", "..\\shard-00000.parquet"],
)  # fmt: skip
def test_no_path_leads_out_of_the_folder(folder, name):
    shutil.copy(folder / "shard-00000.parquet", folder.parent)
    edit(folder, lambda c: c["shards"][0].__setitem__("file", name), honest=False)
    refused(folder, MANIFEST, "is no name of a shard in this folder")


def test_a_link_out_of_the_folder_is_refused(folder):
    outside = shutil.move(folder / "shard-00000.parquet", folder.parent / "outside.parquet")
    try:
        (folder / "shard-00000.parquet").symlink_to(outside)
    except OSError:
        pytest.skip("this system makes no links")
    refused(folder, "shard-00000.parquet", "link to a file outside")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "damaged"), ("{", "damaged"), ("null", "damaged"), ("[]", "damaged"), ("3", "damaged"),
        ('"x"', "damaged"), ("{}", "format"), ('{"format": 1}', "has format 1; this version"),
        ('{"format": 3, "new": 1}', "reads format 2"), ('{"format": true}', "damaged"),
        ('{"format": "2"}', "damaged"), ("[" * 100_000, "damaged"), ("\udcff", "damaged"),
        ('{"format": 2, "format": 2}', "damaged"), ("1" * 5000, "damaged"),
    ],
    ids=str,
)  # fmt: skip
def test_a_manifest_of_another_kind_is_refused(folder, text, word):
    (folder / MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(folder, MANIFEST, word)


def test_no_manifest_no_folder_and_no_path(folder, tmp_path):
    (folder / MANIFEST).unlink()
    refused(folder, "no complete set of shards")
    refused(tmp_path / "nowhere", "no complete set of shards")
    (folder / MANIFEST).mkdir()
    refused(folder, "no complete set of shards")
    for wrong in (3, None, ["a"]):
        with pytest.raises(SchemaError, match="folder must be a path, not a"):
            ShardedTable(wrong)


def test_a_shard_that_is_missing_short_long_or_a_folder_is_refused_at_once(whole, tmp_path):
    for number, act in enumerate(("missing", "short", "long", "folder")):
        folder = shutil.copytree(whole, tmp_path / str(number))
        path = folder / "shard-00001.parquet"
        content = path.read_bytes()
        path.unlink()
        if act == "folder":
            path.mkdir()
        elif act != "missing":
            path.write_bytes(content[:-1] if act == "short" else content + b"\0")
        with pytest.raises(SchemaError, match=r"shard-00001\.parquet (is missing|has)"):
            ShardedTable(folder)
        refused(folder, "shard-00001.parquet")


def test_a_file_that_is_gone_when_its_turn_comes_is_refused(folder):
    table = ShardedTable(folder)
    (folder / "shard-00002.parquet").unlink()
    with pytest.raises(SchemaError, match=r"shard-00002\.parquet cannot be read"):
        list(table.batches(7))


def test_a_shard_too_many_is_refused_and_other_files_are_left_alone(folder):
    (folder / ".DS_Store").write_text("x")
    (folder / "notes.txt").write_text("x")
    read(folder)
    shutil.copy(folder / "shard-00000.parquet", folder / "shard-00003.parquet")
    refused(folder, "shard-00003.parquet", "Remove it")


def test_files_that_changed_places_are_refused(folder):
    one, two = folder / "shard-00000.parquet", folder / "shard-00001.parquet"
    one.rename(folder / "x")
    two.rename(one)
    (folder / "x").rename(two)
    edit(folder, lambda c: [s.__setitem__("bytes", (folder / s["file"]).stat().st_size)
                            for s in c["shards"]], honest=False)  # fmt: skip
    refused(folder, "shard-00000.parquet", "SHA-256")


def test_every_flipped_bit_is_found(folder):
    random = np.random.default_rng(0)
    path = folder / "shard-00001.parquet"
    content = path.read_bytes()
    table = ShardedTable(folder)
    for position in random.integers(0, len(content) * 8, 300):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(SchemaError, match=r"shard-00001\.parquet is not the file that was"):
            table.load(1)
        with pytest.raises(SchemaError, match=r"shard-00001\.parquet is not the file that was"):
            table.keys["time"]
    path.write_bytes(content)
    read(folder)


def forge(folder, change):
    """Replace a shard by one of one's own, with a manifest that says that it is right."""
    path = folder / "shard-00001.parquet"
    content = change(pl.read_parquet(path))
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content.write_parquet(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = {"sha256": digest, "bytes": path.stat().st_size}
    edit(folder, lambda c: c["shards"][1].update(entry), honest=False)


def first_is(name, value):
    return lambda f: f.with_columns(
        pl.when(pl.int_range(f.height) == 4).then(pl.lit(value, f.schema[name]))
        .otherwise(pl.col(name)).alias(name)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda f: b"not parquet", "no Parquet file"),
        (lambda f: b"PAR1" + b"\x15" * 200 + b"PAR1", "no Parquet file"),
        (lambda f: b"", "no Parquet file"),
        (lambda f: f.head(9), "9 rows; the manifest says 10"),
        (lambda f: f.drop("c:user"), "lacks column 'c:user'"),
        (lambda f: f.with_columns(new=1), "column too many, 'new'"),
        (lambda f: f.rename({"k:time": "k:Time"}), "'k:time'"),
        (lambda f: f.with_columns(pl.col("c:user").cast(pl.Int32)), "'c:user' has type Int32"),
        (lambda f: f.with_columns(pl.col("l:click").cast(pl.Float64)), "'l:click' has type"),
        (lambda f: f.with_columns(pl.col("s:history").cast(pl.List(pl.Int32))), "'s:history'"),
        (lambda f: f.with_columns(pl.col("d:pixel").arr.to_list()), "'d:pixel' has type"),
        (first_is("c:user", None), "gaps in column 'c:user'"),
        (first_is("s:history", None), "gaps in column 's:history'"),
        (first_is("s:history", [None]), "'history' has gaps inside its lists"),
        (first_is("s:history", [77]), "'history', row 4: 77"),
        (first_is("c:item", 7), "'item', row 4: 7"),
        (first_is("scenario", -1), "'scenario', row 4: -1"),
        (first_is("d:price", float("nan")), "'price', row 4: nan"),
        (first_is("l:units", 0.5), "'units', row 4: 0.5 is not a count"),
        (first_is("row_id", 3), None),
        (lambda f: f.with_columns(row_id=pl.lit(3, pl.Int64)), "row_id holds a value twice"),
    ],
)
def test_a_forged_shard_is_held_against_the_schema(folder, change, word):
    forge(folder, change)
    if word is None:  # other rows of the right kind: nothing could tell
        assert len(list(ShardedTable(folder).batches(7))) == 5
    else:
        refused(folder, "shard-00001.parquet", word)
