"""Random chunks of one camera whose encoder was changed again and again, against a full decode of all it delivered.

Short and long groups of pictures, frames that wait for later ones, H.264, H.265 and motion JPEG, a variable frame rate,
and two other resolutions: the same pixels and the same times, wherever a chunk begins and ends.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation

from privid.database.connect import open_database
from privid.domain.units import SECOND
from privid.ingest import segments as ingest_segments
from privid.ingest.importer import import_file
from privid.testing.video import write_clip
from privid.video.catalog import Catalog
from privid.video.chunking import Chunk
from privid.video.frames import read_chunks
from privid.video.store import SegmentStore
from tests.integration.test_video_read_chunks import take

START = 1_800_000_000 * SECOND
WIDTH, HEIGHT = 160, 96
FRAMES = 80
SEED = 20261122
IRREGULAR_MS = np.cumsum(np.random.default_rng(SEED).integers(3, 300, FRAMES)).tolist()


@dataclass(frozen=True)
class Encoding:
    name: str
    options: dict[str, Any]
    sizes: tuple[tuple[int, int], ...] = field(default=((WIDTH, HEIGHT),))


ENCODINGS = (
    Encoding("short.mp4", {"gop": 10}),
    Encoding("long.mp4", {"gop": 250, "b_frames": 3}),
    Encoding("h265.mp4", {"codec": "libx265", "b_frames": 3, "options": {"x265-params": "log-level=none"}}),
    Encoding("pictures.mkv", {"codec": "mjpeg", "fps": Fraction(12)}),
    Encoding("irregular.mkv", {"b_frames": 2, "times_ms": IRREGULAR_MS}),
    Encoding("sizes.mp4", {"gop": 25, "fps": Fraction(30000, 1001)}, ((320, 192), (128, 96), (WIDTH, HEIGHT))),
)


def full_decode(path):
    """Pixels of every frame, in the camera's size, and its time in microseconds since the first."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        times = [round((frame.pts - frames[0].pts) * stream.time_base * SECOND) for frame in frames]
        scaling = {"width": WIDTH, "height": HEIGHT, "format": "bgr24", "interpolation": Interpolation.BILINEAR}
        return np.stack([frame.reformat(**scaling).to_ndarray() for frame in frames]), np.array(times)


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """The camera's catalog and store, and the pixels and times of all its frames."""
    folder = tmp_path_factory.mktemp("camera")
    catalog, store = Catalog(open_database(folder / "privid.sqlite3")), SegmentStore(folder / "video")
    catalog.add_camera("plaza", created_us=1)
    pixels, times, at, number = [], [], START, 0
    with pytest.MonkeyPatch.context() as patch:
        # Short segments, so that chunks cross from one to the next.
        patch.setattr(ingest_segments, "SEGMENT_US", 2 * SECOND)
        for encoding in ENCODINGS:
            for size in encoding.sizes:
                options = {"frames": FRAMES, "size": size, "first_number": number, **encoding.options}
                clip = write_clip(folder / f"{size[0]}-{encoding.name}", **options)
                number += FRAMES
                shown, moments = full_decode(clip)
                imported = import_file(catalog, store, clip, "plaza", at)
                assert imported.frames == FRAMES
                pixels.append(shown)
                times.append(moments + at)
                at = imported.end_us
    assert len({segment.codec for segment in catalog.segments("plaza", START, at)}) == 3
    assert len({segment.width for segment in catalog.segments("plaza", START, at)}) == 3
    return catalog, store, np.concatenate(pixels), np.concatenate(times), at


def compare(camera, count):
    catalog, store, pixels, times, end = camera
    draw = np.random.default_rng(SEED)
    begins = draw.integers(START - SECOND, end + SECOND, count)
    lengths = draw.integers(SECOND // 20, 6 * SECOND, count)
    windows = [Chunk(i, int(b), int(b + n)) for i, (b, n) in enumerate(zip(begins, lengths, strict=True))]
    compared = 0
    for window, chunk in zip(windows, read_chunks(catalog, store, "plaza", windows), strict=True):
        inside = (times >= window.begin_us) & (times < window.end_us)
        assert (chunk.index, chunk.begin_us, chunk.end_us) == (window.index, window.begin_us, window.end_us)
        assert chunk.times_us == tuple(times[inside].tolist()), window
        assert np.array_equal(take(chunk), pixels[inside]), window
        compared += int(inside.sum())
    assert compared > 10 * count


def test_sixty_random_chunks(camera):
    compare(camera, 60)


@pytest.mark.slow
def test_five_hundred_random_chunks(camera):
    compare(camera, 500)
