"""Sealed segments, and the wrapped keys of their cameras."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0005"


def upgrade() -> None:
    """Make the table and add the columns; segments that are there are clear."""
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "video_keys",
        sa.Column("id", key, nullable=False),
        sa.Column("camera_id", key, nullable=False),
        sa.Column("master", sa.String(16), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_video_keys_camera_id_cameras")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_video_keys")),
    )
    op.add_column("segments", sa.Column("key_id", sa.BigInteger(), nullable=True))
    op.add_column("segments", sa.Column("file_id", sa.LargeBinary(), nullable=True))
