"""Paths of things through one chunk: boxes of successive frames joined by a tracker of the package `trackers`.

A tracker starts fresh in every chunk, and a track is not a person: somebody who is hidden for a moment may come back as
another track, so counts of tracks are too high where people stand in front of each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from workers.detectors.boxes import Boxes
from workers.guest.chunk import Chunk
from workers.guest.sdk import seconds

Kind = Literal["bytetrack", "sort", "ocsort"]
_BUFFER_RATE = 30
"""The package counts how long a lost track is remembered in 30ths of a second, whatever the frame rate."""


@dataclass(frozen=True, slots=True)
class Path:
    """One thing's way through the chunk.

    `seconds`: float64 (n,), rising, from the chunk's start; `xyxy`: float32 (n, 4), its boxes then; `kind`: the class
    that most of them have.
    """

    seconds: NDArray[np.float64]
    xyxy: NDArray[np.float32]
    kind: int

    @property
    def feet(self) -> NDArray[np.float64]:
        """Where it stands: the middle of each box's lower edge; float64 (n, 2)."""
        left, _, right, bottom = self.xyxy.astype(np.float64).T
        return np.stack([(left + right) / 2, bottom], axis=1)

    @property
    def duration(self) -> float:
        """Seconds from its first to its last box."""
        return float(self.seconds[-1] - self.seconds[0])


def _tracker(kind: Kind, fps: float, lost_seconds: float, sure: float) -> Any:
    from trackers import ByteTrackTracker, OCSORTTracker, SORTTracker

    common: Any = {"lost_track_buffer": round(lost_seconds * _BUFFER_RATE), "frame_rate": fps}
    if kind == "bytetrack":
        return ByteTrackTracker(track_activation_threshold=sure, high_conf_det_threshold=sure, **common)
    if kind == "ocsort":
        return OCSORTTracker(high_conf_det_threshold=sure, **common)
    return SORTTracker(track_activation_threshold=sure, **common)


def paths(
    chunk: Chunk,
    found: Sequence[Boxes],
    *,
    kind: Kind = "bytetrack",
    lost_seconds: float = 1.0,
    sure: float = 0.5,
) -> list[Path]:
    """The paths of things whose boxes were `found`, one `Boxes` for each frame of the chunk.

    `sure`: the score that begins a path; ByteTrack and OC-SORT hold on to paths with boxes below it as well, so give
    them those. `lost_seconds`: how long something may be hidden. Real times decide, not the number of frames.
    """
    from supervision import Detections

    tracker = _tracker(kind, chunk.fps, lost_seconds, sure)
    taken: dict[int, list[tuple[float, NDArray[np.float32], int]]] = {}
    for moment, here in zip(seconds(chunk), found, strict=True):
        given = Detections(here.xyxy, confidence=here.scores, class_id=here.classes)
        tracked = tracker.update(given, timestamp=float(moment))
        for number, box, thing in zip(tracked.tracker_id, tracked.xyxy, tracked.class_id, strict=True):
            if number >= 0:  # others are not yet seen twice, or nobody's
                taken.setdefault(int(number), []).append((float(moment), box, int(thing)))
    return [_path(steps) for steps in taken.values()]


def _path(steps: list[tuple[float, NDArray[np.float32], int]]) -> Path:
    moments, xyxy, things = zip(*steps, strict=True)
    return Path(np.array(moments), np.stack(xyxy), int(np.bincount(things).argmax()))
