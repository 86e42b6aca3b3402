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
from privid.privacy.stability.expressions import columns_of, engine_row, listable, public_value, substitute
from privid.privacy.stability.slots import CAMERA, CHUNK, REGION, Values, slot_counts
from query_lang.logical import Column, Expr, Value


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

    @abstractmethod
    def _count(self, exprs: tuple[Expr, ...]) -> Mapping[Values, int]: ...


class SlotFrame(Frame):
    """`weight` rows for each slot of a source table."""

    def __init__(self, base: Base, weight: int) -> None:
        super().__init__(frozenset({CHUNK, CAMERA, *((REGION,) if base.regions else ())}))
        self._base = base
        self._weight = weight

    def _count(self, exprs: tuple[Expr, ...]) -> Mapping[Values, int]:
        counts = slot_counts(self._base, exprs)
        if self._weight == 1:
            return counts
        return {values: self._weight * slots for values, slots in counts.items()}


class MappedFrame(Frame):
    """The rows of another frame, with columns computed from its own."""

    def __init__(self, inner: Frame, items: Mapping[str, Expr]) -> None:
        super().__init__(frozenset(items))
        self._inner = inner
        self._items = items

    def _count(self, exprs: tuple[Expr, ...]) -> Mapping[Values, int]:
        return self._inner.count(tuple(substitute(expr, self._items) for expr in exprs))


class KeptFrame(Frame):
    """The rows of another frame for which a predicate is true."""

    def __init__(self, inner: Frame, predicate: Expr) -> None:
        super().__init__(inner.columns)
        self._inner = inner
        self._predicate = predicate

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


def distinct(frame: Frame, exprs: tuple[Expr, ...]) -> tuple[Values, ...]:
    """Every tuple of values once, in the frame's order."""
    return tuple(frame.count(exprs))


def column_values(frame: Frame, column: Column) -> tuple[Value, ...]:
    """Every value of one column once."""
    return tuple(value for (value,) in frame.count((column,)))
