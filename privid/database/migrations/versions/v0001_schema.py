"""The schema of the first version."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_UNFINISHED = sa.text("state IN ('reserved', 'running')")
_SHARED = sa.text("state IN ('reserved', 'running', 'released')")


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "analysts",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("epsilon_limit_nano", sa.BigInteger(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("revoked_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_analysts")),
        sa.UniqueConstraint("name", name=op.f("uq_analysts_name")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_analysts_token_hash")),
    )
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_head_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "audit_log",
        sa.Column("seq", _ID, autoincrement=False, nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("event", sa.String(length=64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_log")),
    )
    op.create_table(
        "cameras",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cameras")),
        sa.UniqueConstraint("name", name=op.f("uq_cameras_name")),
    )
    op.create_table(
        "owners",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_owners")),
        sa.UniqueConstraint("name", name=op.f("uq_owners_name")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_owners_token_hash")),
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("cache_key", sa.String(length=64), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reserved_us", sa.BigInteger(), nullable=False),
        sa.Column("visible_us", sa.BigInteger(), nullable=False),
        sa.Column("finished_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('reserved', 'running', 'released', 'cancelled', 'failed')", name=op.f("ck_reservations_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservations")),
    )
    op.create_index(
        "ix_reservations_unfinished",
        "reservations",
        ["reserved_us"],
        unique=False,
        sqlite_where=_UNFINISHED,
        postgresql_where=_UNFINISHED,
    )
    op.create_index(
        "uq_reservations_shared",
        "reservations",
        ["cache_key"],
        unique=True,
        sqlite_where=_SHARED,
        postgresql_where=_SHARED,
    )
    op.create_table(
        "charges",
        sa.Column("id", _ID, nullable=False),
        sa.Column("reservation_id", sa.String(length=32), nullable=False),
        sa.Column("camera_id", _ID, nullable=False),
        sa.Column("policy_version", sa.Integer(), nullable=False),
        sa.Column("mask", sa.String(length=64), nullable=False),
        sa.Column("q_nano", sa.BigInteger(), nullable=False),
        sa.Column("cap_nano", sa.BigInteger(), nullable=True),
        sa.Column("begin_us", sa.BigInteger(), nullable=False),
        sa.Column("chunk_us", sa.BigInteger(), nullable=False),
        sa.Column("period_us", sa.BigInteger(), nullable=False),
        sa.Column("chunks", sa.BigInteger(), nullable=False),
        sa.Column("slots_per_chunk", sa.Integer(), nullable=False),
        sa.Column("segment_us", sa.BigInteger(), nullable=False),
        sa.Column("weight", sa.BigInteger(), nullable=False),
        sa.Column("cap_holds", sa.Boolean(), nullable=False),
        sa.Column("refunded_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_charges_camera_id_cameras")),
        sa.ForeignKeyConstraint(
            ["reservation_id"], ["reservations.id"], name=op.f("fk_charges_reservation_id_reservations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_charges")),
    )
    op.create_index("ix_charges_camera", "charges", ["camera_id"], unique=False)
    op.create_index("ix_charges_reservation", "charges", ["reservation_id"], unique=False)
    op.create_table(
        "executables",
        sa.Column("id", _ID, nullable=False),
        sa.Column("analyst_id", _ID, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["analyst_id"], ["analysts.id"], name=op.f("fk_executables_analyst_id_analysts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_executables")),
        sa.UniqueConstraint("analyst_id", "name", "version", name=op.f("uq_executables_analyst_id_name_version")),
    )
    op.create_table(
        "gaps",
        sa.Column("id", _ID, nullable=False),
        sa.Column("camera_id", _ID, nullable=False),
        sa.Column("begin_us", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_gaps_camera_id_cameras")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gaps")),
    )
    op.create_index("ix_gaps_camera_begin", "gaps", ["camera_id", "begin_us"], unique=False)
    op.create_table(
        "grants",
        sa.Column("analyst_id", _ID, nullable=False),
        sa.Column("camera_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(["analyst_id"], ["analysts.id"], name=op.f("fk_grants_analyst_id_analysts")),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_grants_camera_id_cameras")),
        sa.PrimaryKeyConstraint("analyst_id", "camera_id", name=op.f("pk_grants")),
    )
    op.create_table(
        "loss_steps",
        sa.Column("camera_id", _ID, nullable=False),
        sa.Column("mask", sa.String(length=64), nullable=False),
        sa.Column("from_us", sa.BigInteger(), nullable=False),
        sa.Column("to_us", sa.BigInteger(), nullable=False),
        sa.Column("loss_nano", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("from_us < to_us AND loss_nano > 0", name=op.f("ck_loss_steps_step")),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_loss_steps_camera_id_cameras")),
        sa.PrimaryKeyConstraint("camera_id", "mask", "from_us", name=op.f("pk_loss_steps")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "mask_terms",
        sa.Column("camera_id", _ID, nullable=False),
        sa.Column("mask", sa.String(length=64), nullable=False),
        sa.Column("rho_us", sa.BigInteger(), nullable=False),
        sa.Column("segments", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_mask_terms_camera_id_cameras")),
        sa.PrimaryKeyConstraint("camera_id", "mask", name=op.f("pk_mask_terms")),
    )
    op.create_table(
        "policies",
        sa.Column("id", _ID, nullable=False),
        sa.Column("camera_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_policies_camera_id_cameras")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policies")),
        sa.UniqueConstraint("camera_id", "version", name=op.f("uq_policies_camera_id_version")),
    )
    op.create_table(
        "queries",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("analyst_id", _ID, nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("default_epsilon_nano", sa.BigInteger(), nullable=False),
        sa.Column("reservation_id", sa.String(length=32), nullable=False),
        sa.Column("submitted_us", sa.BigInteger(), nullable=False),
        sa.Column("cancelled_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["analyst_id"], ["analysts.id"], name=op.f("fk_queries_analyst_id_analysts")),
        sa.ForeignKeyConstraint(
            ["reservation_id"], ["reservations.id"], name=op.f("fk_queries_reservation_id_reservations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queries")),
        sa.UniqueConstraint("analyst_id", "request_id", name=op.f("uq_queries_analyst_id_request_id")),
    )
    op.create_index("ix_queries_reservation", "queries", ["reservation_id"], unique=False)
    op.create_index("ix_queries_submitted", "queries", ["submitted_us"], unique=False)
    op.create_table(
        "releases",
        sa.Column("reservation_id", sa.String(length=32), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("released_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["reservation_id"], ["reservations.id"], name=op.f("fk_releases_reservation_id_reservations")
        ),
        sa.PrimaryKeyConstraint("reservation_id", name=op.f("pk_releases")),
    )
    op.create_table(
        "segments",
        sa.Column("id", _ID, nullable=False),
        sa.Column("camera_id", _ID, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("begin_us", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=False),
        sa.Column("frame_count", sa.Integer(), nullable=False),
        sa.Column("times", sa.LargeBinary(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("codec", sa.String(length=32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("end_reason", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_segments_camera_id_cameras")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segments")),
        sa.UniqueConstraint("path", name=op.f("uq_segments_path")),
    )
    op.create_index("ix_segments_camera_begin", "segments", ["camera_id", "begin_us"], unique=True)
    op.bulk_insert(
        sa.table("audit_head", sa.column("id"), sa.column("entries"), sa.column("hash")),
        [{"id": 1, "entries": 0, "hash": "0" * 64}],
    )
