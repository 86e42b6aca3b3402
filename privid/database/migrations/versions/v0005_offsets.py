"""Live recordings: how far a segment's time is from the clock."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; segments that are there have no offset."""
    op.add_column("segments", sa.Column("offset_us", sa.BigInteger(), nullable=True))
