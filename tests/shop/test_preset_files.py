"""A preset's file holds numbers and words; what else lies in it gets a sentence and never runs."""

from fractions import Fraction

import numpy as np
import pytest

from mtlkit.shop import Market
from mtlkit.shop.dials import Dials, load_dials, presets
from mtlkit.shop.preset_file import read_preset

RAN = []


def ran(*_):
    RAN.append(1)
    return 50


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "mine.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("50", 50), ("+50", 50), ("1_000", 1000), ("1e3", 1000.0), ("1.0e+3", 1000.0), (".5", 0.5),
        ("5.", 5.0), ("-0.6", -0.6), ("0", 0), ("0.25", 0.25), ("personal", "personal"),
        ("'50'", "50"), ('"personal"', "personal"), ("1e-3", 0.001),
    ],
)  # fmt: skip
def test_a_number_is_what_it_looks_like(write, text, value):
    found = read_preset(write(f"x: {text}"))
    assert found == {"x": value} and type(found["x"]) is type(value)


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "--- \n...\n"])
def test_an_empty_file_has_the_defaults(write, text):
    assert load_dials(write(text)) == Dials()


WRONG = {
    "python object": "users: !!python/object/apply:tests.shop.test_preset_files.ran [1]",
    "python object on top": "!!python/object/apply:tests.shop.test_preset_files.ran [1]",
    "python name": "users: !!python/name:tests.shop.test_preset_files.ran",
    "python module": "users: !!python/module:tests.shop.test_preset_files 50",
    "own tag": "users: !mine 50",
    "tag on the top": "!mine\nusers: 50",
    "tag on a key": "!!python/name:os.system users: 50",
    "binary": "users: !!binary NTA=",
    "set": "users: !!set {50}",
    "unknown key": "user: 50",
    "key of another case": "Users: 50",
    "number for a key": "3: 50",
    "null for a key": "null: 50",
    "no key": ": 50",
    "list for a key": "? [a, b]\n: 50",
    "map for a key": "? {a: b}\n: 50",
    "merge": "<<: {users: 50}",
    "merge of an anchor": "base: &b {users: 50}\n<<: *b",
    "the same key twice": "users: 50\nusers: 60",
    "list": "- users\n- 50",
    "word": "users",
    "number": "50",
    "false": "false",
    "zero": "0",
    "empty list": "[]",
    "empty text": '""',
    "nothing for a value": "users:",
    "null": "users: null",
    "tilde": "users: ~",
    "truth": "users: true",
    "yes": "users: yes",
    "no for a word": "exposure: no",
    "date": "users: 2026-01-01",
    "no date": "users: 2026-13-45",
    "octal": "users: 0100",
    "hexadecimal": "users: 0x50",
    "base 60": "users: 1:30",
    "infinity": "users: .inf",
    "not a number": "noise: .nan",
    "number in quotes": "users: '50'",
    "words": "users: many",
    "a list of one": "users: [50]",
    "a map": "users: {is: 50}",
    "lines of text": "users: |\n  50\n",
    "half": "users: 50.5",
    "too few": "users: 1",
    "too many": f"users: 1{'0' * 400}",
    "too large a float": "noise: 1e400",
    "another word": "exposure: best",
    "number for a word": "exposure: 3",
    "two documents": "users: 50\n---\nusers: 60",
    "open list": "users: [50",
    "tabs": "users:\t50\n\titems: 100",
    "colon": "users: 50: 60",
    "unknown anchor": "users: *nobody",
    "anchor of itself": "users: &a [*a]",
    "deep": "users: " + "[" * 5000,
    "a bell": "users: 50\a",
    "no UTF-8": b"users: 50 # \xff\xfe",
    "nothing but zeros": b"\0" * 100,
    "digits of another script": "users: ٥٠",
    "letters and numbers": "users: 5O",
    "a long number of digits": f"users: {'9' * 5000}",
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_preset_is_refused_by_file_and_reason(write, what):
    path = write(WRONG[what])
    for act in (load_dials, lambda p: Market(str(p))):
        with pytest.raises(ValueError) as refusal:
            act(path)
        assert type(refusal.value) is ValueError and "mine.yaml" in str(refusal.value)
        assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 7000
    assert RAN == []


def test_the_line_is_named(write):
    with pytest.raises(ValueError, match=r"mine\.yaml, line 3: dial users stands there twice"):
        load_dials(write("users: 50\nitems: 100\nusers: 50\n"))
    with pytest.raises(ValueError, match=r"mine\.yaml, line 2: dial items: .* marked !mine"):
        load_dials(write("users: 50\nitems: !mine 100\n"))


@pytest.mark.parametrize(
    "wrong", [3, 2.5, True, "", " ", "a\0b", "../small", b"small", ["small"], "x.yaml"]
)
def test_what_is_no_preset_is_told_which_there_are(wrong):
    with pytest.raises(ValueError, match=r"market preset .*small"):
        load_dials(wrong)


NUMBERS = [name for name, field in Dials.__dataclass_fields__.items() if name != "exposure"]


@pytest.mark.parametrize("name", NUMBERS)
def test_a_dial_that_is_no_number_in_its_range_is_refused_by_name(name):
    for wrong in (None, True, "3", [1], {}, 1j, np.ones(2), b"1", float("nan"), float("inf"),
                  -float("inf"), 10**400, -99):  # fmt: skip
        with pytest.raises(ValueError, match=f"dial {name}: "):
            load_dials(None, {name: wrong})


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_of_any_kind_is_a_number(name):
    default = getattr(Dials(), name)
    for kind in (np.float64, Fraction) if isinstance(default, float) else (np.int64, np.int32):
        dials = load_dials(None, {name: kind(default)})
        assert dials == Dials() and type(getattr(dials, name)) is type(default)


@pytest.mark.parametrize("wrong", [None, 3, ["popular"], "", b"popular", np.ones(2)])
def test_an_exposure_is_one_of_three_words(wrong):
    with pytest.raises(ValueError, match=r"dial exposure: .* is not one of"):
        load_dials(None, {"exposure": wrong})


def test_every_preset_of_the_shop_is_read_as_yaml_reads_it():
    import yaml

    from mtlkit.data.places import datasets_folder

    for name in presets():
        path = datasets_folder() / "markets" / f"{name}.yaml"
        assert read_preset(path) == yaml.safe_load(path.read_text(encoding="utf-8")) or {}
