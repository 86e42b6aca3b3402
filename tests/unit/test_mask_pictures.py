"""Bitmaps, polygons and PNG pictures: what they hide, exactly, and what is refused."""

import hashlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privid.domain.policy import CameraPolicy, MaskPolicy, RegionScheme
from privid.owner.drawings import DrawingError, attach, read_png, sketch, write_png
from privid.owner.rasterise import rasterise
from privid.owner.shapes import Drawings, polygon, polygon_of_text
from privid.video import bitmaps
from privid.video.errors import StoreFailure
from privid.video.pictures import PictureStore
from privid.video.views import Box, overlaps, views

POLICY = CameraPolicy(
    epsilon_nano=1,
    rho_us=10,
    K=1,
    masks={"benches": MaskPolicy(5)},
    regions={"lanes": RegionScheme(("north", "south"), "hard")},
)
TOP, BOTTOM = ((0, 0), (9, 0), (9, 4), (0, 3)), ((0, 3), (9, 4), (9, 7), (0, 7))


# --- bitmaps ------------------------------------------------------------------------------------------------


@st.composite
def stacks(draw):
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)))
    return np.random.default_rng(draw(st.integers(0, 2**32))).random(shape) < 0.5


@given(stacks())
def test_bitmaps_survive_their_bytes(hidden):
    content = bitmaps.encode(hidden)
    assert np.array_equal(bitmaps.decode(content), hidden)
    assert bitmaps.digest(content) == hashlib.sha256(content).hexdigest()


def test_the_bytes_are_pbm_that_other_programs_read():
    hidden = np.random.default_rng(3).random((1, 9, 21)) < 0.5
    read = cv2.imdecode(np.frombuffer(bitmaps.encode(hidden), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(read == 0, hidden[0])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"P4\n",
        b"P5\n8 1\n\0",
        b"P4\n0 1\n",
        b"P4\n8 2\n\0",
        b"P4\n8 1\n\0\0",
        b"P4\n8 1\n\0P4\n8 2\n\0\0",
        b"P4\n3 1\n\x01",
        b"P4\n99999 1\n" + bytes(12_500),
        b"P4 8 1\n\0",
        b"P4\n# comment\n8 1\n\0",
        b"P4\n08 1\n\0",
        b"x" * (bitmaps.MOST_BYTES + 1),
    ],
)
def test_other_bytes_are_refused(content):
    with pytest.raises(ValueError, match="picture"):
        bitmaps.decode(content)


@given(st.binary(max_size=60))
def test_whatever_is_read_is_the_only_text_of_its_picture(noise):
    for content in (noise, b"P4\n8 2\n" + noise, b"P4\n5 1\n" + noise):
        try:
            hidden = bitmaps.decode(content)
        except ValueError:
            continue
        assert bitmaps.encode(hidden) == content


def test_too_many_pixels_are_refused():
    with pytest.raises(ValueError, match="more than 8 MiB"):
        bitmaps.encode(np.zeros((9, 8192, 1024), bool))
    with pytest.raises(ValueError, match="a side"):
        bitmaps.encode(np.zeros((1, 1, 16_385), bool))


def test_a_store_gives_back_what_was_put_in_or_fails(tmp_path):
    store = PictureStore(tmp_path)
    hidden = np.eye(9, dtype=bool)[None]
    name = store.add(bitmaps.encode(hidden))
    assert store.add(bitmaps.encode(hidden)) == name
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert np.array_equal(store.read(name), hidden)
    assert not store.has("../" + name)
    assert not store.has("0" * 64)
    with pytest.raises(StoreFailure, match="missing"):
        store.read("0" * 64)
    (tmp_path / name).write_bytes(bitmaps.encode(~hidden))
    with pytest.raises(StoreFailure, match="damaged"):
        store.read(name)


# --- polygons -----------------------------------------------------------------------------------------------


