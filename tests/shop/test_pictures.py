import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.linear_model import LogisticRegression

from mtlkit.data.augment import affine, augment
from mtlkit.schema import SchemaError
from mtlkit.shop.pictures.drawing import (
    CATEGORIES,
    SHAPES,
    STYLES,
    draw,
    draw_many,
    draw_with_details,
)
from mtlkit.shop.pictures.tables import FOOTWEAR, picture_table

EVERY = np.repeat(np.arange(10), 4), np.tile(np.arange(4), 10)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    first, second = draw_many(*EVERY, 3), draw_many(*EVERY, 3)
    assert first.dtype == np.uint8 and first.shape == (40, 28, 28)
    assert first.tobytes() == second.tobytes()
    assert all((a != b).any() for a, b in zip(first, draw_many(*EVERY, 4), strict=True))


def test_a_longer_request_starts_with_the_pictures_of_a_shorter_one():
    category, style = np.tile(EVERY[0], 30), np.tile(EVERY[1], 30)  # past both chunk sizes
    long = draw_many(category, style, 5)
    assert (long[:25] == draw_many(category[:25], style[:25], 5)).all()


def test_a_generator_is_a_seed_too():
    one = draw_many(*EVERY, np.random.default_rng(8))
    assert (one == draw_many(*EVERY, np.random.default_rng(8))).all()


def test_every_silhouette_is_a_product_of_sensible_size_inside_the_frame():
    category = np.tile(np.arange(10), 100)
    drawing = draw_with_details(category, np.zeros(1000, dtype=int), 1)
    share = drawing.silhouettes.mean(axis=(1, 2))
    assert share.min() > 0.04 and share.max() < 0.6
    outside = drawing.silhouettes < 1e-6
    assert drawing.pictures[outside].mean() < 8  # only noise off the product
    for label, name in enumerate(CATEGORIES):
        mine = drawing.pictures[category == label]
        assert mine.reshape(len(mine), -1).std(axis=0).max() > 20, f"{name} does not vary"


def test_silhouettes_have_the_features_that_name_them():
    category = np.tile(np.arange(10), 60)
    drawing = draw_with_details(category, np.zeros(600, dtype=int), 2)
    aspect = {name: drawing.aspect[category == i].mean() for i, name in enumerate(CATEGORIES)}
    assert aspect["trousers"] > 1.5 and aspect["dress"] > 1.2
    assert aspect["sneaker"] < 0.6 and aspect["sandal"] < 0.7
    assert aspect["boot"] > aspect["sneaker"] + 0.3


def test_two_legs_stand_apart_at_the_hem_of_trousers():
    drawing = draw_with_details(np.full(60, 1), np.zeros(60, dtype=int), 2)
    parts = [ndimage.label(cover[-10:] > 0.5)[1] for cover in drawing.silhouettes]
    assert np.mean(np.array(parts) >= 2) > 0.8


def test_aspect_and_brightness_are_those_of_the_drawing():
    drawing = draw_with_details(*EVERY, 6)
    for row in range(0, 40, 7):
        inside = np.argwhere(drawing.silhouettes[row] > 0.5)
        height, width = inside.max(axis=0) - inside.min(axis=0) + 1
        assert drawing.aspect[row] == pytest.approx(height / width)
        cover = drawing.silhouettes[row]
        grey = (drawing.pictures[row] / 255.0 * (cover > 0)).sum() / cover.sum()
        assert drawing.brightness[row] == pytest.approx(grey, abs=0.02)


def test_a_style_prints_a_pattern_and_plain_does_not():
    category = np.full(200, 0)
    spread = []
    for style in range(4):
        drawing = draw_with_details(category, np.full(200, style), 9)
        whole = ndimage.binary_erosion(drawing.silhouettes > 0.99, np.ones((1, 3, 3)))
        grey = np.where(whole, drawing.pictures / 255.0, np.nan)
        relative = np.nanstd(grey, axis=(1, 2)) / np.nanmean(grey, axis=(1, 2))
        spread.append(np.median(relative))
    assert min(spread[1:]) > 1.5 * spread[0]


def test_shape_widens_the_product():
    category, style = np.full(90, 2), np.zeros(90, dtype=int)
    means = [
        draw_with_details(category, style, 4, shape=np.full(90, shape)).aspect.mean()
        for shape in range(len(SHAPES))
    ]
    assert means[0] > means[1] > means[2]


def test_names_and_labels_draw_the_same_picture():
    by_name = draw("boot", "dotted", 7)
    assert by_name.shape == (28, 28)
    assert (by_name == draw(9, 2, 7)).all()
    assert draw("bag", "plain", 7, size=40).shape == (40, 40)


def test_wrong_labels_are_refused_with_the_row_and_the_choices():
    with pytest.raises(ValueError, match="'hat' is not one of t-shirt"):
        draw("hat", "plain", 0)
    with pytest.raises(ValueError, match=r"style\[1\] is 4; use 0 to 3"):
        draw_many([0, 1], [0, 4], 0)
    with pytest.raises(ValueError, match="2 categories but 1 styles"):
        draw_many([0, 1], [0], 0)
    with pytest.raises(ValueError, match="names or integers"):
        draw_many([0.5], [0], 0)


