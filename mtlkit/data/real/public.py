"""Where real data sets lie, and how to get the ones that are not there.

A file of a set is looked for, in this order, as ``<folder>/<set>/<file>`` in

1. the folder named by the environment variable ``MTLKIT_DATA``,
2. ``datasets/`` of the installed package or of the checkout (what may be published with it),
3. the user's cache, ``pooch.os_cache("mtlkit")``,
4. ``../shared/data`` beside the checkout.

If none has it and the owner publishes it under a plain address, it is downloaded into the cache.
Otherwise one message says what to fetch where. A file whose checksum is wrong is never read.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pooch

from mtlkit.data.places import CHECKOUT, datasets_folder
from mtlkit.data.real.registry import SETS, DataFile, DataSet
from mtlkit.files import atomically


class DataMissingError(FileNotFoundError):
    """A data file is in no folder of the search path; the message says how to get it."""


class DataCorruptError(ValueError):
    """A data file's bytes are not those that its checksum promises."""


@dataclass(frozen=True)
class Description:
    """One data set in words, and the folder that holds it (None where it was not found)."""

    name: str
    title: str
    licence: str
    url: str
    size: str
    found_at: Path | None


def search_path() -> list[tuple[str, Path]]:
    """Return (what it is, folder) for every place that is looked at, in order."""
    places: list[tuple[str, Path]] = []
    named = os.environ.get("MTLKIT_DATA", "").strip()
    if named:
        places.append(("$MTLKIT_DATA", Path(named).expanduser()))
    with suppress(FileNotFoundError):
        places.append(("mtlkit's own", datasets_folder()))
    places.append(("the cache", Path(pooch.os_cache("mtlkit"))))
    places.append(("beside the checkout", CHECKOUT.parent / "shared" / "data"))
    return places


def data_set(name: str) -> DataSet:
    """Return the registry entry of one set; an unknown name raises ``ValueError``."""
    if name not in SETS:
        raise ValueError(f"Unknown data set {name!r}; known are {', '.join(sorted(SETS))}.")
    return SETS[name]


def _data_file(name: str, file: str) -> DataFile:
    known = data_set(name).files
    for entry in known:
        if entry.name == file:
            return entry
    raise ValueError(
        f"Data set {name!r} has no file {file!r}; known are {', '.join(f.name for f in known)}."
    )


def find(name: str, file: str) -> Path | None:
    """Return where a file lies, or None; nothing is read, checked or downloaded."""
    _data_file(name, file)
    for _, folder in search_path():
        path = folder / name / file
        if path.is_file():
            return path
    return None


def locate(name: str, file: str, *, download: bool = True) -> Path:
    """Return the path of a data file whose checksum is right.

    Raises ``DataMissingError`` if it is nowhere and cannot be downloaded, ``DataCorruptError`` if
    its bytes are wrong, ``ValueError`` for an unknown set or file.
    """
    entry = _data_file(name, file)
    path = find(name, file)
    if path is not None:
        verify(path, entry)
        return path
    if download and entry.url is not None:
        return _download(name, entry)
    raise DataMissingError(refusal(name, file))


def fetch(name: str) -> list[Path]:
    """Locate or download every file of a set that can be had; return their paths.

    A file with no plain address that is not there is passed over; if nothing at all can be had,
    ``DataMissingError`` says what to do.
    """
    paths: list[Path] = []
    for entry in data_set(name).files:
        if entry.url is not None or find(name, entry.name) is not None:
            paths.append(locate(name, entry.name))
    if not paths:
        raise DataMissingError(refusal(name, data_set(name).files[0].name))
    return paths


def describe(name: str) -> Description:
    """Return a set's name, title, licence, page, size and where it was found."""
    entry = data_set(name)
    found = (find(name, file.name) for file in entry.files)
    first = next((path for path in found if path is not None), None)
    return Description(
        name, entry.title, entry.licence, entry.page, entry.size, first.parent if first else None
    )


