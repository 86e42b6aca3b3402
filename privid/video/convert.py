"""From a decoded frame to the pixels that an executable gets."""

from collections import deque

import numpy as np
import numpy.typing as npt
from av import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter


class Converter:
    """Decoded frames to BGR, 8 bits a channel, at `width` x `height`.

    Colour conversion and scaling are one pass of libswscale, bilinear with a filter as wide as the reduction (so a
    smaller picture is an average, not a sample); at the native size no pixel is interpolated. A mask or a region must
    be applied to the decoded frame before this pass: at native resolution, before crop and resize
    (privacy-model.md, section 1).
    """

    def __init__(self, width: int, height: int) -> None:
        self._width = width
        self._height = height
        # One for all frames: a new one for each, as VideoFrame.reformat makes, sets up swscale again for each frame.
        self._reformatter = VideoReformatter()
        # Freeing the only large block at the top of the heap gives it back to the system, so every frame would fault
        # its pages in again: a third of the time of colour conversion. Two blocks in turn stay.
        self._recent: deque[VideoFrame] = deque(maxlen=2)

    def convert(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """The frame as an array (height, bytes a row), rows possibly padded; valid until the next but one call."""
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
        return np.frombuffer(memoryview(plane), np.uint8).reshape(self._height, plane.line_size)
