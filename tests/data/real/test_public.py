"""The search path of real data sets: order, checksums, downloads, refusals."""

import gzip
import hashlib
import http.server
import io
import re
import threading
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import requests

from mtlkit.data.real import public, registry
from mtlkit.data.real.public import DataCorruptError, DataMissingError, locate
from mtlkit.data.real.registry import SETS, DataFile, DataSet

CONTENT = b"user,click\n1,0\n2,1\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
EVERY = [(name, file.name) for name, entry in SETS.items() for file in entry.files]
# where there are small samples, the large official files lie in no folder of the maintainers
PRESENT = [
    (name, file.name)
    for name, entry in SETS.items()
    for file in entry.files
    if file.url is None or all(other.url for other in entry.files)
]


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A search path of four empty folders, and one registered set called toys."""
    monkeypatch.setenv("MTLKIT_DATA", str(tmp_path / "named"))
    own = tmp_path / "work" / "checkout" / "datasets"
    monkeypatch.setattr(public, "CHECKOUT", own.parent)
    monkeypatch.setattr(public, "datasets_folder", lambda: own)
    monkeypatch.setattr(public.pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    register(monkeypatch, DataFile("toys.csv", len(CONTENT), DIGEST))
    return {
        "named": tmp_path / "named",
        "own": own,
        "cache": tmp_path / "cache" / "mtlkit",
        "beside": tmp_path / "work" / "shared" / "data",
    }


def register(monkeypatch, *files, how="Ask the owner."):
    toys = DataSet("toys", "Toys", "CC0", "https://toys.example", "19 B", "2 rows", how, files)
    monkeypatch.setitem(SETS, "toys", toys)


def put(folder, content=CONTENT, file="toys.csv"):
    path = folder / "toys" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_places_are_searched_in_the_documented_order(places):
    assert [folder for _, folder in public.search_path()] == list(places.values())
    for name in reversed(places):
        expected = put(places[name])
        assert locate("toys", "toys.csv") == expected


def test_without_the_environment_variable_three_places_are_left(places, monkeypatch):
    monkeypatch.setenv("MTLKIT_DATA", "  ")
    assert [folder for _, folder in public.search_path()] == list(places.values())[1:]


def test_a_missing_file_is_refused_with_page_size_licence_and_place(places):
    with pytest.raises(DataMissingError) as error:
        locate("toys", "toys.csv")
    message = str(error.value)
    for part in (
        "'toys.csv' was not found",
        "https://toys.example",
        "19 B",
        "CC0",
        "Ask the owner.",
        str(places["cache"] / "toys" / "toys.csv"),
        "MTLKIT_DATA",
        *(str(folder / "toys") for folder in places.values()),
    ):
        assert part in message


def test_a_file_without_an_address_is_never_downloaded(places, monkeypatch):
    monkeypatch.setattr(public.pooch, "retrieve", lambda *a, **k: pytest.fail("downloaded"))
    with pytest.raises(DataMissingError):
        locate("toys", "toys.csv")


def test_download_false_does_not_download_a_file_with_an_address(places, monkeypatch):
    register(
        monkeypatch, DataFile("toys.csv", len(CONTENT), DIGEST, url="https://toys.example/toys.csv")
    )
    monkeypatch.setattr(public.pooch, "retrieve", lambda *a, **k: pytest.fail("downloaded"))
    with pytest.raises(DataMissingError):
        locate("toys", "toys.csv", download=False)


def test_a_corrupt_file_is_refused_by_name_with_the_expected_checksum(places):
    path = put(places["beside"], CONTENT[:-1])
    with pytest.raises(DataCorruptError) as error:
        locate("toys", "toys.csv")
    found = hashlib.sha256(CONTENT[:-1]).hexdigest()
    for part in (str(path), f"SHA-256 {found}", f"expected {DIGEST}", "https://toys.example"):
        assert part in str(error.value)


def test_a_copy_compressed_by_someone_else_is_accepted_and_a_cut_one_refused(places, monkeypatch):
    ours = gzip.compress(CONTENT, 9, mtime=0)
    entry = DataFile("toys.csv.gz", len(ours), hashlib.sha256(ours).hexdigest(), DIGEST)
    register(monkeypatch, entry)
    theirs = gzip.compress(CONTENT, 1, mtime=1)
    assert theirs != ours
    path = put(places["named"], theirs, "toys.csv.gz")
    assert locate("toys", "toys.csv.gz") == path
    for bad in (theirs[:-9], gzip.compress(b"edited"), b"no archive at all"):
        path.write_bytes(bad)
        with pytest.raises(DataCorruptError):
            locate("toys", "toys.csv.gz")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A web server on this machine, by plain http; yields its folder and address."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(public, "SCHEMES", ("http", "https"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_plain_file_is_downloaded_into_the_cache_and_found_there_again(places, site, monkeypatch):
    folder, address = site
    (folder / "toys.csv").write_bytes(CONTENT)
    register(monkeypatch, DataFile("toys.csv", len(CONTENT), DIGEST, url=f"{address}/toys.csv"))
    path = locate("toys", "toys.csv")
    assert path == places["cache"] / "toys" / "toys.csv"
    assert path.read_bytes() == CONTENT
    (folder / "toys.csv").unlink()
    assert public.fetch("toys") == [path]


def test_a_download_with_other_bytes_leaves_no_file(places, site, monkeypatch):
    folder, address = site
    (folder / "toys.csv").write_bytes(b"changed by its owner")
    register(monkeypatch, DataFile("toys.csv", len(CONTENT), DIGEST, url=f"{address}/toys.csv"))
    with pytest.raises(DataMissingError, match=DIGEST):
        locate("toys", "toys.csv")
    assert public.find("toys", "toys.csv") is None


def test_an_address_that_fails_ends_in_the_refusal(places, site, monkeypatch):
    register(monkeypatch, DataFile("toys.csv", len(CONTENT), DIGEST, url=f"{site[1]}/nothing.csv"))
    with pytest.raises(DataMissingError, match=r"404.*was not found\. Page: https://toys.example"):
        locate("toys", "toys.csv")


def archive_of(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_csv", ".csv"), content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_member_is_taken_out_of_an_archive(places, site, monkeypatch):
    folder, address = site
    sha256 = archive_of(folder / "all.zip", readme="hello", inner__toys_csv=CONTENT)
    entry = DataFile("toys.csv", len(CONTENT), DIGEST, url=f"{address}/all.zip", member="toys.csv")
    for known in (None, sha256):
        register(monkeypatch, replace(entry, archive_sha256=known))
        path = locate("toys", "toys.csv")
        assert path.read_bytes() == CONTENT
        path.unlink()

    register(monkeypatch, replace(entry, name="other.csv", member="other.csv"))
    with pytest.raises(DataMissingError, match=r"holds no 'other.csv'; it holds readme"):
        locate("toys", "other.csv")

    register(monkeypatch, replace(entry, name="wrong.csv", member="readme"))
    with pytest.raises(DataCorruptError):
        locate("toys", "wrong.csv")
    assert public.find("toys", "wrong.csv") is None


def test_an_archive_of_other_bytes_is_refused_before_it_is_opened(places, site, monkeypatch):
    folder, address = site
    archive_of(folder / "all.zip", toys_csv=CONTENT)
    entry = DataFile("toys.csv", len(CONTENT), DIGEST, url=f"{address}/all.zip", member="toys.csv")
    register(monkeypatch, replace(entry, archive_sha256="0" * 64))
    monkeypatch.setattr(public, "_members", lambda archive: pytest.fail("opened"))
    with pytest.raises(DataMissingError, match="0000"):
        locate("toys", "toys.csv")


@pytest.mark.parametrize("bad", ["cut", "no archive", "edited", "a bomb"])
def test_a_bad_archive_is_fetched_anew_the_next_time(places, site, monkeypatch, bad):
    folder, address = site
    path = folder / "all.zip"
    archive_of(path, toys_csv=CONTENT)
    whole = path.read_bytes()
    contents = {"edited": b"user", "a bomb": bytes(50_000_000)}
    if bad in contents:
        archive_of(path, toys_csv=contents[bad])
    else:
        path.write_bytes(whole[: len(whole) // 2] if bad == "cut" else b"not found")
    entry = DataFile("toys.csv", len(CONTENT), DIGEST, url=f"{address}/all.zip", member="toys.csv")
    register(monkeypatch, entry)
    with pytest.raises(DataCorruptError, match="longer than" if bad == "a bomb" else None):
        locate("toys", "toys.csv")
    assert list((places["cache"] / "toys").iterdir()) == []
    path.write_bytes(whole)
    assert locate("toys", "toys.csv").read_bytes() == CONTENT


# By https alone


@pytest.mark.parametrize("scheme", ["http", "ftp", "file"])
def test_a_file_comes_by_https_alone(places, monkeypatch, scheme):
    url = f"{scheme}://toys.example/toys.csv"
    register(monkeypatch, DataFile("toys.csv", len(CONTENT), DIGEST, url=url))
    monkeypatch.setattr(public.pooch, "retrieve", lambda *a, **k: pytest.fail("downloaded"))
    with pytest.raises(DataMissingError, match="no https address"):
        locate("toys", "toys.csv")


def test_being_sent_on_to_an_address_without_https_is_refused(places, monkeypatch):
    asked = []

    def send(self, request, **options):
        asked.append(request.url)
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = 302, request, request.url
        answer.headers["location"] = "http://elsewhere.example/toys.csv"
        answer.raw = io.BytesIO()
        return answer

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    url = "https://toys.example/toys.csv"
    register(monkeypatch, DataFile("toys.csv", len(CONTENT), DIGEST, url=url))
    with pytest.raises(DataMissingError, match=r"http://elsewhere.* is no https address"):
        locate("toys", "toys.csv")
    assert asked == [url]


def test_fetch_passes_over_what_cannot_be_had_but_not_over_everything(places, monkeypatch):
    register(
        monkeypatch, DataFile("toys.csv", len(CONTENT), DIGEST), DataFile("more.csv", 0, "0" * 64)
    )
    with pytest.raises(DataMissingError):
        public.fetch("toys")
    path = put(places["named"])
    assert public.fetch("toys") == [path]


def test_unknown_sets_and_files_are_refused_with_the_known_names():
    with pytest.raises(ValueError, match=r"Unknown data set 'olist'; known are census_income_kdd"):
        locate("olist", "orders.csv")
    with pytest.raises(ValueError, match=r"no file 'a.csv'; known are fashion_mnist_1061.npz"):
        locate("fashion_mnist", "a.csv")


def test_every_set_is_described_and_nothing_is_found_in_empty_places(places):
    described = {entry.name: entry for entry in public.describe_all()}
    assert set(described) >= {
        "complete_journey",
        "fashion_mnist",
        "census_income_kdd",
        "kuairand_pure",
        "online_shoppers",
        "womens_clothing_reviews",
        "online_retail",
        "scms_delivery",
    }
    for entry in described.values():
        assert entry.found_at is None
        assert entry.licence and entry.title and entry.size
        assert entry.url.startswith("https://")
    put(places["cache"])
    assert public.describe("toys").found_at == places["cache"] / "toys"


def test_the_committed_set_is_found_without_any_other_place(tmp_path, monkeypatch):
    monkeypatch.delenv("MTLKIT_DATA", raising=False)
    monkeypatch.setattr(public.pooch, "os_cache", lambda name: tmp_path)
    found = public.describe("complete_journey").found_at
    assert found == public.datasets_folder() / "complete_journey"


@pytest.mark.parametrize(("name", "file"), PRESENT)
def test_a_registered_file_that_is_here_has_its_checksum_and_size(name, file):
    path = public.find(name, file)
    if path is None:
        pytest.skip(f"{file} of {name} is in no folder of the search path (set MTLKIT_DATA)")
    assert locate(name, file, download=False) == path
    entry = next(f for f in SETS[name].files if f.name == file)
    assert path.stat().st_size == entry.size or entry.content_sha256 is not None


def test_every_set_that_a_file_of_the_package_reads_has_its_entry():
    folder = Path(public.__file__).parent
    read = {
        (path.name, name)
        for path in folder.glob("*.py")
        for name in re.findall(r'\b(?:locate|find)\(\s*"(\w+)"', path.read_text(encoding="utf-8"))
    }
    assert len({name for _, name in read}) >= 2
    assert [(file, name) for file, name in sorted(read) if name not in SETS] == []


@pytest.mark.parametrize("name", list(SETS))
def test_an_entry_says_what_its_user_must_know(name):
    entry = SETS[name]
    assert entry.name == name and entry.page.startswith("https://")
    assert entry.title and entry.licence and entry.size and entry.rows and entry.how
    for file in entry.files:
        for checksum in (file.sha256, file.content_sha256, file.archive_sha256):
            assert checksum is None or re.fullmatch("[0-9a-f]{64}", checksum), file.name
        assert file.sha256 and file.size > 0
        assert file.url is None or file.url.startswith("https://"), file.name
        assert file.member is None or file.url is not None


@pytest.mark.parametrize("place", ["named", "own", "cache", "beside"])
@pytest.mark.parametrize(("name", "file"), EVERY)
def test_a_file_of_other_bytes_is_refused_wherever_it_lies(places, name, file, place):
    path = places[place] / name / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something else")
    with pytest.raises(DataCorruptError, match=re.escape(str(path))):
        locate(name, file)


def test_a_name_stands_for_one_set_alone():
    names = [entry.name for entry in registry._ALL]
    assert len(names) == len(set(names)) == len(SETS)
