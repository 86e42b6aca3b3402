"""The data directory: where everything of one installation lives (`PRIVID_HOME`)."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """Paths under one data directory. Nothing is created by asking for a path."""

    root: Path

    @classmethod
    def from_environment(cls) -> "Home":
        """`PRIVID_HOME`, or `~/.privid`."""
        return cls(Path(os.environ.get("PRIVID_HOME") or Path.home() / ".privid").expanduser().absolute())

    @property
    def database(self) -> Path:
        """The SQLite database of the embedded installation."""
        return self.root / "privid.sqlite3"

    @property
    def video(self) -> Path:
        """The local video store."""
        return self.root / "video"

    @property
    def executables(self) -> Path:
        """Uploaded executables, one file named by its SHA-256 each."""
        return self.root / "executables"

    @property
    def pictures(self) -> Path:
        """Bitmaps of masks and regions, one file named by its SHA-256 each."""
        return self.root / "pictures"

    @property
    def samples(self) -> Path:
        """Clips that owners show to analysts, one file named by its SHA-256 each."""
        return self.root / "samples"

    @property
    def spool(self) -> Path:
        """Rows of slots that have run, for queries that have not been released yet; one folder a query."""
        return self.root / "spool"

    @property
    def ledger_head(self) -> Path:
        """How far the ledger has come: what a database that is restored from a copy is compared with."""
        return self.root / "ledger.head"

    @property
    def owner_token(self) -> Path:
        """The first owner's token, written at the server's first start."""
        return self.root / "owner.token"

    def create(self) -> "Home":
        """Make the directory and its folders, readable by their user alone. Existing ones are left as they are."""
        for folder in (self.root, self.video, self.executables, self.pictures, self.samples, self.spool):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self
