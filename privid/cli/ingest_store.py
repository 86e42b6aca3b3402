"""What the commands of `privid-ingest` share: the store, its errors, and sizes in words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from privid.cli.terminal import FailureError, InputError
from privid.database.connect import open_database
from privid.database.errors import DatabaseError
from privid.domain.home import Home
from privid.ingest.errors import BadRecording, BadVideoFile
from privid.video.catalog import Catalog
from privid.video.errors import BadStoreSetting, StoreFailure, VideoError
from privid.video.store import SegmentStore
from privid.video.store_settings import open_store as open_configured


@contextmanager
def store_errors() -> Iterator[None]:
    """Say what can go wrong in the words of the command line: whatever happens, nothing has been changed."""
    try:
        yield
    except BadRecording as error:
        raise InputError("configuration", str(error), "see docs/how-to/record-cameras.md") from None
    except BadStoreSetting as error:
        raise InputError("configuration", str(error), "see docs/how-to/store-video.md") from None
    except (BadVideoFile, VideoError) as error:
        raise InputError("video", str(error), "see privid-ingest import --help") from None
    except (DatabaseError, StoreFailure) as error:
        raise FailureError("store", str(error), "nothing has been changed") from None
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        raise FailureError("database", f"the database failed: {reason}", "nothing has been changed") from None
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise FailureError("store", f"{error.strerror or error}{where}", "nothing has been changed") from None


@contextmanager
def open_store() -> Iterator[tuple[Catalog, SegmentStore]]:
    """The catalog and the store of the environment."""
    home = Home.from_environment().create()
    engine = open_database(os.environ.get("PRIVID_DATABASE_URL") or home.database)
    try:
        yield Catalog(engine), open_configured(home, engine)
    finally:
        engine.dispose()


def size_text(size_bytes: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.4g} TB"