def inside(points, x, y):
    """The even-odd rule for the centre of pixel (x, y), in exact arithmetic: edges crossed to the left of it."""
    odd = False
    for (x0, y0), (x1, y1) in zip(points, (*points[1:], points[0]), strict=True):
        if (2 * y0 <= 2 * y + 1) != (2 * y1 <= 2 * y + 1):
            # crossing = x0 + (y + 1/2 - y0) * (x1 - x0) / (y1 - y0) <= x + 1/2, without division
            left, right = (2 * y + 1 - 2 * y0) * (x1 - x0), (2 * x + 1 - 2 * x0) * (y1 - y0)
            odd ^= left <= right if y1 > y0 else left >= right
    return odd


@given(st.lists(st.tuples(st.integers(0, 13), st.integers(0, 11)), min_size=3, max_size=8))
def test_pixels_are_those_with_their_centre_inside(points):
    drawn = rasterise([tuple(points)], 13, 11)
    assert drawn.tolist() == [[inside(points, x, y) for x in range(13)] for y in range(11)]


@given(st.integers(0, 12), st.integers(0, 12))
def test_polygons_that_share_an_edge_share_no_pixel_and_leave_none_out(left, right):
    above = rasterise([((0, 0), (17, 0), (17, right), (0, left))], 17, 12)
    below = rasterise([((0, left), (17, right), (17, 12), (0, 12))], 17, 12)
    assert np.array_equal(above, ~below)


def test_several_polygons_are_their_union_and_a_rectangle_is_a_rectangle():
    drawn = rasterise([((1, 2), (4, 2), (4, 5), (1, 5)), ((3, 3), (9, 3), (9, 4), (3, 4))], 9, 7)
    expected = np.zeros((7, 9), bool)
    expected[2:5, 1:4] = expected[3, 3:9] = True
    assert np.array_equal(drawn, expected)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("0,0 1,1", "3 to 1000"),
        ([[0, 0], [1, 1]], "3 to 1000"),
        ([[0, 0], [1, 1], [2]], "two whole numbers"),
        ([[0, 0], [1, 1], [2, 2.5]], "two whole numbers"),
        ([[0, 0], [1, 1], [2, True]], "two whole numbers"),
        ([[0, 0]] * 1001, "3 to 1000"),
        (7, "3 to 1000"),
    ],
)
def test_other_values_are_no_polygons(value, says):
    with pytest.raises(ValueError, match=says):
        polygon(value)


def test_polygons_on_command_lines():
    assert polygon_of_text("0,0 384,0  384,288") == ((0, 0), (384, 0), (384, 288))
    with pytest.raises(ValueError, match="write 0,0 384,0 384,288"):
        polygon_of_text("0;0 3;0 3;3")


def test_a_point_outside_the_picture_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 8\] is outside the picture of 9x7"):
        rasterise([((0, 0), (9, 0), (0, 8))], 9, 7)


# --- pictures -----------------------------------------------------------------------------------------------


def test_black_or_transparent_hides(tmp_path):
    pixels = np.full((3, 4, 4), 255, np.uint8)
    pixels[0, 0, :3] = 0  # black
    pixels[0, 1, :3] = (0, 0, 1)  # almost
    pixels[1, 1, 3] = 0  # transparent
    pixels[1, 2, 3] = 254  # not quite opaque: hidden as well
    hidden = np.zeros((3, 4), bool)
    hidden[0, 0] = hidden[1, 1] = hidden[1, 2] = True
    for depth in (1, 257):
        cv2.imwrite(str(tmp_path / "a.png"), pixels.astype(np.uint16) * depth if depth > 1 else pixels)
        assert np.array_equal(read_png(tmp_path / "a.png"), hidden)
    cv2.imwrite(str(tmp_path / "grey.png"), pixels[..., 0])
    assert np.array_equal(read_png(tmp_path / "grey.png"), pixels[..., 0] == 0)


@given(st.integers(0, 2**32))
def test_pictures_are_written_as_they_are_read(tmp_path_factory, seed):
    hidden = np.random.default_rng(seed).random((7, 9)) < 0.5
    path = tmp_path_factory.getbasetemp() / "picture.png"
    write_png(hidden, path)
    assert np.array_equal(read_png(path), hidden)


