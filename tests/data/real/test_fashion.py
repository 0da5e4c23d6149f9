"""Fashion-MNIST as pictures and overlays: labels, shapes, splits without shared pictures."""

import gzip
import hashlib

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from mtlkit.data.real import fashion, public
from mtlkit.data.real.fashion import CATEGORIES, load_fashion, overlay_pictures, silhouette_aspect
from mtlkit.data.real.public import DataMissingError
from mtlkit.data.real.registry import SETS, DataFile
from mtlkit.data.splits import check_disjoint

needs_pictures = pytest.mark.skipif(
    not fashion.fashion_available(),
    reason="the small Fashion-MNIST samples are in no folder of the search path (set MTLKIT_DATA)",
)


def test_the_aspect_of_a_drawn_box_is_its_height_over_its_width():
    pictures = np.zeros((3, 28, 28), np.uint8)
    pictures[0, 4:24, 10:15] = 200
    pictures[1, 27, :] = 200
    pictures[2, 2:6, 3:11] = fashion.SILHOUETTE + 1
    pictures[2, 20, 20] = fashion.SILHOUETTE  # too dark to belong to the product
    assert silhouette_aspect(pictures).tolist() == [4.0, np.float32(1 / 28), 0.5]


def test_an_overlay_is_the_area_average_of_the_canvas():
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 256, (2, 3, 28, 28)).astype(np.uint8)
    got = overlay_pictures(left, right)
    canvas = np.zeros((3, 36, 36))
    canvas[:, :28, :28] = left / 255
    canvas[:, 8:, 8:] = np.maximum(canvas[:, 8:, 8:], right / 255)
    fine = canvas.repeat(7, axis=1).repeat(7, axis=2)  # 252 = 36 x 7 = 28 x 9
    expected = fine.reshape(3, 28, 9, 28, 9).mean(axis=(2, 4))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_the_left_picture_is_above_the_right_one():
    bright, empty = np.full((1, 28, 28), 255, np.uint8), np.zeros((1, 28, 28), np.uint8)
    only_left = overlay_pictures(bright, empty)[0]
    only_right = overlay_pictures(empty, bright)[0]
    assert only_left[0, 0] == pytest.approx(1) and only_left[-1, -1] == 0
    assert only_right[0, 0] == 0 and only_right[-1, -1] == pytest.approx(1)


def test_official_files_are_read_from_their_format(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 256, (40, 28, 28)).astype(np.uint8), np.repeat(np.arange(10), 4)
    contents = {
        "t10k-images-idx3-ubyte.gz": gzip.compress(bytes(16) + x.tobytes()),
        "t10k-labels-idx1-ubyte.gz": gzip.compress(bytes(8) + y.astype(np.uint8).tobytes()),
    }
    folder = tmp_path / "fashion_mnist"
    folder.mkdir()
    files = []
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        files.append(DataFile(name, len(content), hashlib.sha256(content).hexdigest()))
    registered = SETS["fashion_mnist"]
    monkeypatch.setitem(
        SETS, "fashion_mnist", registered.__class__(**{**vars(registered), "files": tuple(files)})
    )
    monkeypatch.setenv("MTLKIT_DATA", str(tmp_path))
    assert fashion.fashion_available("official")
    pictures, category = fashion.fashion_pictures("official")
    np.testing.assert_array_equal(pictures, x)
    np.testing.assert_array_equal(category, y)
    split = load_fashion(source="official", fractions=(0.5, 0.25, 0.25))
    assert [len(part) for part in split] == [20, 10, 10]


def test_missing_pictures_are_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("MTLKIT_DATA", str(tmp_path))
    monkeypatch.setattr(public, "CHECKOUT", tmp_path / "a" / "b")
    monkeypatch.setattr(public.pooch, "os_cache", lambda name: tmp_path)
    assert not fashion.fashion_available()
    with pytest.raises(DataMissingError, match='source="official"'):
        load_fashion()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "videos"}, "variant must be"),
        ({"source": "kaggle"}, "source must be"),
        ({"fractions": (0.9, 0.2, -0.1)}, "fractions must be"),
        ({"pairs": 0}, "pairs must be"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_fashion(**arguments)


@needs_pictures
def test_the_small_samples_hold_1960_different_pictures_of_ten_categories():
    pictures, category = fashion.fashion_pictures()
    assert pictures.shape == (1960, 28, 28) and pictures.dtype == np.uint8
    assert len(np.unique(pictures.reshape(-1, 784), axis=0)) == 1960
    assert np.bincount(category).min() >= 178 and len(np.bincount(category)) == len(CATEGORIES)


@needs_pictures
def test_every_label_follows_from_its_picture_or_category():
    for part in load_fashion():
        category = part.label("category").numpy().astype(int)
        names = np.array(CATEGORIES)[category]
        assert (
            part.label("footwear").numpy() == np.isin(names, ["sandal", "sneaker", "boot"])
        ).all()
        upper = ["t-shirt", "pullover", "coat", "shirt"]
        assert (part.label("upper_body").numpy() == np.isin(names, upper)).all()
        pictures, kinds = fashion.fashion_pictures()
        rows = part.keys["picture"].numpy()
        assert (kinds[rows] == category).all()
        pixels = (part.dense.numpy() * 255).round().astype(np.uint8)
        assert (pixels == pictures[rows].reshape(-1, 784)).all()
        assert (part.label("aspect").numpy() == silhouette_aspect(pictures[rows])).all()
        assert part.observed.all()


@needs_pictures
def test_pictures_are_split_within_each_category_and_follow_the_seed():
    first, again, other = load_fashion(seed=3), load_fashion(seed=3), load_fashion(seed=4)
    check_disjoint(*first)
    assert sum(len(part) for part in first) == 1960
    for share, part in zip((0.6, 0.2, 0.2), first):
        counts = torch.bincount(part.label("category").long())
        assert (counts.float() - share * 196).abs().max() <= share * 20 + 1
    assert torch.equal(first.train.row_id, again.train.row_id)
    assert not torch.equal(first.test.row_id, other.test.row_id)
    aspect = first.train.schema.task("aspect")
    assert aspect.location == pytest.approx(float(first.train.label("aspect").mean()), abs=1e-5)


@needs_pictures
def test_overlays_pair_only_pictures_of_their_own_part():
    split, pictures = load_fashion("overlay", pairs=2), load_fashion("pictures")
    check_disjoint(*split)
    _, category = fashion.fashion_pictures()
    for pairs, singles in zip(split, pictures):
        own = singles.keys["picture"]
        assert len(pairs) == 2 * len(own)
        for side in ("left", "right"):
            used = pairs.keys[f"{side}_picture"]
            assert torch.isin(used, own).all()
            assert (pairs.label(side).numpy() == category[used.numpy()]).all()
    match = (split.train.label("left") == split.train.label("right")).float().mean()
    assert 0.05 < float(match) < 0.16  # the two tasks are independent: about one in ten agree


@needs_pictures
def test_a_linear_model_learns_the_categories():
    split = load_fashion()
    model = LogisticRegression(C=0.03, max_iter=300)
    model.fit(split.train.dense.numpy(), split.train.label("category").numpy())
    assert model.score(split.test.dense.numpy(), split.test.label("category").numpy()) > 0.75
