"""Where real data sets lie, and how to get the ones that are not there.

A file of a set is looked for, in this order, as ``<folder>/<set>/<file>`` in

1. the folder named by the environment variable ``MTLKIT_DATA``,
2. ``datasets/`` of the installed package or of the checkout (what may be published with it),
3. the user's cache, ``pooch.os_cache("mtlkit")``,
4. ``../shared/data`` beside the checkout.

If none has it and the owner publishes it under a plain address, it is downloaded into the cache, by
https alone. Otherwise one message says what to fetch where. A file whose SHA-256 is wrong is never
read, whether it was downloaded or lay there.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

import pooch

from mtlkit.data.places import CHECKOUT, datasets_folder
from mtlkit.data.real.registry import SETS, DataFile, DataSet
from mtlkit.files import atomically, why_not_read


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
    """Raise ``DataCorruptError`` unless the file, or what is compressed in it, has its checksum.

    Raises ``DataMissingError`` where it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            found = _digest(stream)
    except OSError as error:
        raise DataMissingError(
            f"{path} cannot be read ({why_not_read(path, error)}): mend that, or fetch it again "
            f"from {_page_of(entry)}."
        ) from error
    if found == entry.sha256 or (entry.content_sha256 and _content_matches(path, entry)):
        return
    raise DataCorruptError(
        f"{path} is not the expected file: SHA-256 {found}, expected {entry.sha256}. It may be cut "
        f"off or edited. Delete it and fetch it again from {_page_of(entry)}."
    )


def _page_of(entry: DataFile) -> str:
    return next(s.page for s in SETS.values() if entry in s.files)


def _digest(stream: IO[bytes] | gzip.GzipFile | lzma.LZMAFile) -> str:
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


def _content_matches(path: Path, entry: DataFile) -> bool:
    """True if the file, compressed by someone else, holds the same bytes inside."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else lzma.open(path) as stream:
            return _digest(stream) == entry.content_sha256
    except (OSError, EOFError, lzma.LZMAError, zlib.error):
        return False


def _download(name: str, entry: DataFile) -> Path:
    """Download a file, or the archive that holds it, into the cache; return the file's path."""
    assert entry.url is not None
    folder = Path(pooch.os_cache("mtlkit")) / name
    try:
        _require_https(entry.url)
        got = pooch.retrieve(
            entry.url,
            known_hash=entry.archive_sha256 if entry.member else entry.sha256,
            fname=entry.url.rsplit("/", 1)[-1].replace("+", "_") if entry.member else entry.name,
            path=folder,
            downloader=pooch.HTTPDownloader(progressbar=True, hooks={"response": _stay_on_https}),
        )
    except Exception as error:  # pooch passes on whatever the network library raises
        raise DataMissingError(
            f"Downloading {entry.url} failed ({error}). {refusal(name, entry.name)}"
        ) from error
    path = folder / entry.name
    try:
        if entry.member:
            _extract(Path(got), entry, path)
        verify(path, entry)
    except (DataCorruptError, DataMissingError):
        path.unlink(missing_ok=True)  # or the next search would find it
        if entry.member and entry.archive_sha256 is None:
            Path(got).unlink(missing_ok=True)  # nothing vouches for it: fetch it anew next time
        raise
    return path


SCHEMES = ("https",)  # ways by which a file may come


def _require_https(url: str) -> None:
    if urlsplit(url).scheme not in SCHEMES:
        raise ValueError(f"{url} is no https address, and files come by https alone")


def _stay_on_https(response: Any, **_: Any) -> None:
    """Refuse to be sent on to an address that is not https; ``requests`` asks at every stop."""
    if response.is_redirect:
        _require_https(urljoin(response.url, response.headers["location"]))


def _extract(archive: Path, entry: DataFile, target: Path) -> None:
    """Copy one member of a zip or tar archive to ``target``, whole or not at all.

    Raises ``DataMissingError`` where it is not in there, ``DataCorruptError`` for an archive that
    cannot be read or a member that is longer than it should be.
    """
    try:
        for name, stream in _members(archive):
            if name == entry.member or name.endswith(f"/{entry.member}"):
                with atomically(target) as out:
                    _copy(stream, out, entry, archive)
                return
        names = ", ".join(name for name, _ in _members(archive))
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataCorruptError(
            f"{archive} is no archive that can be read ({error}). Delete it and fetch it again."
        ) from error
    raise DataMissingError(f"{archive} holds no {entry.member!r}; it holds {names}.")


def _copy(stream: IO[bytes], out: IO[bytes], entry: DataFile, archive: Path) -> None:
    left = entry.size * (2 if entry.content_sha256 else 1)  # room for another compression
    for block in iter(lambda: stream.read(1 << 20), b""):
        left -= len(block)
        if left < 0:  # a few bytes may unpack to more than a disk holds
            raise DataCorruptError(
                f"{entry.name} in {archive} is longer than its {entry.size:,} bytes, so it is not "
                f"the expected file. Fetch it again from {_page_of(entry)}."
            )
        out.write(block)


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
