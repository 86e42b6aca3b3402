"""Which frames of a chunk an executable gets (`AT n FPS`): a function of public timestamps only.

privacy-model.md, section 1: frames are chosen by timestamp, so the choice never depends on a pixel.
"""

from fractions import Fraction

import numpy as np
import numpy.typing as npt

SECOND_US = 1_000_000


def choose(times_us: npt.NDArray[np.int64], begin_us: int, fps: Fraction | None) -> npt.NDArray[np.int64]:
    """Positions in `times_us` (ascending, all at or after `begin_us`) of the frames of a chunk that starts there.

    With `fps` n, ticks lie at begin_us + j/n seconds, j = 0, 1, ...; each takes the first frame at or after it, and
    a frame that is first for several ticks is taken once. Without `fps` every frame is taken.
    Raises ValueError for a rate that is not positive.
    """
    if fps is None:
        return np.arange(len(times_us), dtype=np.int64)
    if fps <= 0:
        raise ValueError("a frame rate must be more than 0")
    # The number of the last tick at or before each frame: a frame is first for some tick iff that number has grown.
    ticks = [(time - begin_us) * fps.numerator // (fps.denominator * SECOND_US) for time in times_us.tolist()]
    return np.array([i for i, tick in enumerate(ticks) if i == 0 or tick > ticks[i - 1]], dtype=np.int64)
