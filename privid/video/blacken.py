"""Blackening decoded frames before anything else touches them (privacy-model.md, section 1, "Slots").

The visible samples of a frame are copied into a black one, in the frame's own pixel format and at its native
resolution; hidden samples are never copied, so nothing that happens afterwards (conversion, filters, scaling) can bring
them back. Colour is stored for blocks of pixels (2 x 2 in most video): a block with a hidden pixel is hidden as a
whole, brightness and colour, because its one sample of colour comes from all of its pixels. In interlaced frames that
sample comes from every other row, so blocks are twice as high.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from av import VideoFrame
from av.video.format import VideoFormat

from privid.video.views import CHROMA, Box, View

_Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class _Target:
    """The black frame of one pixel format, with the window and the visible samples of each plane."""

    frame: VideoFrame
    windows: tuple[Box, ...]
    visible: tuple[npt.NDArray[np.uint8], ...]


class Blackener:
    """Shows of frames what one view shows, cropped to its box."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._targets: dict[tuple[str, bool], _Target | None] = {}

    def visible_part(self, frame: VideoFrame) -> VideoFrame | None:
        """The box of the view, black where it hides; valid until the next call.

        None if nothing can be shown: the frame is not of the view's size, or not in a planar format of 8 to 16 bits
        (that is all that cameras and encoders write) and so its samples cannot be told apart here.
        """
        if (frame.height, frame.width) != self._view.visible.shape:
            return None
        key = frame.format.name, frame.interlaced_frame
        if key not in self._targets:
            self._targets[key] = self._target(frame.format, interlaced=frame.interlaced_frame)
        target = self._targets[key]
        sources = _planes(frame) if target is not None else None
        if target is None or sources is None:
            return None
        target.frame.colorspace, target.frame.color_range = frame.colorspace, frame.color_range
        for source, window, visible, shown in zip(
            sources, target.windows, target.visible, _planes(target.frame) or (), strict=True
        ):
            # Writes through to the target's plane: hidden samples of it are black from the beginning, and stay so.
            cv2.copyTo(source[window.top : window.bottom, window.left : window.right], visible, shown)
        return target.frame

    def _target(self, pixel_format: VideoFormat, *, interlaced: bool) -> _Target | None:
        steps = _steps(pixel_format)
        if steps is None:
            return None
        across, down = max(x for x, _ in steps), max(y for _, y in steps)
        shown = _whole_blocks(self._view.visible, across, 2 * down if interlaced and down > 1 else down)
        box = self._view.box
        frame = VideoFrame(box.width, box.height, pixel_format.name)
        planes = _planes(frame)
        assert planes is not None
        windows, visible = [], []
        for number, ((x, y), plane) in enumerate(zip(steps, planes, strict=True)):
            left, top = box.left // x, box.top // y
            windows.append(Box(left, top, left + plane.shape[1], top + plane.shape[0]))
            visible.append(
                np.ascontiguousarray(shown[box.top : box.bottom : y, box.left : box.right : x]).astype(np.uint8)
            )
            # Colour is neutral in the middle of its range. The darkest sample there is, rather than the black of the
            # colour range, stays 0 through every conversion and filter.
            neutral = 1 << (pixel_format.components[0].bits - 1)
            plane[:] = neutral if number in (1, 2) and not pixel_format.is_rgb else 0
        return _Target(frame, tuple(windows), tuple(visible))


def _steps(pixel_format: VideoFormat) -> tuple[tuple[int, int], ...] | None:
    """How many pixels (across, down) a sample of each plane stands for; None for formats that are not supported."""
    components = pixel_format.components
    if (
        pixel_format.has_palette
        or pixel_format.is_bit_stream
        or pixel_format.is_big_endian
        or sorted(component.plane for component in components) != list(range(len(components)))
        or len({component.bits for component in components}) != 1
        or not 8 <= components[0].bits <= 16
    ):
        return None
    chroma = 16 // pixel_format.chroma_width(16), 16 // pixel_format.chroma_height(16)
    if max(chroma) > CHROMA:
        return None
    subsampled = not pixel_format.is_rgb and len(components) >= 3
    return tuple(chroma if subsampled and number in (1, 2) else (1, 1) for number in range(len(components)))


def _planes(frame: VideoFrame) -> tuple[_Plane, ...] | None:
    """The samples of each plane, (height, width), not copied; None if they are stored upside down."""
    kind: Any = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    if any(plane.line_size <= 0 for plane in frame.planes):
        return None
    return tuple(
        np.frombuffer(memoryview(plane), np.uint8).view(kind).reshape(plane.height, -1)[:, : plane.width]
        for plane in frame.planes
    )


def _whole_blocks(visible: npt.NDArray[np.bool_], across: int, down: int) -> npt.NDArray[np.bool_]:
    """Visible pixels of blocks all of whose pixels are visible; blocks at the right and bottom edge may be cut off."""
    height, width = visible.shape
    padded = np.pad(visible, ((0, -height % down), (0, -width % across)), constant_values=True)
    blocks = padded.reshape(padded.shape[0] // down, down, padded.shape[1] // across, across).all(axis=(1, 3))
    return blocks.repeat(down, axis=0).repeat(across, axis=1)[:height, :width]