def describe_all() -> list[Description]:
    """Return a description of every registered set, in the registry's order."""
    return [describe(name) for name in SETS]


def refusal(name: str, file: str) -> str:
    """Return the message for a missing file: page, size, licence, which file to put where."""
    entry = data_set(name)
    looked = "; ".join(f"{what}: {folder / name}" for what, folder in search_path())
    target = Path(pooch.os_cache("mtlkit")) / name / file
    return (
        f"{entry.title}: the file {file!r} was not found. Page: {entry.page}. Size: {entry.size}. "
        f"Licence: {entry.licence}. {entry.how} Put the file at {target}, or at "
        f"<folder>/{name}/{file} and set the environment variable MTLKIT_DATA to <folder>. "
        f"Looked in {looked}."
    )


def verify(path: Path, entry: DataFile) -> None:
    """Raise ``DataCorruptError`` unless the file, or what is compressed in it, has its checksum."""
    if entry.sha256 is None and entry.md5 is None:
        return
    kind, expected = ("sha256", entry.sha256) if entry.sha256 else ("md5", entry.md5)
    with path.open("rb") as stream:
        found = _digest(stream, kind)
    if found == expected or (entry.content_sha256 and _content_matches(path, entry)):
        return
    raise DataCorruptError(
        f"{path} is not the expected file: {kind} {found}, expected {expected}. It may be cut off "
        f"or edited. Delete it and fetch it again from {_page_of(entry)}."
    )


def _page_of(entry: DataFile) -> str:
    return next(s.page for s in SETS.values() if entry in s.files)


def _digest(stream: IO[bytes] | gzip.GzipFile | lzma.LZMAFile, kind: str) -> str:
    digest = hashlib.new(kind, usedforsecurity=False)
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


def _content_matches(path: Path, entry: DataFile) -> bool:
    """True if the file, compressed by someone else, holds the same bytes inside."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else lzma.open(path) as stream:
            return _digest(stream, "sha256") == entry.content_sha256
    except (OSError, EOFError, lzma.LZMAError, zlib.error):
        return False


def _download(name: str, entry: DataFile) -> Path:
    """Download a file, or the archive that holds it, into the cache; return the file's path."""
    assert entry.url is not None
    folder = Path(pooch.os_cache("mtlkit")) / name
    known = entry.archive_hash if entry.member else _known_hash(entry)
    try:
        got = pooch.retrieve(
            entry.url,
            known_hash=known,
            fname=entry.url.rsplit("/", 1)[-1].replace("+", "_") if entry.member else entry.name,
            path=folder,
            progressbar=True,
        )
    except Exception as error:  # pooch passes on whatever the network library raises
        raise DataMissingError(
            f"Downloading {entry.url} failed ({error}). {refusal(name, entry.name)}"
        ) from error
    path = folder / entry.name
    if entry.member:
        _extract(Path(got), entry.member, path)
    try:
        verify(path, entry)
    except DataCorruptError:
        path.unlink()  # or the next search would find it
        raise
    return path


def _known_hash(entry: DataFile) -> str | None:
    if entry.sha256:
        return f"sha256:{entry.sha256}"
    return f"md5:{entry.md5}" if entry.md5 else None


def _extract(archive: Path, member: str, target: Path) -> None:
    """Copy one member of a zip or tar archive to ``target``, whole or not at all."""
    for name, stream in _members(archive):
        if name == member or name.endswith("/" + member):
            with atomically(target) as out:
                shutil.copyfileobj(stream, out)
            return
    names = ", ".join(name for name, _ in _members(archive))
    raise DataMissingError(f"{archive} holds no {member!r}; it holds {names}.")


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as content:
            for name in content.namelist():
                with content.open(name) as stream:
                    yield name, stream
    else:
        with tarfile.open(archive) as content:
            for info in content:
                inside = content.extractfile(info)
                if inside is not None:
                    yield info.name, inside
