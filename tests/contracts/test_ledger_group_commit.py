"""Writes of many threads in one transaction: all or nothing each, durable before anybody hears of it."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from privid.database.transactions import GroupCommit, reading
from tests.support.ledgers import add_camera

Work = Callable[[sa.Connection], object]


def adding(name: str) -> Work:
    row = {"name": name, "timezone": "UTC", "created_us": 0}
    statement = sa.text("INSERT INTO cameras (name, timezone, created_us) VALUES (:name, :timezone, :created_us)")
    return lambda connection: connection.execute(statement, row).rowcount


def failing(name: str) -> Work:
    def work(connection: sa.Connection) -> None:
        adding(name)(connection)
        raise KeyError(name)

    return work


def cameras(engine: sa.Engine) -> set[str]:
    with reading(engine) as connection:
        return set(connection.scalars(sa.text("SELECT name FROM cameras")))


@pytest.fixture
def commits(engine: sa.Engine) -> GroupCommit:
    return GroupCommit(engine)


@contextmanager
def together(commits: GroupCommit, *works: Work) -> Iterator[list["Future[object]"]]:
    """All these works wait while another transaction is under way; it ends with the block."""
    begun, go_on = threading.Event(), threading.Event()

    def first(_: sa.Connection) -> None:
        begun.set()
        assert go_on.wait(60)

    with ThreadPoolExecutor(len(works) + 1) as pool:
        leading = pool.submit(commits.write, first)
        assert begun.wait(60)
        results = []
        for number, work in enumerate(works):
            results.append(pool.submit(commits.write, work))
            while len(commits._waiting) <= number:
                threading.Event().wait(0.001)
        yield results
        go_on.set()
        assert leading.exception(60) is None


def test_what_waits_is_committed_together_and_before_anybody_hears_of_it(
    engine: sa.Engine, commits: GroupCommit
) -> None:
    at_commit: list[tuple[int, int]] = []
    with together(commits, *(adding(f"camera{number}") for number in range(8))) as results:
        event.listen(
            engine,
            "commit",
            lambda connection: at_commit.append(
                (
                    connection.scalar(sa.text("SELECT count(*) FROM cameras")),
                    sum(result.done() for result in results),
                )
            ),
        )
    assert [result.result(60) for result in results] == [1] * 8
    assert at_commit == [(0, 0), (8, 0)]
    assert len(cameras(engine)) == 8


def test_each_sees_what_those_before_it_did(commits: GroupCommit) -> None:
    counting: Work = lambda connection: connection.scalar(sa.text("SELECT count(*) FROM cameras"))  # noqa: E731
    with together(commits, counting, adding("plaza"), counting, adding("bridge"), counting) as results:
        pass
    assert [result.result(60) for result in results] == [0, 1, 1, 1, 2]


def test_one_that_fails_undoes_only_its_own(engine: sa.Engine, commits: GroupCommit) -> None:
    add_camera(engine, "gate")
    works = (adding("plaza"), failing("tower"), adding("bridge"), adding("gate"), adding("arch"))
    with together(commits, *works) as results:
        pass
    assert [type(result.exception(60)) for result in results] == [
        type(None), KeyError, type(None), sa.exc.IntegrityError, type(None),
    ]  # fmt: skip
    assert cameras(engine) == {"gate", "plaza", "bridge", "arch"}


@pytest.mark.parametrize("statement", ["ROLLBACK", "COMMIT"])
def test_if_the_transaction_is_lost_everybody_in_it_hears_so(
    engine: sa.Engine, commits: GroupCommit, statement: str
) -> None:
    def spoiling(connection: sa.Connection) -> None:
        connection.exec_driver_sql(statement)
        raise KeyError

    with together(commits, adding("plaza"), spoiling, adding("bridge")) as results:
        pass
    errors = [result.exception(60) for result in results]
    assert all(isinstance(error, sa.exc.DBAPIError) for error in errors), errors
    assert "bridge" not in cameras(engine)
    commits.write(adding("gate"))
    assert "gate" in cameras(engine)


def test_a_commit_that_fails_is_told_to_all_and_keeps_nothing(engine: sa.Engine, commits: GroupCommit) -> None:
    commit_number = count(1)

    def refuse(_: sa.Connection) -> None:
        if next(commit_number) == 2:
            raise OSError("no space left on the device")

    with together(commits, adding("plaza"), adding("bridge")) as results:
        event.listen(engine, "commit", refuse)
    assert [type(result.exception(60)) for result in results] == [OSError, OSError]
    event.remove(engine, "commit", refuse)
    assert cameras(engine) == set()
    commits.write(adding("gate"))
    assert cameras(engine) == {"gate"}


def test_one_that_was_overtaken_is_done_again_by_itself(engine: sa.Engine, commits: GroupCommit) -> None:
    """Whoever checked before inserting may have been overtaken; on SQLite nobody can be, and the error is real."""
    calls = []

    def overtaken(connection: sa.Connection) -> object:
        calls.append(1)
        if len(calls) == 1:
            adding("plaza")(connection)
            raise sa.exc.IntegrityError("", {}, Exception())
        return adding("tower")(connection)

    with together(commits, overtaken, adding("bridge")) as results:
        pass
    assert results[1].exception(60) is None
    if engine.dialect.name == "sqlite":
        assert isinstance(results[0].exception(60), sa.exc.IntegrityError)
        assert cameras(engine) == {"bridge"}
    else:
        assert results[0].result(60) == 1
        assert cameras(engine) == {"bridge", "tower"}
    assert len(calls) == 1 + (engine.dialect.name != "sqlite")
