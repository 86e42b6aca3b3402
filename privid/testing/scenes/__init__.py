"""Scenes that are made up, so that all is known about them: who was in view, when, where, and how often.

`presets` makes three cameras, `truth` says what is true of a scene, `film` makes a video of it, and `noise` what an
imperfect detector and tracker would have made of it, without any pixels.
"""

from privid.testing.scenes.film import film, frames
from privid.testing.scenes.model import Rectangle, Scene, Thing, Visit
from privid.testing.scenes.noise import DetectorNoise, observe
from privid.testing.scenes.presets import campus, highway, returning, urban
from privid.testing.scenes.truth import Truth, ground_truth, load_truth, save_truth, true_tracks

__all__ = [
    "DetectorNoise",
    "Rectangle",
    "Scene",
    "Thing",
    "Truth",
    "Visit",
    "campus",
    "film",
    "frames",
    "ground_truth",
    "highway",
    "load_truth",
    "observe",
    "returning",
    "save_truth",
    "true_tracks",
    "urban",
]
