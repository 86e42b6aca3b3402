"""Standing queries: series, their windows, and work that waits for its video."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0001"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables; what is there stays as it is."""
    op.create_table(
        "standing",
        sa.Column("reservation_id", sa.String(length=32), nullable=False),
        sa.Column("ready_us", sa.BigInteger(), nullable=False),
        sa.Column("cancelled_because", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["reservation_id"], ["reservations.id"], name=op.f("fk_standing_reservation_id_reservations")
        ),
        sa.PrimaryKeyConstraint("reservation_id", name=op.f("pk_standing")),
    )
    op.create_table(
        "series",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("analyst_id", _ID, nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("default_epsilon_nano", sa.BigInteger(), nullable=False),
        sa.Column("horizon_us", sa.BigInteger(), nullable=True),
        sa.Column("every_us", sa.BigInteger(), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("submitted_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["analyst_id"], ["analysts.id"], name=op.f("fk_series_analyst_id_analysts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint("analyst_id", "request_id", name=op.f("uq_series_analyst_id_request_id")),
    )
    op.create_index("ix_series_submitted", "series", ["submitted_us"], unique=False)
    op.create_table(
        "windows",
        sa.Column("query_id", sa.String(length=32), nullable=False),
        sa.Column("series_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("begin_us", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["query_id"], ["queries.id"], name=op.f("fk_windows_query_id_queries")),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_windows_series_id_series")),
        sa.PrimaryKeyConstraint("query_id", name=op.f("pk_windows")),
        sa.UniqueConstraint("series_id", "position", name=op.f("uq_windows_series_id_position")),
    )