def test_files_that_are_no_pictures(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(DrawingError, match="cannot read"):
        read_png(path)
    write_png(np.eye(9, dtype=bool), path)
    whole = path.read_bytes()
    huge = whole[:16] + (10**6).to_bytes(4, "big") + whole[20:]
    for content, says in (
        (b"", "not a PNG"),
        (b"\xff\xd8\xff" + whole, "not a PNG"),
        (whole[:30], "damaged"),
        (huge, "16384 pixels"),
    ):
        path.write_bytes(content)
        with pytest.raises(DrawingError, match=says):
            read_png(path)


def test_a_sketch_shows_every_hidden_pixel():
    hidden = np.zeros((96, 160), bool)
    hidden[95, 159] = True
    lines = sketch(hidden, 16)
    assert lines == ["·" * 16] * 4 + ["·" * 15 + "█"]


# --- policies with pictures ---------------------------------------------------------------------------------


def test_drawings_become_pictures_that_a_policy_names(tmp_path):
    write_png(np.eye(7, 9, dtype=bool), tmp_path / "benches.png")
    drawings = Drawings(
        masks={"benches": tmp_path / "benches.png"},
        regions={"lanes": {"south": (BOTTOM,), "north": (TOP,)}},
    )
    policy, made = attach(POLICY, drawings, (9, 7), tmp_path)
    assert {policy.masks["benches"].picture, policy.regions["lanes"].picture} == set(made)
    assert np.array_equal(bitmaps.decode(made[policy.masks["benches"].picture])[0], np.eye(7, 9, dtype=bool))
    north, south = bitmaps.decode(made[policy.regions["lanes"].picture])
    assert np.array_equal(north, ~rasterise([TOP], 9, 7))
    assert np.array_equal(south, ~rasterise([BOTTOM], 9, 7))
    again, _ = attach(POLICY, Drawings(regions=drawings.regions), (9, 7), tmp_path)
    assert again.regions == policy.regions
    assert again.masks == POLICY.masks


@pytest.mark.parametrize(
    ("drawings", "size", "says"),
    [
        (Drawings(masks={"benches": (TOP,)}), (0, 0), "size of the picture is not known"),
        (Drawings(masks={"benches": (TOP,)}), (5, 5), "mask benches: the point"),
        (Drawings(regions={"lanes": {"north": (TOP,), "south": (TOP[:3],)}}), (8, 4), "region lanes.north"),
    ],
)
def test_drawings_that_do_not_fit(tmp_path, drawings, size, says):
    with pytest.raises(DrawingError, match=says):
        attach(POLICY, drawings, size, tmp_path)


def test_pictures_of_one_scheme_have_one_size(tmp_path):
    write_png(np.eye(7, 9, dtype=bool), tmp_path / "a.png")
    write_png(np.eye(7, 8, dtype=bool), tmp_path / "b.png")
    drawings = Drawings(regions={"lanes": {"north": tmp_path / "a.png", "south": tmp_path / "b.png"}})
    with pytest.raises(DrawingError, match="differ in size"):
        attach(POLICY, drawings, (9, 7), tmp_path)


# --- views --------------------------------------------------------------------------------------------------


def test_views_are_the_region_without_what_any_mask_hides():
    first, second = np.zeros((2, 1, 6, 9), bool)
    first[0, :, 0] = second[0, 5] = True
    regions = np.ones((2, 6, 9), bool)
    regions[0, 1:4, 3:7] = regions[1, :, 8] = False
    assert views([], None) == (None,)
    (whole,) = views([first, second], None)
    assert np.array_equal(whole.visible, ~(first[0] | second[0]))
    assert whole.box == Box(0, 0, 9, 6)
    left, right = views([first, second], regions)
    assert np.array_equal(left.visible, ~(first[0] | second[0] | regions[0]))
    # The bounding box of the polygon, rounded outwards to even pixels, whatever masks hide of it.
    assert left.box == Box(2, 0, 8, 4)
    assert right.box == Box(8, 0, 9, 6)
    with pytest.raises(ValueError, match="differ in size"):
        views([first, second[:, :5]], None)
    with pytest.raises(ValueError, match="empty"):
        views([], np.ones((1, 3, 3), bool))


def test_overlaps_are_pairs_of_regions_with_their_pixels():
    regions = ~np.array([[[1, 1, 0, 0]], [[0, 1, 1, 0]], [[0, 0, 0, 1]]], bool)
    assert list(overlaps(regions)) == [(0, 1, 1)]