def test_a_simple_classifier_learns_each_label_above_chance_and_below_perfect():
    table = picture_table(2600, seed=0)
    pixel = table.dense.numpy()
    scores = {}
    for task in table.schema.task_names:
        label = table.label(task).numpy()
        model = LogisticRegression(max_iter=60, tol=0.02, C=0.1).fit(pixel[:2000], label[:2000])
        scores[task] = model.score(pixel[2000:], label[2000:])
    assert 0.75 < scores["category"] < 0.92  # chance 0.10
    assert 0.38 < scores["style"] < 0.70  # chance 0.25
    assert 0.80 < scores["footwear"] < 0.97  # most frequent class 0.70
    assert scores["patterned"] < 0.85


def test_the_picture_table_holds_what_its_schema_says():
    tasks = ("category", "style", "footwear", "patterned", "aspect", "brightness")
    table = picture_table(400, seed=2, tasks=tasks)
    assert table.schema.task_names == tasks
    assert table.dense.shape == (400, 784)
    assert table.dense.min() >= 0 and table.dense.max() <= 1
    category, style = table.label("category").long(), table.label("style").long()
    expected = np.isin([CATEGORIES[i] for i in category], FOOTWEAR)
    assert (table.label("footwear").bool().numpy() == expected).all()
    assert (table.label("patterned").bool() == (style != STYLES.index("plain"))).all()
    aspect = table.schema.task("aspect")
    assert aspect.location == pytest.approx(float(table.label("aspect").mean()), rel=1e-5)
    assert len(set(zip(category.tolist(), style.tolist(), strict=True))) == 40
    again = picture_table(400, seed=2, tasks=("category",))
    assert torch.equal(again.dense, table.dense)


def test_a_label_share_leaves_a_task_with_few_labels():
    table = picture_table(600, seed=2, label_share={"patterned": 0.1})
    share = float(table.mask("patterned").float().mean())
    assert 0.05 < share < 0.16
    assert bool(table.mask("footwear").all())
    assert not table.label("patterned")[~table.mask("patterned")].any()
    with pytest.raises(SchemaError, match="no picture task 'price'"):
        picture_table(10, tasks=("price",))
    with pytest.raises(ValueError, match="share from 0 to 1"):
        picture_table(10, label_share={"style": 10})


@pytest.fixture
def pictures():
    return torch.from_numpy(draw_many(*EVERY, 11).astype(np.float32) / 255)


def test_augmentation_with_all_amounts_zero_changes_nothing(pictures):
    same = augment(pictures, 1, rotate_degrees=0, scale=0, shift=0)
    assert torch.equal(same, pictures) and same.data_ptr() != pictures.data_ptr()
    rows = len(pictures)
    moved = affine(pictures, torch.zeros(rows), torch.ones(rows), torch.zeros(rows, 2))
    torch.testing.assert_close(moved, pictures, atol=2e-5, rtol=0)


def test_augmentation_keeps_shape_and_range_and_is_pure(pictures):
    flat, before = pictures.reshape(40, 784), pictures.clone()
    one, two = augment(flat, 5, 20, 0.2, 3), augment(flat, 5, 20, 0.2, 3)
    assert torch.equal(one, two) and one.shape == flat.shape and one.dtype == flat.dtype
    assert torch.equal(pictures, before)
    assert one.min() >= 0 and one.max() <= 1 + 1e-6
    assert not torch.equal(one, augment(flat, 6, 20, 0.2, 3))
    assert torch.equal(augment(pictures, 5, 20, 0.2, 3).reshape(40, 784), one)


@pytest.mark.parametrize("degrees", [90.0, 25.0, -7.0])
def test_rotation_agrees_with_scipy(pictures, degrees):
    rows = len(pictures)
    turned = affine(pictures, torch.full((rows,), degrees), torch.ones(rows), torch.zeros(rows, 2))
    expected = ndimage.rotate(
        pictures.numpy(), degrees, axes=(2, 1), reshape=False, order=1, mode="grid-constant"
    )
    np.testing.assert_allclose(turned.numpy(), expected, atol=1e-4)


def test_the_whole_map_agrees_with_a_slow_reference_on_a_picture_that_is_not_square():
    picture = torch.rand(1, 9, 13, generator=torch.Generator().manual_seed(0)).double()
    degrees, scale, shift = 33.0, 1.3, (1.5, -2.0)
    amounts = [torch.tensor([amount], dtype=torch.float64) for amount in (degrees, scale, shift)]
    fast = affine(picture, *amounts)[0]
    angle = np.deg2rad(degrees)
    slow = np.zeros((9, 13))
    for row in range(9):
        for column in range(13):
            x, y = column - 6 - shift[0], row - 4 - shift[1]
            old_x = (np.cos(angle) * x - np.sin(angle) * y) / scale + 6
            old_y = (np.sin(angle) * x + np.cos(angle) * y) / scale + 4
            for i in range(9):
                for j in range(13):
                    weight = max(0, 1 - abs(old_x - j)) * max(0, 1 - abs(old_y - i))
                    slow[row, column] += weight * picture[0, i, j].item()
    np.testing.assert_allclose(fast.numpy(), slow, atol=1e-9)


def test_augmentation_refuses_what_it_cannot_do(pictures):
    with pytest.raises(ValueError, match="shift is -1"):
        augment(pictures, 0, shift=-1)
    with pytest.raises(ValueError, match="divide by 255"):
        augment((pictures * 255).to(torch.uint8), 0)
    with pytest.raises(ValueError, match="no square picture"):
        augment(torch.zeros(2, 10), 0)
