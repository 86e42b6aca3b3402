"""The stored loss functions: reading and changing only the steps that a charge touches."""

import sqlalchemy as sa

from privid.database.schema import loss_steps
from privid.domain.intervals import Step, StepFunction
from privid.ledger.errors import LossTooLarge

_MOST_NANO = 2**63 - 1

_one_mask = (loss_steps.c.camera_id == sa.bindparam("camera")) & (loss_steps.c.mask == sa.bindparam("name"))
_before = loss_steps.alias()
# Steps are disjoint, so besides those that begin inside only the last one that begins earlier can reach in.
_last_before = (
    sa.select(sa.func.max(_before.c.from_us))
    .where(
        _before.c.camera_id == sa.bindparam("camera"),
        _before.c.mask == sa.bindparam("name"),
        _before.c.from_us <= sa.bindparam("start"),
    )
    .scalar_subquery()
)
_READ = (
    sa.select(loss_steps.c.from_us, loss_steps.c.to_us, loss_steps.c.loss_nano)
    .where(
        _one_mask,
        loss_steps.c.from_us < sa.bindparam("stop"),
        loss_steps.c.from_us >= sa.func.coalesce(_last_before, sa.bindparam("start")),
    )
    .order_by(loss_steps.c.from_us)
)
_DELETE = loss_steps.delete().where(
    _one_mask, loss_steps.c.from_us >= sa.bindparam("start"), loss_steps.c.from_us <= sa.bindparam("stop")
)
_INSERT = loss_steps.insert()
_SPAN = sa.select(sa.func.min(loss_steps.c.from_us), sa.func.max(loss_steps.c.to_us)).where(
    loss_steps.c.camera_id == sa.bindparam("camera")
)


def read(connection: sa.Connection, camera_id: int, mask: str, from_us: int, to_us: int) -> StepFunction:
    """The stored steps that meet [from_us, to_us), whole: outside of it they may be incomplete."""
    rows = connection.execute(_READ, {"camera": camera_id, "name": mask, "start": from_us, "stop": to_us})
    return StepFunction(tuple(Step(*row) for row in rows if row.to_us > from_us))


def add(connection: sa.Connection, camera_id: int, mask: str, change: StepFunction) -> None:
    """Add `change` to the stored function, keeping it compact. A refund is a negative change.

    Raises LossTooLarge if a sum cannot be stored, ValueError if one would be negative: more was returned than taken.
    """
    for from_us, to_us in change.support:
        # One microsecond more on each side: a step that touches may have to be joined.
        before = read(connection, camera_id, mask, from_us - 1, to_us + 1)
        _replace(connection, camera_id, mask, before, before + change.restrict(from_us, to_us))


def span(connection: sa.Connection, camera_id: int) -> tuple[int, int] | None:
    """From the first to the last moment at which any segment of this camera has lost anything."""
    first, last = connection.execute(_SPAN, {"camera": camera_id}).one()
    return None if first is None else (first, last)


def everything(connection: sa.Connection, camera_id: int) -> dict[str, StepFunction]:
    """The whole stored function of every mask that has one."""
    used = connection.scalars(sa.select(loss_steps.c.mask).where(loss_steps.c.camera_id == camera_id).distinct()).all()
    first, last = span(connection, camera_id) or (0, 0)
    return {mask: read(connection, camera_id, mask, first, last) for mask in used}


def _replace(connection: sa.Connection, camera_id: int, mask: str, before: StepFunction, after: StepFunction) -> None:
    for step in after:
        if step.value < 0:
            raise ValueError(f"the loss at {step.from_us} would become negative")
        if step.value > _MOST_NANO:
            raise LossTooLarge()
    old, new = list(before.steps), list(after.steps)
    while old and new and old[-1] == new[-1]:
        old.pop(), new.pop()
    kept = 0
    while kept < min(len(old), len(new)) and old[kept] == new[kept]:
        kept += 1
    key = {"camera": camera_id, "name": mask}
    if old[kept:]:
        connection.execute(_DELETE, key | {"start": old[kept].from_us, "stop": old[-1].from_us})
    if new[kept:]:
        connection.execute(
            _INSERT,
            [
                {"camera_id": camera_id, "mask": mask, "from_us": begin, "to_us": end, "loss_nano": value}
                for begin, end, value in new[kept:]
            ],
        )
