"""Every table of the system, once. Migrations must produce exactly this; a test compares the two.

Policies and everything from `mask_terms` on belong to the ledger: nothing else writes them.

Times are integer microseconds UTC, losses integer nano-epsilon (names end in `_us` and `_nano`). Documents are
canonical JSON text. No video, and nothing that an executable returned, is ever stored here.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy import UniqueConstraint as Unique

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# SQLite only makes plain INTEGER primary keys count by themselves.
_Id = BigInteger().with_variant(Integer, "sqlite")

cameras = Table(
    "cameras",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("timezone", String(64), nullable=False),
    Column("url", Text),
    Column("created_us", BigInteger, nullable=False),
)

samples = Table(
    "samples",
    metadata,
    Column("camera_id", ForeignKey("cameras.id"), primary_key=True, autoincrement=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("length_us", BigInteger, nullable=False),
    Column("published_us", BigInteger, nullable=False),
)

policies = Table(
    "policies",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("camera_id", ForeignKey("cameras.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("document", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Unique("camera_id", "version"),
)

segments = Table(
    "segments",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("camera_id", ForeignKey("cameras.id"), nullable=False),
    Column("path", Text, nullable=False, unique=True),  # relative to the store
    Column("begin_us", BigInteger, nullable=False),  # wall-clock time of the first frame
    Column("end_us", BigInteger, nullable=False),  # end of the last frame's display, exclusive
    Column("frame_count", Integer, nullable=False),
    Column("times", LargeBinary, nullable=False),  # compact index of frame times, see privid.video.frame_index
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("codec", String(32), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("end_reason", String(32), nullable=False),
    Column("offset_us", BigInteger),  # of a live recording's end: its time less the clock's, still to be slewed away
    # Of a sealed segment: its camera's data key (one of video_keys), and the id that stands in the file.
    Column("key_id", BigInteger),
    Column("file_id", LargeBinary),
    Index("ix_segments_camera_begin", "camera_id", "begin_us", unique=True),
)

video_keys = Table(
    "video_keys",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("camera_id", ForeignKey("cameras.id"), nullable=False),
    Column("master", String(16), nullable=False),  # id of the master key that opens it
    Column("wrapped", LargeBinary, nullable=False),  # see privid.video.keys
)

gaps = Table(
    "gaps",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("camera_id", ForeignKey("cameras.id"), nullable=False),
    Column("begin_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Column("reason", String(64), nullable=False),
    Index("ix_gaps_camera_begin", "camera_id", "begin_us"),
)

analysts = Table(
    "analysts",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("token_hash", String(64), nullable=False, unique=True),  # SHA-256 of a 256-bit random token
    Column("epsilon_limit_nano", BigInteger),  # most that one query may ask for; NULL: no limit of its own
    Column("created_us", BigInteger, nullable=False),
    Column("revoked_us", BigInteger),
)

grants = Table(
    "grants",
    metadata,
    Column("analyst_id", ForeignKey("analysts.id"), primary_key=True),
    Column("camera_id", ForeignKey("cameras.id"), primary_key=True),
)

owners = Table(
    "owners",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("created_us", BigInteger, nullable=False),
)

executables = Table(
    "executables",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("analyst_id", ForeignKey("analysts.id"), nullable=False),
    Column("name", String(128), nullable=False),
    Column("version", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("manifest", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Unique("analyst_id", "name", "version"),
)

mask_terms = Table(
    "mask_terms",
    metadata,
    # Every mask that a camera ever had, with the terms of the last policy version that names it (`none` is implied).
    Column("camera_id", ForeignKey("cameras.id"), primary_key=True),
    Column("mask", String(64), primary_key=True),
    Column("rho_us", BigInteger, nullable=False),
    Column("segments", Integer, nullable=False),
)

IS_UNFINISHED = text("state IN ('reserved', 'running')")
"""Of reservations: there is work to do. Queries must use these very words, or SQLite does not see the index."""
IS_LIVE = text("state IN ('reserved', 'running', 'released')")
"""Of reservations: whoever asks the same question gets this one's answer."""

reservations = Table(
    "reservations",
    metadata,
    # One piece of work and its charges. Several queries that are the same question share one.
    Column("id", String(32), primary_key=True),  # that of the query it was made for
    Column("cache_key", String(64), nullable=False),
    Column("plan", Text, nullable=False),  # what is needed to run it again: bindings, policy versions, hashes
    Column("certificate", Text, nullable=False),  # the explain document as it was admitted
    Column("state", String(16), nullable=False),
    Column("reserved_us", BigInteger, nullable=False),
    Column("visible_us", BigInteger, nullable=False),  # public: no answer is shown before
    Column("finished_us", BigInteger),  # when it left the states reserved and running; not public
    CheckConstraint("state IN ('reserved', 'running', 'released', 'cancelled', 'failed')", name="state"),
    Index(
        "uq_reservations_shared",
        "cache_key",
        unique=True,
        sqlite_where=IS_LIVE,
        postgresql_where=IS_LIVE,
    ),
    Index(
        "ix_reservations_unfinished",
        "reserved_us",
        sqlite_where=IS_UNFINISHED,
        postgresql_where=IS_UNFINISHED,
    ),
)

