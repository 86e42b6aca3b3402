"""How far a change of rows moves an aggregate (privacy-model.md, section 3). Exact numbers only.

`r` rows leave and `r` enter, and the row count moves by at most `net`; the same formulas with R and the net per segment
give caps.
"""

from __future__ import annotations

from fractions import Fraction

from query_lang.intervals import Interval

WIDE = (Fraction(-(1 << 42)), Fraction(1 << 42))
"""Where values without a known range are clipped, so that exact sums cannot overflow."""


def count_change(r: int, net: int, nullable: bool) -> int:
    """COUNT(x): net, because every row counts; but if x can be NULL, a row that stays may begin to count: r."""
    return r if nullable else net


def sum_change(r: int, net: int, bounds: Interval, nullable: bool) -> Fraction:
    """SUM(x), x in [l, u].

    Not nullable: rows that replace others move it by at most u - l each, and of the `net` others each moves it by at
    most max(abs l, abs u): r*(u-l) + net*max(0, l, -u) bounds both together. (With n rows more, pair r - n of the r
    rows; the n others add values up to u, and u - (u-l) = l.) Nullable: a row may count as 0, so each change lies in
    [min(l, 0), max(u, 0)].
    """
    low, high = bounds
    if nullable:
        return r * (max(high, Fraction(0)) - min(low, Fraction(0)))
    return r * (high - low) + net * max(Fraction(0), low, -high)
