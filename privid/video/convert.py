"""From a decoded frame to the pixels that an executable gets."""

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt
from av import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from privid.video.blacken import Blackener
from privid.video.views import View
from workers.guest.chunk import Colour

BLACK: Mapping[Colour, tuple[int, int, int]] = MappingProxyType(
    {"bgr": (0, 0, 0), "rgb": (0, 0, 0), "yuv": (0, 128, 128)}
)
"""The pixel where nothing is shown: no brightness and, in YUV, neither difference of colour."""

_FORMATS: Mapping[Colour, str] = MappingProxyType({"bgr": "bgr24", "rgb": "rgb24", "yuv": "yuv444p"})


class Converter:
    """Decoded frames to `colour`, three bytes a pixel, at `width` x `height`.

    Colour conversion and scaling are one pass of libswscale, bilinear with a filter as wide as the reduction (so a
    smaller picture is an average, not a sample); at the native size no pixel is interpolated, except that YUV has its
    colour between the places where it was recorded. What a view hides is black, and what lies outside its box gone,
    before this pass (privacy-model.md, section 1).

    YUV is 4:4:4 of full range, 0 to 255, so that black is black whatever the camera's range; its matrix is the one
    that the video was recorded with, since another would be two conversions.
    """

    def __init__(self, width: int, height: int, view: View | None = None, colour: Colour = "bgr") -> None:
        self._width = width
        self._height = height
        self._format = _FORMATS[colour]
        self._range = ColorRange.JPEG if colour == "yuv" else None
        self._packed = np.empty((height, width, 3), np.uint8) if colour == "yuv" else None
        self._blackener = None if view is None else Blackener(view)
        # Only where no pixel is a mixture of several.
        is_native = view is not None and (view.box.width, view.box.height) == (width, height)
        self._keep = _keep(view) if view is not None and is_native else None
        self._black: npt.NDArray[np.uint8] | None = None
        if self._keep is not None and any(BLACK[colour]):
            self._black = np.tile(np.array(BLACK[colour], np.uint8), width) & ~self._keep
        # One for all frames: a new one for each, as VideoFrame.reformat makes, sets up swscale again for each frame.
        self._reformatter = VideoReformatter()
        # Freeing the only large block at the top of the heap gives it back to the system, so every frame would fault
        # its pages in again: a third of the time of colour conversion. Two blocks in turn stay.
        self._recent: deque[VideoFrame] = deque(maxlen=2)

    def convert(self, frame: VideoFrame) -> npt.NDArray[np.uint8] | None:
        """The frame as an array (height, bytes a row), rows possibly padded; valid until the next call.

        None for a frame of which the view shows nothing.
        """
        if self._blackener is not None:
            shown = self._blackener.visible_part(frame)
            if shown is None:
                return None
            frame = shown
        # Threads of the scaler cost more than they bring at one frame, and the decoder's lane has one core.
        picture = self._reformatter.reformat(
            frame,
            width=self._width,
            height=self._height,
            format=self._format,
            interpolation=Interpolation.BILINEAR,
            dst_color_range=self._range,
            threads=1,
        )
        self._recent.append(picture)
        planes = [
            np.frombuffer(memoryview(plane), np.uint8).reshape(self._height, plane.line_size)
            for plane in picture.planes
        ]
        if self._packed is None:
            rows = planes[0]
        else:
            cv2.merge([plane[:, : self._width] for plane in planes], self._packed)
            rows = self._packed.reshape(self._height, -1)
        if self._keep is not None:
            # Depending on size and format swscale draws colour from visible neighbours into hidden pixels.
            pixels = rows[:, : self._width * 3]
            np.bitwise_and(pixels, self._keep, out=pixels)
            if self._black is not None:
                np.bitwise_or(pixels, self._black, out=pixels)
        return rows


def _keep(view: View) -> npt.NDArray[np.uint8]:
    """For each byte of the view's box: 255 if its pixel is visible, else 0."""
    box = view.box
    visible = view.visible[box.top : box.bottom, box.left : box.right]
    return np.repeat(visible, 3, axis=1) * np.uint8(255)
