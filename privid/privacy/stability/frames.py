"""Public rows: which values the public columns of a relation can take together, whatever the video shows.

A frame lists, with multiplicity, at least every tuple of values that the public columns of some row can have. Where a
relation has exactly as many rows of each tuple as its frame says (EXACTLY n, dense groups), it is *counted*: its size,
and the size of each group by public columns, are public. Frames are evaluated when somebody asks, and only on the
columns asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from functools import cached_property

from privid.privacy.base import Base
from privid.privacy.stability.expressions import engine_row, listable, public_value
from privid.privacy.stability.slots import CAMERA, CHUNK, REGION, EachChunk, Values, slot_counts
from query_lang.expressions import columns_of, substitute
from query_lang.logical import Column, Expr


class Frame(ABC):
    """Public rows over some columns."""

    columns: frozenset[str]

    def __init__(self, columns: frozenset[str]) -> None:
        self.columns = columns
        self._known: dict[tuple[Expr, ...], Mapping[Values, int]] = {}

    def knows(self, expr: Expr) -> bool:
        """Whether the expression's values can be listed."""
        return columns_of(expr) <= self.columns and listable(expr)

    def count(self, exprs: tuple[Expr, ...]) -> Mapping[Values, int]:
        """How many rows have each tuple of values of these expressions (all known)."""
        if exprs not in self._known:
            self._known[exprs] = self._count(exprs)
        return self._known[exprs]

    @cached_property
    def size(self) -> int:
        """The number of rows."""
        return sum(self.count(()).values())

    def once(self, exprs: tuple[Expr, ...]) -> tuple[Frame, tuple[Expr, ...]] | None:  # noqa: ARG002
        """A frame with one row for each slot of a source table, and these expressions over it; None if it has none."""
        return None

    @abstractmethod
    def _count(self, exprs: tuple[Expr, ...]) -> Mapping[Values, int]: ...


class SlotFrame(Frame):
    """`weight` rows for each slot of a source table."""

    def __init__(self, base: Base, weight: int) -> None:
        super().__init__(frozenset({CHUNK, CAMERA, *((REGION,) if base.regions else ())}))
        self._base = base
        self._weight = weight

    def once(self, exprs: tuple[Expr, ...]) -> tuple[Frame, tuple[Expr, ...]] | None:
        """The table's own slots."""
        return SlotFrame(self._base, 1), exprs

    def _count(self, exprs: tuple[Expr, ...]) -> Mapping[Values, int]:
        counts = slot_counts(self._base, exprs)
        if self._weight == 1:
            return counts
        if isinstance(counts, EachChunk):
            return counts.times(self._weight)
        return {values: self._weight * slots for values, slots in counts.items()}


class MappedFrame(Frame):
    """The rows of another frame, with columns computed from its own."""

    def __init__(self, inner: Frame, items: Mapping[str, Expr]) -> None:
        super().__init__(frozenset(items))
        self._inner = inner
        self._items = items

    def once(self, exprs: tuple[Expr, ...]) -> tuple[Frame, tuple[Expr, ...]] | None:
        """Those of the inner frame, the columns replaced by what computes them."""
        return self._inner.once(tuple(substitute(expr, self._items) for expr in exprs))

    def _count(self, exprs: tuple[Expr, ...]) -> Mapping[Values, int]:
        return self._inner.count(tuple(substitute(expr, self._items) for expr in exprs))


class KeptFrame(Frame):
    """The rows of another frame for which a predicate is true."""

    def __init__(self, inner: Frame, predicate: Expr) -> None:
        super().__init__(inner.columns)
        self._inner = inner
        self._predicate = predicate

    def once(self, exprs: tuple[Expr, ...]) -> tuple[Frame, tuple[Expr, ...]] | None:
        """Those of the inner frame for which the predicate is true."""
        found = self._inner.once((*exprs, self._predicate))
        return None if found is None else (KeptFrame(found[0], found[1][-1]), found[1][:-1])

    def _count(self, exprs: tuple[Expr, ...]) -> Mapping[Values, int]:
        counts: Counter[Values] = Counter()
        for values, rows in self._inner.count((*exprs, self._predicate)).items():
            if values[-1] is True:
                counts[values[:-1]] += rows
        return counts


class StackedFrame(Frame):
    """The rows of several frames with the same columns, one after the other."""

    def __init__(self, parts: tuple[Frame, ...]) -> None:
        super().__init__(frozenset.intersection(*(part.columns for part in parts)))
        self._parts = parts

    def _count(self, exprs: tuple[Expr, ...]) -> Mapping[Values, int]:
        counts: Counter[Values] = Counter()
        for part in self._parts:
            counts.update(part.count(exprs))
        return counts


class ListedFrame(Frame):
    """Rows given one by one, each once."""

    def __init__(self, names: tuple[str, ...], rows: tuple[Values, ...]) -> None:
        super().__init__(frozenset(names))
        self.names = names
        self.rows = rows

    def _count(self, exprs: tuple[Expr, ...]) -> Mapping[Values, int]:
        if not exprs:
            return {(): len(self.rows)}
        if all(isinstance(expr, Column) for expr in exprs):
            positions = [self.names.index(expr.name) for expr in exprs if isinstance(expr, Column)]
            return Counter(tuple(row[i] for i in positions) for row in self.rows)
        counts: Counter[Values] = Counter()
        for row in self.rows:
            named = engine_row(dict(zip(self.names, row, strict=True)))
            counts[tuple(public_value(expr, named) for expr in exprs)] += 1
        return counts


def slot_keys(frame: Frame, keys: Mapping[str, Expr]) -> Frame | None:
    """The distinct tuples of these keys as a frame, if each slot of one source table has a tuple of its own.

    Then nothing has to be listed: what depends on time can be counted by runs of slots.
    """
    found = frame.once(tuple(keys.values()))
    if found is None:
        return None
    slots, exprs = found
    plain = {expr.name for expr in exprs if isinstance(expr, Column)}
    if CHUNK not in plain or (REGION in slots.columns and REGION not in plain):
        return None
    return MappedFrame(slots, dict(zip(keys, exprs, strict=True)))
