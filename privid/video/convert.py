"""From a decoded frame to the pixels that an executable gets."""

from collections import deque

import numpy as np
import numpy.typing as npt
from av import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from privid.video.blacken import Blackener
from privid.video.views import View


class Converter:
    """Decoded frames to BGR, 8 bits a channel, at `width` x `height`.

    Colour conversion and scaling are one pass of libswscale, bilinear with a filter as wide as the reduction (so a
    smaller picture is an average, not a sample); at the native size no pixel is interpolated. What a view hides is
    black, and what lies outside its box gone, before this pass (privacy-model.md, section 1).
    """

    def __init__(self, width: int, height: int, view: View | None = None) -> None:
        self._width = width
        self._height = height
        self._blackener = None if view is None else Blackener(view)
        # Only where no pixel is a mixture of several.
        self._keep = _keep(view) if view and (view.box.width, view.box.height) == (width, height) else None
        # One for all frames: a new one for each, as VideoFrame.reformat makes, sets up swscale again for each frame.
        self._reformatter = VideoReformatter()
        # Freeing the only large block at the top of the heap gives it back to the system, so every frame would fault
        # its pages in again: a third of the time of colour conversion. Two blocks in turn stay.
        self._recent: deque[VideoFrame] = deque(maxlen=2)

    def convert(self, frame: VideoFrame) -> npt.NDArray[np.uint8] | None:
        """The frame as an array (height, bytes a row), rows possibly padded; valid until the next but one call.

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
            format="bgr24",
            interpolation=Interpolation.BILINEAR,
            threads=1,
        )
        self._recent.append(picture)
        plane = picture.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(self._height, plane.line_size)
        if self._keep is not None:
            # Depending on size and format swscale draws colour from visible neighbours into hidden pixels.
            pixels = rows[:, : self._width * 3]
            np.bitwise_and(pixels, self._keep, out=pixels)
        return rows


def _keep(view: View) -> npt.NDArray[np.uint8]:
    """For each byte of the view's box, in BGR: 255 if its pixel is visible, else 0."""
    box = view.box
    visible = view.visible[box.top : box.bottom, box.left : box.right]
    return np.repeat(visible, 3, axis=1) * np.uint8(255)
