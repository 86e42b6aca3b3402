"""Videos of scenes."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from privid.domain.units import SECOND
from privid.testing.scenes.draw import Painter, Picture
from privid.testing.scenes.model import Scene


def frames(scene: Scene, fps: Fraction = Fraction(5)) -> Iterator[tuple[int, Picture]]:
    """Every frame with its time, (height, width, 3) BGR, from the scene's start to its end."""
    painter = Painter(scene)
    for number in range(int((scene.end_us - scene.start_us) * fps / SECOND)):
        time_us = scene.start_us + int(number * SECOND / fps)
        yield time_us, painter.frame(time_us)


def film(scene: Scene, path: Path, fps: Fraction = Fraction(5)) -> Path:
    """Encode a scene in H.264, a key frame every 5 s; an hour of it takes a minute or two. Raises OSError."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "26"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = scene.width, scene.height
        stream.pix_fmt = "yuv420p"
        stream.gop_size = max(1, round(5 * fps))
        for number, (_, picture) in enumerate(frames(scene, fps)):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = number, 1 / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
