"""Where studies are kept, under PRIVID_HOME: what was detected in each block, and what follows from all of them."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from privid.domain.files import write_whole
from privid.persistence.detect import Detections

_COLUMNS = ("frames_us", "time_us", "xyxy", "confidence", "looks")


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The files of one camera's studies. They tell who was where: readable by their owner alone."""

    root: Path

    @classmethod
    def of(cls, home: Path, camera: str) -> "StudyFolder":
        """That of a camera under a data directory; made if need be. Raises OSError."""
        found = cls(home / "persistence" / camera)
        found.blocks.mkdir(mode=0o700, parents=True, exist_ok=True)
        return found

    @property
    def blocks(self) -> Path:
        """Detections of each block that is done, named by all that they depend on."""
        return self.root / "blocks"

    @property
    def tracks(self) -> Path:
        """The presences of the last study, each one track."""
        return self.root / "tracks.npz"

    @property
    def estimate(self) -> Path:
        """What the last study found, as JSON."""
        return self.root / "estimate.json"


def save_detections(found: Detections, path: Path) -> None:
    """Keep what was found in a block. Raises OSError."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **{name: getattr(found, name) for name in _COLUMNS})
    write_whole(path, content.getvalue())


def load_detections(path: Path) -> Detections | None:
    """What was found in a block; None if it is not there, or damaged: then it is found again. Raises OSError."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return Detections(*(content[name] for name in _COLUMNS))
    except (FileNotFoundError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None
