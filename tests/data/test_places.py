"""The folder with mtlkit's own presets and tables: in a package, in a checkout, in neither."""

import pytest

from mtlkit.data import places
from mtlkit.shop.dials import load_dials, presets


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty place for a package and the checkout around it."""
    monkeypatch.setattr(places, "CHECKOUT", tmp_path)
    monkeypatch.setattr(places, "PACKAGE", tmp_path / "mtlkit")
    return tmp_path


def a_preset(folder, name):
    (folder / "markets").mkdir(parents=True)
    (folder / "markets" / f"{name}.yaml").write_text("users: 30\n", encoding="utf-8")


def test_the_installed_package_goes_before_the_checkout(checkout):
    a_preset(checkout / "datasets", "outside")
    assert places.datasets_folder() == checkout / "datasets"
    assert presets() == ["outside"] and load_dials("outside").users == 30
    a_preset(checkout / "mtlkit" / "datasets", "inside")
    assert places.datasets_folder() == checkout / "mtlkit" / "datasets"
    assert presets() == ["inside"]


def test_where_neither_is_there_the_error_says_what_to_do(checkout):
    (checkout / "datasets").mkdir()  # in site-packages this is somebody else's package
    with pytest.raises(FileNotFoundError, match="Install mtlkit again, or restore the folder"):
        load_dials("small")
