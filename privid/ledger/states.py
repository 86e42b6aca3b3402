"""The life of a reservation.

    reserved ----> running ----> released
       |  \\          |  \\
       |   \\         |   +----> failed        (nothing returned)
       |    \\        +--------> cancelled     (nothing returned)
       |     +---> failed                       (charges returned)
       +---------> cancelled                    (charges returned)

Charges return exactly where nothing can have left: a reservation that never started has read no frame. Once it has
started its charges stay, whatever happens. An analyst may have learnt when it started, how long it was let run and that
it ended; a rule that needs no argument about what those can tell cannot be argued around (privacy-model.md, section 6:
never silently refunded). A reservation that a crash has interrupted keeps its state and is taken up again.
"""

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from privid.database.schema import reservations
from privid.ledger.errors import IllegalTransition, UnknownQuery
from privid.ledger.values import State

FOLLOWERS: Mapping[State, frozenset[State]] = {
    State.RESERVED: frozenset({State.RUNNING, State.CANCELLED, State.FAILED}),
    State.RUNNING: frozenset({State.RELEASED, State.CANCELLED, State.FAILED}),
    State.RELEASED: frozenset(),
    State.CANCELLED: frozenset(),
    State.FAILED: frozenset(),
}
UNFINISHED = (State.RESERVED, State.RUNNING)
REFUNDED_FROM = State.RESERVED

_STATE = sa.select(reservations.c.state).where(reservations.c.id == sa.bindparam("reservation"))
_LOCK = _STATE.with_for_update(key_share=True)
_MOVE = (
    reservations.update()
    .where(reservations.c.id == sa.bindparam("reservation"), reservations.c.state == sa.bindparam("present"))
    .values(state=sa.bindparam("wanted"), finished_us=sa.bindparam("finished"))
)


def lock(connection: sa.Connection, reservation_id: str) -> State:
    """The state of a reservation, which nobody else can change until the transaction ends.

    Raises UnknownQuery.
    """
    state = connection.scalar(_LOCK, {"reservation": reservation_id})
    if state is None:
        raise UnknownQuery(reservation_id)
    return State(state)


def move(connection: sa.Connection, reservation_id: str, present: State, wanted: State, at_us: int) -> None:
    """Take a locked reservation from one state to the next.

    Raises IllegalTransition if the diagram has no such arrow, or if the reservation is not in `present`.
    """
    if wanted not in FOLLOWERS[present]:
        raise IllegalTransition(reservation_id, present, wanted)
    finished = None if wanted in UNFINISHED else at_us
    moved = connection.execute(
        _MOVE, {"reservation": reservation_id, "present": present, "wanted": wanted, "finished": finished}
    )
    if moved.rowcount != 1:
        raise IllegalTransition(reservation_id, lock(connection, reservation_id), wanted)


def end(connection: sa.Connection, reservation_ids: Collection[str], wanted: State, at_us: int) -> None:
    """Take unfinished reservations to their end, in a transaction that holds the ledger's lock."""
    connection.execute(
        reservations.update()
        .where(reservations.c.id.in_(reservation_ids), reservations.c.state.in_(UNFINISHED))
        .values(state=wanted.value, finished_us=at_us)
    )
