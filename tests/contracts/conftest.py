"""Each contract is tested on both databases."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from privid.database.connect import open_database
from tests.support.databases import PostgresServer, postgresql_server, why_no_postgresql


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    if reason := why_no_postgresql():
        pytest.skip(reason)
    with postgresql_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., str]:
    """Makes databases: a path or URL of one with the current schema, or `empty=True`."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgresql")
        return server.new_database
    names = (str(tmp_path / f"{number}.sqlite3") for number in range(100))
    return lambda *, empty=False: next(names)


@pytest.fixture
def database(new_database: Callable[..., str]) -> str:
    return new_database()


@pytest.fixture
def engine(database: str) -> Iterator[sa.Engine]:
    opened = open_database(database)
    yield opened
    opened.dispose()
