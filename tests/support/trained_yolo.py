"""Weights of an ultralytics model that really detect: a YOLO trained on made-up scenes, on one core.

No package brings such weights, and tests may not fetch any. A program of its own, because ultralytics keeps settings
and threads for a whole process: `python -m tests.support.trained_yolo FOLDER` writes FOLDER/weights.pt, a state dict
of yolo11n with the one class person. About four minutes of processor time.
"""

import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from privid.testing.scenes import Scene, campus, frames, true_tracks

WEIGHTS = "weights.pt"
RATE = Fraction(1, 2)
"""Frames of the scenes a second: neighbours differ."""
SCALE = 0.5
"""People are half as large in what the network sees: it looks at the pictures of 640 by 360 at a size of 320."""
SIZE = 160
"""Of the pieces of pictures that it learns from. It runs at any size."""
PIECES, EPOCHS, BATCH, LEARNING_RATE = 240, 25, 16, 0.003
LEAST_SHOWN = 0.3
"""Of a person's box, or it is no example of one."""

Picture = NDArray[np.uint8]
Corners = NDArray[np.float32]


def plaza(seed: int) -> Scene:
    """Six minutes of a square with about nine people in view."""
    return campus(seed, hours=0.1, an_hour=1500)


def pictures(scene: Scene) -> Iterator[tuple[Picture, Corners]]:
    """Frames with several people, and the boxes (n, 4) of all who can be seen."""
    truth = true_tracks(scene, round(1_000_000 / RATE))
    corners = np.stack([truth.x0, truth.y0, truth.x1, truth.y1], axis=1)
    for time_us, picture in frames(scene, RATE):
        here = corners[truth.time_us == time_us]
        if len(here) > 3:
            yield picture, here


def _area(boxes: Corners) -> NDArray[np.float32]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _pieces(random: np.random.Generator) -> Iterator[tuple[Picture, Corners]]:
    """Square pieces of reduced pictures from where people walk, none of the scenes that tests look at."""
    for picture, corners in chain.from_iterable(pictures(plaza(seed)) for seed in range(10, 20)):
        reduced = np.asarray(cv2.resize(picture, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA), np.uint8)
        height, width = reduced.shape[:2]
        left = int(random.integers(0, width - SIZE + 1))
        top = int(random.integers((height - SIZE) // 2, height - SIZE + 1))
        whole = corners * SCALE - np.array([left, top, left, top], np.float32)
        cut = np.clip(whole, 0, SIZE)
        yield reduced[top : top + SIZE, left : left + SIZE], cut[_area(cut) > LEAST_SHOWN * _area(whole)]


def _write_data_set(folder: Path) -> Path:
    """Pictures and labels as ultralytics reads them; where its description is."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for index, (piece, boxes) in enumerate(islice(_pieces(np.random.default_rng(0)), PIECES)):
        cv2.imwrite(str(folder / "images" / f"{index}.png"), piece)
        rows = np.hstack([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]]) / SIZE
        lines = (f"0 {' '.join(f'{value:.6f}' for value in row)}\n" for row in rows)
        (folder / "labels" / f"{index}.txt").write_text("".join(lines))
    document = folder / "data.yaml"
    document.write_text(f"path: {folder}\ntrain: images\nval: images\nnames: [person]\n")
    return document


def train(folder: Path) -> None:
    """Train and write the weights. What the packages write stays in the folder, and none looks for a network."""
    os.environ |= {"YOLO_CONFIG_DIR": str(folder), "MPLCONFIGDIR": str(folder), "YOLO_OFFLINE": "true"}
    import torch
    import ultralytics
    from ultralytics.utils import torch_utils

    torch_utils.NUM_THREADS = 1
    model: Any = ultralytics.YOLO("yolo11n.yaml", verbose=False)
    # Weights change after each batch (nbs): by default it gathers the gradients of 64 pictures first.
    model.train(
        data=str(_write_data_set(folder / "data")), imgsz=SIZE, epochs=EPOCHS, batch=BATCH, nbs=BATCH, device="cpu",
        workers=0, project=str(folder), name="run", plots=False, val=False, verbose=False, optimizer="AdamW",
        lr0=LEARNING_RATE, cos_lr=True, warmup_epochs=1, mosaic=0.0, scale=0.2, cache="ram", seed=0,
    )  # fmt: skip
    last: Any = ultralytics.YOLO(str(folder / "run" / "weights" / "last.pt"))
    torch.save(last.model.float().state_dict(), folder / WEIGHTS)


if __name__ == "__main__":
    train(Path(sys.argv[1]).resolve())
