"""Hidden pixels never matter: whatever changes under a mask or outside a region, the delivered bytes are the same.

privacy-model.md, section 1, "Slots": masked at native resolution, everything outside the region blackened, then
cropped, then resized. Frames differ in *every* hidden pixel, and in every colour sample that one had a part in.
"""

import numpy as np
import pytest
from av import VideoFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from privid.video.convert import BLACK, Converter
from privid.video.views import views

FORMATS = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv440p", "yuv444p", "gray", "gbrp", "yuva420p")
COLOURS = st.sampled_from(tuple(BLACK))
DEEP = ("yuv420p10le", "yuv422p12le", "yuv444p16le", "gray10le", "gbrp10le")


def samples(frame):
    """The planes of a frame as arrays (height, width) that can be written to."""
    kind = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    return [
        np.frombuffer(memoryview(plane), np.uint8).view(kind).reshape(plane.height, -1)[:, : plane.width]
        for plane in frame.planes
    ]


def random_frame(rng, width, height, pixel_format):
    frame = VideoFrame(width, height, pixel_format)
    top = 1 << frame.format.components[0].bits
    for plane in samples(frame):
        plane[:] = rng.integers(0, top, plane.shape)
    return frame


def with_other_pixels(rng, frame, hidden):
    """The frame with every sample changed that any pixel of `hidden` has a part in."""
    other = VideoFrame(frame.width, frame.height, frame.format.name)
    top = 1 << frame.format.components[0].bits
    height, width = hidden.shape
    for source, target in zip(samples(frame), samples(other), strict=True):
        down, across = -(-height // source.shape[0]), -(-width // source.shape[1])
        padded = np.pad(hidden, ((0, -height % down), (0, -width % across)))
        touched = padded.reshape(padded.shape[0] // down, down, padded.shape[1] // across, across).any(axis=(1, 3))
        moved = (source.astype(int) + rng.integers(1, top, source.shape)) % top
        target[:] = np.where(touched, moved, source)
    return other


def delivered(frame, view, size=None, colour="bgr"):
    width, height = size or (view.box.width, view.box.height)
    plane = Converter(width, height, view, colour).convert(frame)
    assert plane is not None
    return plane[:, : width * 3].reshape(height, width, 3).copy()


@st.composite
def bitmaps(draw, width, height):
    """One or two bitmaps of pixels, of rectangles at odd places, or of nothing."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    found = np.zeros((draw(st.integers(1, 2)), height, width), bool)
    for picture in found:
        if draw(st.booleans()):
            picture[:] = rng.random((height, width)) < draw(st.sampled_from((0.01, 0.5, 0.99)))
        for _ in range(draw(st.integers(0, 3))):
            x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
            picture[y : y + draw(st.integers(1, height)), x : x + draw(st.integers(1, width))] ^= True
    return found


@st.composite
def scenes(draw):
    width, height = draw(st.integers(9, 67)), draw(st.integers(9, 53))
    masks = draw(st.lists(bitmaps(width, height), max_size=2))
    regions = draw(st.none() | bitmaps(width, height))
    if regions is not None:
        regions[:, draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = False
    return width, height, masks, regions


@settings(max_examples=150, deadline=None)
@given(
    scene=scenes(),
    pixel_format=st.sampled_from(FORMATS + DEEP),
    colour_range=st.sampled_from((0, 1, 2)),
    resize=st.none() | st.tuples(st.integers(2, 90), st.integers(2, 70)),
    colour=COLOURS,
    seed=st.integers(0, 2**32),
)
def test_hidden_pixels_never_matter(scene, pixel_format, colour_range, resize, colour, seed):
    width, height, masks, regions = scene
    rng = np.random.default_rng(seed)
    frame = random_frame(rng, width, height, pixel_format)
    shown = views(masks, regions)
    for number, view in enumerate(shown):
        if view is None:
            assert not masks
            assert regions is None
            continue
        hidden = np.zeros((height, width), bool)
        for mask in masks:
            hidden |= mask.any(axis=0)
        if regions is not None:
            hidden |= regions[number]
        assert np.array_equal(view.visible, ~hidden)
        other = with_other_pixels(rng, frame, hidden)
        frame.color_range = other.color_range = colour_range
        assert np.array_equal(delivered(frame, view, resize, colour), delivered(other, view, resize, colour))


@settings(max_examples=80, deadline=None)
@given(
    scene=scenes(),
    pixel_format=st.sampled_from(FORMATS),
    colour_range=st.sampled_from((0, 1, 2)),
    colour=COLOURS,
    seed=st.integers(0, 2**32),
)
def test_what_is_hidden_is_black_and_the_rest_is_there(scene, pixel_format, colour_range, colour, seed):
    width, height, masks, regions = scene
    frame = random_frame(np.random.default_rng(seed), width, height, pixel_format)
    for plane in samples(frame):
        plane[plane < 128] = 128  # so that nothing visible is black by itself
    frame.color_range = colour_range
    for view in views(masks, regions):
        if view is None:
            continue
        box = view.box
        picture = delivered(frame, view, colour=colour)
        visible = view.visible[box.top : box.bottom, box.left : box.right]
        assert (picture[~visible] == BLACK[colour]).all()
        inner = np.zeros_like(visible)
        blocks = np.lib.stride_tricks.sliding_window_view(np.pad(view.visible, 1, constant_values=False), (3, 3))
        inner[:] = blocks.all(axis=(2, 3))[box.top : box.bottom, box.left : box.right]
        assert (picture[inner] != BLACK[colour]).any(axis=-1).all()


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "gray", "gbrp"])
def test_the_visible_rest_is_exactly_what_it_is_without_a_mask(pixel_format):
    frame = random_frame(np.random.default_rng(5), 98, 70, pixel_format)
    mask = np.zeros((1, 70, 98), bool)
    mask[0, 20:41, 31:64] = True
    (view,) = views([mask], None)
    plain = Converter(98, 70).convert(frame)
    rows = slice(0, 70)
    visible = view.visible.copy()
    visible[20:42, 30:64] = False  # the blocks of colour that the mask cuts
    assert np.array_equal(delivered(frame, view)[visible], plain[rows, : 98 * 3].reshape(70, 98, 3)[visible])


def test_one_sample_of_colour_belongs_to_four_pixels():
    """Trap: with only the hidden pixel blackened, its neighbours' colour would still tell of it."""
    frame = VideoFrame(16, 16, "yuv420p")
    for plane in samples(frame):
        plane[:] = 128
    other = VideoFrame(16, 16, "yuv420p")
    for plane in samples(other):
        plane[:] = 128
    samples(other)[1][2, 2] = 255  # the colour of pixels 4 and 5, of which the mask hides one
    mask = np.zeros((1, 16, 16), bool)
    mask[0, 5, 5] = True
    (view,) = views([mask], None)
    assert np.array_equal(delivered(frame, view), delivered(other, view))
    assert not delivered(frame, view)[4:6, 4:6].any()
    assert delivered(frame, view)[3, 3].all()


@pytest.mark.parametrize("pixel_format", ["nv12", "rgb24", "yuv411p", "pal8", "ya8"])
def test_formats_whose_samples_cannot_be_told_apart_show_nothing(pixel_format):
    mask = np.zeros((1, 16, 16), bool)
    (view,) = views([mask], None)
    assert Converter(16, 16, view).convert(VideoFrame(16, 16, pixel_format)) is None


@pytest.mark.parametrize("size", [(16, 15), (15, 16), (32, 32)])
def test_frames_of_another_size_show_nothing(size):
    (view,) = views([np.zeros((1, 16, 16), bool)], None)
    assert Converter(16, 16, view).convert(VideoFrame(*size, "yuv420p")) is None


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj422p", "yuv444p", "gray", "gbrp", "yuv420p10le"])
@pytest.mark.parametrize("colour", ["bgr", "rgb", "yuv"])
def test_a_hidden_pixel_is_black_in_a_smaller_picture_too(pixel_format, colour):
    """Where nothing visible has a part in it: black but for what libswscale rounds, one step at most."""
    mask = np.zeros((1, 64, 96), bool)
    mask[0, :, 32:] = True
    (view,) = views([mask], None)
    shown = delivered(random_frame(np.random.default_rng(3), 96, 64, pixel_format), view, (48, 32), colour)
    assert np.abs(shown[:, 20:].astype(int) - BLACK[colour]).max() <= 1
    assert np.abs(shown[:, :12].astype(int) - BLACK[colour]).max() > 30
