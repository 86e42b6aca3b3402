"""Average number of people in view of a chunk, by background subtraction. One row: `people`.

The method is one of the ready-made detectors, `workers.detectors.background`; write your own the same way, with
whatever NumPy and OpenCV can do (docs/how-to/write-a-detector.md).
"""

from workers.detectors.background import people_in_view


def process(chunk):
    """Called once for each chunk; `chunk.frames` has shape (n, height, width, 3), BGR."""
    yield {"people": people_in_view(chunk.frames)}
