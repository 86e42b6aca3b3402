"""What a detector and a tracker would have made of a scene, without pixels: things missed, tracks in pieces."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from privid.domain.units import SECOND
from privid.persistence.returns import BINS, PARTS, Appearance
from privid.persistence.tracks import Tracks
from privid.testing.scenes.model import Scene
from privid.testing.scenes.truth import true_tracks


@dataclass(frozen=True, slots=True)
class DetectorNoise:
    """How imperfect they are.

    `never` is the share of things that are not seen at all; `miss` the share of
    moments at which the others are missed, in runs of `run_s` seconds on average; a track breaks where a thing is
    missed for longer than `buffer_s`, and anyway `breaks` times an hour of presence; boxes are off by `jitter` of
    their size; `look` is how much of what a thing looks like is noise.
    """

    never: float = 0.1
    miss: float = 0.15
    run_s: float = 1.0
    buffer_s: float = 2.0
    breaks: float = 60.0
    jitter: float = 0.05
    look: float = 0.15


def observe(scene: Scene, noise: DetectorNoise, seed: int, sample_us: int = 200_000) -> tuple[Tracks, Appearance]:
    """Tracks of a scene as such a tracker would give them, and what each looks like."""
    random = np.random.default_rng([seed, scene.seed])
    true = true_tracks(scene, sample_us)
    track = np.full(len(true), -1, np.int32)
    looks: list[npt.NDArray[np.float64]] = []
    for _, rows in true.each():
        look = random.dirichlet(np.full(BINS, 0.15))
        seen = rows.start + np.flatnonzero(_seen(random, rows.stop - rows.start, noise, sample_us))
        if random.random() < noise.never or not len(seen):
            continue
        broken = np.diff(true.time_us[seen]) > noise.buffer_s * SECOND
        broken |= random.random(len(broken)) < noise.breaks * sample_us / (3600 * SECOND)
        for piece in np.split(seen, np.flatnonzero(broken) + 1):
            if len(piece) > 1:  # a tracker wants to see a thing twice
                track[piece] = len(looks)
                halves = (1 - noise.look) * look + noise.look * random.dirichlet(np.full(BINS, 0.5), 2)
                looks.append(np.repeat(halves, PARTS // 2, axis=0))
    size = np.stack([true.x1 - true.x0, true.y1 - true.y0] * 2, axis=1)
    shake: npt.NDArray[np.float64] = random.normal(0, noise.jitter, size.shape) * size
    x0, y0, x1, y1 = shake.astype(np.float32).T
    found = replace(true, track=track, x0=true.x0 + x0, y0=true.y0 + y0, x1=true.x1 + x1, y1=true.y1 + y1)
    return found.where(found.track >= 0), np.array(looks, np.float32).reshape(-1, PARTS, BINS)


def _seen(random: np.random.Generator, moments: int, noise: DetectorNoise, sample_us: int) -> npt.NDArray[np.bool_]:
    """Which of so many moments in a row are not missed."""
    run = max(1.0, noise.run_s * SECOND / sample_us)
    if not noise.miss:
        return np.ones(moments, np.bool_)
    # Runs of seen and missed moments take turns; their mean lengths have the share asked for.
    seen_run = run * (1 - noise.miss) / noise.miss
    turns = 2 * int(moments / (run + seen_run)) + 8
    lengths = np.empty(2 * turns, np.int64)
    lengths[0::2] = random.geometric(1 / max(1.0, seen_run), turns)
    lengths[1::2] = random.geometric(1 / run, turns)
    seen = np.repeat(np.arange(2 * turns) % 2 == 0, lengths)[:moments]
    return np.concatenate([seen, np.ones(moments - len(seen), np.bool_)])
