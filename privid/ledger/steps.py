"""The stored loss functions: reading and changing only the steps that a charge touches."""

import sqlalchemy as sa

from privid.database.schema import loss_steps, mask_terms
from privid.domain.intervals import Step, StepFunction
from privid.domain.policy import NO_MASK
from privid.ledger.errors import LossTooLarge

_MOST_NANO = 2**63 - 1

_one_mask = (loss_steps.c.camera_id == sa.bindparam("camera")) & (loss_steps.c.mask == sa.bindparam("name"))
_before = loss_steps.alias()


def _last_before(moment: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """Where to read from: steps are disjoint, so of the earlier ones only the last that begins can reach in."""
    found = sa.select(sa.func.max(_before.c.from_us)).where(
        _before.c.camera_id == sa.bindparam("camera"),
        _before.c.mask == sa.bindparam("name"),
        _before.c.from_us <= moment,
    )
    return sa.func.coalesce(found.correlate_except(_before).scalar_subquery(), moment)


_READ = (
    sa.select(loss_steps.c.from_us, loss_steps.c.to_us, loss_steps.c.loss_nano)
    .where(
        _one_mask,
        loss_steps.c.from_us < sa.bindparam("stop"),
        loss_steps.c.from_us >= _last_before(sa.bindparam("start", type_=sa.BigInteger)),
    )
    .order_by(loss_steps.c.from_us)
)
_READ_SOME = _READ.limit(sa.bindparam("most"))
_first_piece = sa.select(sa.cast(sa.bindparam("start"), sa.BigInteger).label("begin")).cte("pieces", recursive=True)
_next_begin = _first_piece.c.begin + sa.bindparam("width", type_=sa.BigInteger)
_pieces = _first_piece.union_all(sa.select(_next_begin).where(_next_begin < sa.bindparam("stop")))
_most_in_piece = sa.select(sa.func.max(loss_steps.c.loss_nano)).where(
    _one_mask,
    loss_steps.c.from_us < _pieces.c.begin + sa.bindparam("width", type_=sa.BigInteger),
    loss_steps.c.to_us > _pieces.c.begin,
    loss_steps.c.from_us >= _last_before(_pieces.c.begin),
)
_OUTLINE = sa.select(_pieces.c.begin, _most_in_piece.scalar_subquery().label("most")).order_by(_pieces.c.begin)
_DELETE = loss_steps.delete().where(
    _one_mask, loss_steps.c.from_us >= sa.bindparam("start"), loss_steps.c.from_us <= sa.bindparam("stop")
)
_INSERT = loss_steps.insert()
_masks = sa.union(
    sa.select(mask_terms.c.mask).where(mask_terms.c.camera_id == sa.bindparam("camera")),
    sa.select(sa.literal(NO_MASK)),
).subquery()
_of_mask = sa.select(loss_steps).where(
    loss_steps.c.camera_id == sa.bindparam("camera"), loss_steps.c.mask == _masks.c.mask
)
# Two look-ups a mask; MIN and MAX over all masks would read every step.
_SPAN = sa.select(
    _of_mask.with_only_columns(loss_steps.c.from_us).order_by(loss_steps.c.from_us).limit(1).scalar_subquery(),
    _of_mask.with_only_columns(loss_steps.c.to_us).order_by(loss_steps.c.from_us.desc()).limit(1).scalar_subquery(),
).select_from(_masks)


def read(connection: sa.Connection, camera_id: int, mask: str, from_us: int, to_us: int) -> StepFunction:
    """The stored steps that meet [from_us, to_us), whole: outside of it they may be incomplete."""
    rows = connection.execute(_READ, {"camera": camera_id, "name": mask, "start": from_us, "stop": to_us})
    return StepFunction(tuple(Step(*row) for row in rows if row.to_us > from_us))


def outline(connection: sa.Connection, camera_id: int, most: int, mask: str, from_us: int, to_us: int) -> StepFunction:
    """As `read`, but where there are more than `most` steps a function of that many that is nowhere smaller.

    It has the largest loss in each of `most` equal pieces of [from_us, to_us): for pictures of years, never to admit.
    """
    key = {"camera": camera_id, "name": mask, "start": from_us, "stop": to_us}
    rows = connection.execute(_READ_SOME, key | {"most": most + 1}).all()
    if len(rows) <= most:
        return StepFunction(tuple(Step(*row) for row in rows if row.to_us > from_us))
    width_us = -(-(to_us - from_us) // most)
    pieces = connection.execute(_OUTLINE, key | {"width": width_us})
    return StepFunction.of((piece.begin, min(piece.begin + width_us, to_us), piece.most or 0) for piece in pieces)


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
    ends = [row for row in connection.execute(_SPAN, {"camera": camera_id}) if row[0] is not None]
    return (min(first for first, _ in ends), max(last for _, last in ends)) if ends else None


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
