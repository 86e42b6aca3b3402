"""How the services write to the audit log: inside the transaction that does what is logged."""

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

Audit = Callable[[sa.Connection, str, str, Mapping[str, Any]], None]
"""Called with a connection, an actor such as `analyst:NAME`, an event and a document of plain JSON values."""