queries = Table(
    "queries",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("analyst_id", ForeignKey("analysts.id"), nullable=False),
    Column("request_id", String(64), nullable=False),  # chosen by the client: makes submission idempotent
    Column("text", Text, nullable=False),
    Column("default_epsilon_nano", BigInteger, nullable=False),
    Column("reservation_id", ForeignKey("reservations.id"), nullable=False),
    Column("submitted_us", BigInteger, nullable=False),
    Column("cancelled_us", BigInteger),  # by its analyst; the work goes on if another query shares it
    Unique("analyst_id", "request_id"),
    Index("ix_queries_reservation", "reservation_id"),
    Index("ix_queries_submitted", "submitted_us"),
)

standing = Table(
    "standing",
    metadata,
    # Work that waits, or has waited, until its video is complete.
    Column("reservation_id", ForeignKey("reservations.id"), primary_key=True),
    Column("ready_us", BigInteger, nullable=False),  # public: it runs on what is stored by then
    Column("cancelled_because", Text),  # what its analysts are told, where a change of policy cancelled it
)

series = Table(
    "series",
    metadata,
    # A query with EVERY. Each of its windows is a query of its own, with a reservation of its own.
    Column("id", String(32), primary_key=True),
    Column("analyst_id", ForeignKey("analysts.id"), nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("text", Text, nullable=False),
    Column("default_epsilon_nano", BigInteger, nullable=False),
    Column("horizon_us", BigInteger),  # of the request, for END NEVER without HORIZON
    Column("every_us", BigInteger, nullable=False),
    Column("certificate", Text, nullable=False),  # the explain document of all windows, as they were admitted
    Column("submitted_us", BigInteger, nullable=False),
    Unique("analyst_id", "request_id"),
    Index("ix_series_submitted", "submitted_us"),
)

windows = Table(
    "windows",
    metadata,
    Column("query_id", ForeignKey("queries.id"), primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=False),
    Column("position", Integer, nullable=False),  # from 0
    Column("begin_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Unique("series_id", "position"),
)

charges = Table(
    "charges",
    metadata,
    # One release through one source, as certified (q, cap, grid) and as counted in `loss_steps`: with segments of
    # `segment_us`, `weight` = K * k_m, and the cap unless a longer segment has made it void.
    Column("id", _Id, primary_key=True),
    Column("reservation_id", ForeignKey("reservations.id"), nullable=False),
    Column("camera_id", ForeignKey("cameras.id"), nullable=False),
    Column("policy_version", Integer, nullable=False),
    Column("mask", String(64), nullable=False),
    Column("q_nano", BigInteger, nullable=False),
    Column("cap_nano", BigInteger),
    Column("begin_us", BigInteger, nullable=False),
    Column("chunk_us", BigInteger, nullable=False),
    Column("period_us", BigInteger, nullable=False),
    Column("chunks", BigInteger, nullable=False),
    Column("slots_per_chunk", Integer, nullable=False),
    Column("segment_us", BigInteger, nullable=False),
    Column("weight", BigInteger, nullable=False),
    Column("cap_holds", Boolean, nullable=False),
    Column("refunded_us", BigInteger),
    Index("ix_charges_reservation", "reservation_id"),
    Index("ix_charges_camera", "camera_id"),
)

loss_steps = Table(
    "loss_steps",
    metadata,
    # The sum of weight * lam of all charges of one camera and mask that are not refunded, as steps [from_us, to_us) of
    # equal loss; no zero steps, and touching ones differ.
    Column("camera_id", ForeignKey("cameras.id"), primary_key=True),
    Column("mask", String(64), primary_key=True),
    Column("from_us", BigInteger, primary_key=True),
    Column("to_us", BigInteger, nullable=False),
    Column("loss_nano", BigInteger, nullable=False),
    CheckConstraint("from_us < to_us AND loss_nano > 0", name="step"),
    sqlite_with_rowid=False,
)

releases = Table(
    "releases",
    metadata,
    Column("reservation_id", ForeignKey("reservations.id"), primary_key=True),
    Column("document", Text, nullable=False),
    Column("released_us", BigInteger, nullable=False),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("seq", _Id, primary_key=True, autoincrement=False),  # from 1, no numbers left out
    Column("at_us", BigInteger, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("event", String(64), nullable=False),
    Column("document", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

audit_head = Table(
    "audit_head",
    metadata,
    # One row: how many entries there are, and the hash of the last. What makes a cut-off end visible.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("entries", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    CheckConstraint("id = 1", name="single"),
)
