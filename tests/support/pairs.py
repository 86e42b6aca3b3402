"""Pairs of neighbouring worlds that reach the claims of the calculus, one for each claim of each rule.

Each pair is a query over `t1` (40 chunks of an hour, of which one segment touches 2; at most 2 rows a slot) and what
its slots hold before and after. A pair that changes one slot tests r, net, or w; one that changes two neighbouring
slots tests R, the net of a segment, or the cap (M*w without one). Since every pair reaches at least 95 % of its claim,
no rule can be loosened by more than that without one of them showing it: tests/properties/test_seeded_faults.py tries.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from privid.privacy.certificate import Certificate
from privid.privacy.stability import State
from query_lang.logical import Script
from tests.support.queries import certified, policy
from tests.support.worlds import Engine, Move, Releases, Rows, World, check_public, check_segment, check_slot

TERMS = {"hours": 40, "chunk": 3600, "policies": policy(rho=3600)}
NOTHING: Rows = ()


def seen(*plates: str, speed: float = 0.0) -> Rows:
    return tuple((plate, speed, True) for plate in plates)


def spread(*plates: str, first: int = 4) -> dict[int, Rows]:
    """These plates, each once, in slots far from those that change."""
    return {first + i: seen(*plates[2 * i : 2 * i + 2]) for i in range(-(-len(plates) // 2))}


@dataclass(frozen=True)
class Pair:
    """`reaches`: of a relation which of r, net, R, net_segment; of a release always w or the cap.

    `rows` is how many rows PRODUCING says, `around` what the other slots of t1 hold, `others` each slot of t2. With
    `relation` it is one that reaches no claim, but must not exceed any.
    """

    select: str
    before: Mapping[int, Rows]
    after: Mapping[int, Rows]
    reaches: tuple[str, ...] = ()
    rows: str = "2 ROWS"
    around: Mapping[int, Rows] = field(default_factory=dict)
    others: Mapping[int, Rows] = field(default_factory=dict)
    relation: bool = False

    def certified(self) -> tuple[Script, Certificate]:
        """Compiled and certified anew, so that a rule that was changed in the meantime counts."""
        select = f"SELECT COUNT(*) FROM ({self.select});" if self.reaches or self.relation else f"{self.select};"
        return certified(select, rows=self.rows, **TERMS)

    def worlds(self, certificate: Certificate) -> tuple[World, World]:
        """Before and after."""
        found = []
        for change in (self.before, self.after):
            held = {"t1": {**self.around, **change}, "t2": dict(self.others)}
            found.append(
                {
                    name: {slot: held[name].get(slot, NOTHING) for slot in range(base.slots)}
                    for name, base in certificate.bases.items()
                }
            )
        return found[0], found[1]

    @cached_property
    def slots(self) -> list[int]:
        """The slots that change."""
        return sorted(s for s in {*self.before, *self.after} if self.before.get(s, ()) != self.after.get(s, ()))


@dataclass(frozen=True)
class Reached:
    """How far a pair moves, and how far the claim lets it."""

    moved: Fraction
    claimed: Fraction


def claims(state: State, base: str) -> dict[str, int]:
    """The claims about a relation, by the names that pairs use."""
    moved = state.influence[base]
    return {"r": moved.r, "net": moved.net, "R": moved.R, "net_segment": moved.net_segment}


def check_relation(pair: Pair) -> dict[str, Reached]:
    """The pair on the real engine: every claim about the relation is checked, and those that it reaches given."""
    _, certificate = pair.certified()
    state, base = certificate.selects[0].input, certificate.bases["t1"]
    engine = Engine(certificate.bases)
    query = engine.relation(state)
    before, after = (engine.rows(state, query, world) for world in pair.worlds(certificate))
    for rows in (before, after):
        check_public(random.Random(0), state, rows)
    if len(pair.slots) == 1:
        check_slot(state, base, pair.slots[0], before, after)
    else:
        check_segment(state, base, before, after)
    move = Move.between(before, after)
    most = claims(state, "t1")
    return {
        name: Reached(Fraction(move.net if name.startswith("net") else move.rows), Fraction(most[name]))
        for name in pair.reaches
    }


def check_release(pair: Pair) -> Reached:
    """The pair on the real engine: the L1 change of the released vector, and what the certificate allows for it."""
    script, certificate = pair.certified()
    (select,) = certificate.selects
    sensitivities = [release.sensitivity for release in select.releases]
    keys = select.keys
    aggregate = script.selects[0].aggregate
    releases = Releases(
        Engine(certificate.bases), aggregate, select.input, sensitivities, ((),) if keys is None else keys.rows
    )
    change = releases.moved(0, *(releases.exact(world) for world in pair.worlds(certificate)))
    moved = sensitivities[0].moved["t1"]
    if len(pair.slots) == 1:
        claimed = moved.w
    else:
        claimed = certificate.bases["t1"].touched_slots * moved.w if moved.cap is None else moved.cap
    assert change <= claimed, f"{float(change)} is more than the claim {float(claimed)}"
    return Reached(change, claimed)


# --- relations ----------------------------------------------------------------------------------------------

SHIFT = (
    "CASE plate WHEN 'a' THEN 'c' WHEN 'b' THEN 'd' WHEN 'e' THEN 'g' WHEN 'f' THEN 'h'"
    " WHEN 'i' THEN 'a' WHEN 'j' THEN 'b' ELSE plate || plate END"
)
ONCE = "(SELECT DISTINCT plate AS k FROM t1)"
SHIFTED = f"(SELECT DISTINCT {SHIFT} AS k FROM t1)"
HOURLY = "(SELECT hour(chunk) AS h, COUNT(*) AS n FROM t1 GROUP BY h)"
LETTERS = (
    "(SELECT DISTINCT CASE WHEN h = 0 THEN 'a' WHEN h = 1 THEN 'b' WHEN h = 2 THEN 'c' ELSE 'd' END AS k"
    " FROM (SELECT hour_of_day(chunk) AS h FROM t2))"
)
BY_HOUR = "(SELECT hour_of_day(chunk) AS h, COUNT(*) AS n FROM t1 GROUP BY h)"
BY_NEXT_HOUR = "(SELECT (hour_of_day(chunk) + 1) % 24 AS g, COUNT(*) AS m FROM t1 GROUP BY g)"

# Counts of which every one is there again when it moves by one: a plate seen 1, 3, 5, 7 times and so on.
TIMES = {"a": 1, "b": 3, "c": 5, "d": 7, **{f"seen {n}": n for n in range(1, 9)}}
COUNTED = spread(*(plate for plate, times in TIMES.items() for _ in range(times)))

RELATIONS = {
    "source: r and net": Pair("SELECT plate FROM t1", {0: seen("a", "a")}, {0: NOTHING}, ("r", "net")),
    "source: R": Pair(
        "SELECT plate FROM t1",
        {0: seen("a", "a"), 1: seen("a", "a")},
        {0: NOTHING, 1: NOTHING},
        ("R", "net_segment"),
    ),
    "source, EXACTLY: r": Pair(
        "SELECT plate FROM t1", {0: seen("a", "a")}, {0: seen("b", "b")}, ("r",), rows="EXACTLY 2 ROWS"
    ),
    "WHERE: r and net": Pair(
        "SELECT plate FROM t1 WHERE plate = 'a'",
        {0: seen("a", "a")},
        {0: seen("b", "b")},
        ("r", "net"),
        rows="EXACTLY 2 ROWS",
    ),
    "WHERE: R": Pair(
        "SELECT plate FROM t1 WHERE plate = 'a'",
        {0: seen("a", "a"), 1: seen("a", "a")},
        {0: seen("b", "b"), 1: seen("b", "b")},
        ("R", "net_segment"),
        rows="EXACTLY 2 ROWS",
    ),
    "WHERE on trusted columns: r": Pair(
        "SELECT plate FROM t1 WHERE hour_of_day(chunk) < 6",
        {0: seen("a", "a")},
        {0: seen("b", "b")},
        ("r",),
        rows="EXACTLY 2 ROWS",
    ),
    "WHERE, inner HAVING: r and net": Pair(
        "SELECT plate FROM t1 GROUP BY plate HAVING COUNT(*) = 1",
        # a and b are seen once instead of twice, c and d once instead of never: four groups pass that did not.
        {0: seen("a", "b")},
        {0: seen("c", "d")},
        ("r", "net"),
        around=spread("a", "b"),
    ),
    "projection: r and net": Pair(
        "SELECT RANGE(speed, 0, 9) + 1 AS v FROM t1", {0: seen("a", "a")}, {0: NOTHING}, ("r", "net")
    ),
    "UNION ALL: r and net add": Pair(
        "SELECT plate FROM t1 UNION ALL SELECT plate FROM t1", {0: seen("a", "a")}, {0: NOTHING}, ("r", "net")
    ),
    "UNION ALL: R adds": Pair(
        "SELECT plate FROM t1 UNION ALL SELECT plate FROM t1",
        {0: seen("a", "a"), 1: seen("a", "a")},
        {0: NOTHING, 1: NOTHING},
        ("R", "net_segment"),
    ),
    "DISTINCT: r": Pair("SELECT DISTINCT plate FROM t1", {0: seen("a", "b")}, {0: seen("c", "d")}, ("r",)),
    "DISTINCT: net": Pair(
        "SELECT DISTINCT plate FROM t1",
        {0: seen("a", "b")},
        {0: seen("c", "d")},
        ("net",),
        rows="EXACTLY 2 ROWS",
        around=spread("c", "d"),
    ),
    "DISTINCT: R": Pair(
        "SELECT DISTINCT plate FROM t1", {0: seen("a", "b"), 1: seen("c", "d")}, {0: NOTHING, 1: NOTHING}, ("R",)
    ),
    "UNION: r and net": Pair(
        f"SELECT plate FROM t1 UNION SELECT {SHIFT} FROM t1", {0: seen("a", "b")}, {0: NOTHING}, ("r", "net")
    ),
    "UNION: net": Pair(
        f"SELECT plate FROM t1 UNION SELECT {SHIFT} FROM t1",
        {0: seen("a", "b")},
        {0: seen("x", "x")},
        ("r", "net"),
        rows="EXACTLY 2 ROWS",
        around=spread("x"),
    ),
    "UNION: R": Pair(
        f"SELECT plate FROM t1 UNION SELECT {SHIFT} FROM t1",
        {0: seen("a", "b"), 1: seen("e", "f")},
        {0: NOTHING, 1: NOTHING},
        ("R",),
    ),
    "INTERSECT: r and net": Pair(
        f"SELECT plate FROM t1 INTERSECT SELECT {SHIFT} FROM t1",
        # a and b match what i and j are shifted to; c and d match what a and b are shifted to.
        {0: seen("a", "b")},
        {0: NOTHING},
        ("r", "net"),
        around=spread("i", "j", "c", "d"),
    ),
    "INTERSECT: R": Pair(
        f"SELECT plate FROM t1 INTERSECT SELECT {SHIFT} FROM t1",
        {0: seen("a", "b"), 1: seen("cc", "dd")},
        {0: NOTHING, 1: NOTHING},
        ("R",),
        # c and d are shifted to cc and dd; and cc and dd to cccc and dddd.
        around=spread("i", "j", "c", "d", "cccc", "dddd"),
    ),
    "EXCEPT: r": Pair(
        f"SELECT plate FROM t1 EXCEPT SELECT {SHIFT} FROM t1",
        # u and v leave; c and d, which the shifted a and b take out, leave as well.
        {0: seen("u", "v")},
        {0: seen("a", "b")},
        ("r",),
        around=spread("c", "d"),
    ),
    "EXCEPT: net": Pair(
        f"SELECT plate FROM t1 EXCEPT SELECT {SHIFT} FROM t1",
        # The same, and the a and b that come are taken out by what i and j are shifted to.
        {0: seen("u", "v")},
        {0: seen("a", "b")},
        ("r", "net"),
        around=spread("c", "d", "i", "j"),
    ),
    "EXCEPT: R": Pair(
        f"SELECT plate FROM t1 EXCEPT SELECT {SHIFT} FROM t1",
        {0: seen("u", "v"), 1: seen("w", "x")},
        {0: seen("a", "b"), 1: seen("e", "f")},
        ("R",),
        around=spread("c", "d", "g", "h"),
    ),
    "GROUP BY untrusted keys: 2r": Pair(
        "SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate",
        {0: seen("a", "b")},
        {0: seen("c", "d")},
        ("r",),
        around=spread("a", "b", "c", "d"),
    ),
    "GROUP BY untrusted keys: net": Pair(
        "SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate",
        {0: seen("a", "b")},
        {0: seen("c", "d")},
        ("net",),
        around=spread("c", "d"),
    ),
    "GROUP BY untrusted keys: 2R": Pair(
        "SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate",
        {0: seen("a", "b"), 1: seen("c", "d")},
        {0: seen("e", "f"), 1: seen("g", "h")},
        ("R",),
        around=spread(*"abcdefgh"),
    ),
    "GROUP BY untrusted keys, two in a row: 4r": Pair(
        "SELECT n, COUNT(*) AS m FROM (SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate) GROUP BY n",
        # a and b are seen once less, c and d once more: eight counts, each of which other plates have as well.
        {0: seen("a", "b")},
        {0: seen("c", "d")},
        ("r",),
        around=COUNTED,
    ),
    "GROUP BY trusted keys: 1": Pair(
        "SELECT hour(chunk) AS h, COUNT(*) AS n FROM t1 GROUP BY h", {0: seen("a", "a")}, {0: NOTHING}, ("r",)
    ),
    "GROUP BY trusted keys: R = D": Pair(
        "SELECT hour(chunk) AS h, COUNT(*) AS n FROM t1 GROUP BY h",
        {0: seen("a", "a"), 1: seen("a", "a")},
        {0: NOTHING, 1: NOTHING},
        ("R",),
    ),
    "GROUP BY trusted keys: R = D, bins of two chunks": Pair(
        "SELECT bin(chunk, 2 hours) AS h, COUNT(*) AS n FROM t1 GROUP BY h",
        {1: seen("a", "a"), 2: seen("a", "a")},
        {1: NOTHING, 2: NOTHING},
        ("R",),
    ),
    "GROUP BY nothing: 1": Pair("SELECT COUNT(*) AS n FROM t1", {0: seen("a", "a")}, {0: NOTHING}, ("r",)),
    "GROUP BY mixed keys: mult": Pair(
        "SELECT chunk, plate, COUNT(*) AS n FROM t1 GROUP BY chunk, plate",
        {0: seen("a", "b")},
        {0: seen("c", "d")},
        ("r",),
    ),
    "GROUP BY mixed keys: net": Pair(
        "SELECT chunk, plate, COUNT(*) AS n FROM t1 GROUP BY chunk, plate", {0: seen("a", "b")}, {0: NOTHING}, ("net",)
    ),
    "GROUP BY mixed keys: R": Pair(
        "SELECT chunk, plate, COUNT(*) AS n FROM t1 GROUP BY chunk, plate",
        {0: seen("a", "b"), 1: seen("a", "b")},
        {0: seen("c", "d"), 1: seen("c", "d")},
        ("R",),
    ),
    "WITH KEYS: 2r": Pair(
        "SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate WITH KEYS ['a', 'b', 'c', 'd', 'e']",
        {0: seen("a", "b")},
        {0: seen("c", "d")},
        ("r",),
    ),
    "WITH KEYS: n": Pair(
        "SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate WITH KEYS ['a', 'b', 'c']",
        {0: seen("a", "b")},
        {0: seen("c", "c")},
        ("r",),
    ),
    "WITH KEYS and trusted keys: R = n*D": Pair(
        "SELECT hour(chunk) AS h, plate, COUNT(*) AS n FROM t1 GROUP BY h, plate WITH KEYS ['a', 'b']",
        {0: seen("a", "b"), 1: seen("a", "b")},
        {0: NOTHING, 1: NOTHING},
        ("R",),
    ),
    "INNER JOIN, one row a key: r and net": Pair(
        f"SELECT l.k AS k FROM {ONCE} AS l JOIN {SHIFTED} AS r ON l.k = r.k",
        {0: seen("a", "b")},
        {0: NOTHING},
        ("r", "net"),
        around=spread("i", "j", "c", "d"),
    ),
    "INNER JOIN, one row a key: R": Pair(
        f"SELECT l.k AS k FROM {ONCE} AS l JOIN {SHIFTED} AS r ON l.k = r.k",
        {0: seen("a", "b"), 1: seen("cc", "dd")},
        {0: NOTHING, 1: NOTHING},
        ("R",),
        around=spread("i", "j", "c", "d", "cccc", "dddd"),
    ),
    "LEFT JOIN, one row a key: r_L + 2*r_R": Pair(
        f"SELECT l.k AS k, r.k AS o FROM {ONCE} AS l LEFT JOIN {SHIFTED} AS r ON l.k = r.k",
        # On the right the partners of g and h leave, and those of c and d come.
        {0: seen("e", "f")},
        {0: seen("a", "b")},
        ("r",),
        around=spread("g", "h", "c", "d"),
    ),
    "LEFT JOIN, one row a key: net_L": Pair(
        f"SELECT l.k AS k, r.k AS o FROM {ONCE} AS l LEFT JOIN {SHIFTED} AS r ON l.k = r.k",
        {0: seen("e", "f")},
        {0: NOTHING},
        ("net",),
    ),
    "LEFT JOIN, one row a key: R": Pair(
        f"SELECT l.k AS k, r.k AS o FROM {ONCE} AS l LEFT JOIN {SHIFTED} AS r ON l.k = r.k",
        {0: seen("e", "f"), 1: seen("u", "v")},
        {0: seen("a", "b"), 1: seen("w", "x")},
        ("R",),
        around=spread("g", "h", "c", "d", "uu", "vv", "ww", "xx"),
    ),
    "LEFT JOIN, the right side alone: 2*r_R": Pair(
        f"SELECT l.k AS k, r.k AS o FROM {LETTERS} AS l LEFT JOIN {ONCE} AS r ON l.k = r.k",
        {0: seen("a", "b")},
        {0: seen("c", "d")},
        ("r",),
        others=dict.fromkeys(range(40), seen("a", "a")),
    ),
    "FULL JOIN, one row a key: 2*r_L + 2*r_R": Pair(
        f"SELECT l.k AS k, r.k AS o FROM {ONCE} AS l FULL JOIN {SHIFTED} AS r ON l.k = r.k",
        # As in LEFT; and the a and b that come to the left take up the a and b that stood alone on the right.
        {0: seen("e", "f")},
        {0: seen("a", "b")},
        ("r",),
        around=spread("g", "h", "c", "d", "i", "j"),
    ),
    "FULL JOIN, one row a key: net": Pair(
        f"SELECT l.k AS k, r.k AS o FROM {ONCE} AS l FULL JOIN {SHIFTED} AS r ON l.k = r.k",
        {0: seen("e", "f")},
        {0: NOTHING},
        ("net",),
    ),
    "FULL JOIN, one row a key: R": Pair(
        f"SELECT l.k AS k, r.k AS o FROM {ONCE} AS l FULL JOIN {SHIFTED} AS r ON l.k = r.k",
        {0: seen("e", "f"), 1: seen("u", "v")},
        {0: seen("a", "b"), 1: seen("oo", "pp")},
        ("R",),
        around=spread("g", "h", "c", "d", "i", "j", "uu", "vv", "o", "p", "oooo", "pppp"),
    ),
    "FULL JOIN, the left side alone: 2*r_L": Pair(
        f"SELECT l.k AS k, r.k AS o FROM {ONCE} AS l FULL JOIN {LETTERS} AS r ON l.k = r.k",
        {0: seen("a", "b")},
        {0: seen("c", "d")},
        ("r",),
        others=dict.fromkeys(range(40), seen("a", "a")),
    ),
    "JOIN on trusted keys: r_L*j, one side": Pair(
        "SELECT l.plate AS p, r.plate AS q FROM t1 AS l JOIN t2 AS r ON l.chunk = r.chunk",
        {0: seen("a", "a")},
        {0: NOTHING},
        ("r", "net"),
        others=dict.fromkeys(range(40), seen("a", "a")),
    ),
    "JOIN on trusted keys: i*j": Pair(
        "SELECT l.plate AS p, r.plate AS q FROM t1 AS l JOIN t1 AS r ON l.chunk = r.chunk",
        {0: seen("a", "a")},
        {0: NOTHING},
        ("r", "net"),
    ),
    "JOIN on trusted keys: R = i*j*D": Pair(
        "SELECT l.plate AS p, r.plate AS q FROM t1 AS l JOIN t1 AS r ON l.chunk = r.chunk",
        {0: seen("a", "a"), 1: seen("a", "a")},
        {0: NOTHING, 1: NOTHING},
        ("R",),
    ),
    "JOIN on trusted keys, a function of its own on each side: r_L*j + r_R*i": Pair(
        "SELECT l.h AS h, l.plate AS p, r.plate AS q FROM (SELECT hour_of_day(chunk) AS h, plate FROM t1) AS l"
        " JOIN (SELECT (hour_of_day(chunk) + 1) % 24 AS g, plate FROM t1) AS r ON l.h = r.g",
        {1: seen("a", "a")},
        {1: NOTHING},
        ("r", "net"),
        around={slot: seen("a", "a") for slot in range(40)},
    ),
    "dense JOIN dense, by one trusted key: 1": Pair(
        f"SELECT l.n AS n, r.m AS m FROM {HOURLY} AS l"
        " JOIN (SELECT hour(chunk) AS h, SUM(RANGE(speed, 0, 9)) AS m FROM t1 GROUP BY h) AS r ON l.h = r.h",
        {0: seen("a", "a")},
        {0: NOTHING},
        ("r",),
    ),
    "dense JOIN dense, by one trusted key: D": Pair(
        f"SELECT l.n AS n, r.m AS m FROM {HOURLY} AS l"
        " JOIN (SELECT hour(chunk) AS h, SUM(RANGE(speed, 0, 9)) AS m FROM t1 GROUP BY h) AS r ON l.h = r.h",
        {0: seen("a", "a"), 1: seen("a", "a")},
        {0: NOTHING, 1: NOTHING},
        ("R",),
    ),
    "dense JOIN dense, by two functions: r_L + r_R": Pair(
        f"SELECT l.n AS n, r.m AS m FROM {BY_HOUR} AS l JOIN {BY_NEXT_HOUR} AS r ON l.h = r.g",
        {0: seen("a", "a")},
        {0: NOTHING},
        ("r",),
    ),
    "dense JOIN dense, by listed keys: r_L + r_R": Pair(
        "SELECT l.k AS k, l.n AS n, r.m AS m FROM (SELECT plate AS k, COUNT(*) AS n FROM t1 GROUP BY k WITH KEYS"
        " ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) AS l JOIN"
        f" (SELECT {SHIFT} AS g, COUNT(*) AS m FROM t1 GROUP BY g WITH KEYS"
        " ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) AS r ON l.k = r.g",
        {0: seen("a", "b")},
        {0: seen("e", "f")},
        ("r",),
    ),
    "trust through INNER JOIN: 1": Pair(
        f"SELECT h, COUNT(*) AS m FROM (SELECT l.h AS h FROM {HOURLY} AS l"
        " JOIN (SELECT hour(chunk) AS g, plate FROM t1) AS r ON l.h = r.g) GROUP BY h",
        {0: seen("a", "a")},
        {0: NOTHING},
        ("r",),
    ),
    "trust through INNER JOIN: D": Pair(
        f"SELECT h, COUNT(*) AS m FROM (SELECT l.h AS h FROM {HOURLY} AS l"
        " JOIN (SELECT hour(chunk) AS g, plate FROM t1) AS r ON l.h = r.g) GROUP BY h",
        {0: seen("a", "a"), 1: seen("a", "a")},
        {0: NOTHING, 1: NOTHING},
        ("R",),
    ),
    "trust of the left columns of LEFT JOIN: 1": Pair(
        "SELECT h, COUNT(*) AS m FROM (SELECT l.h AS h, r.g AS g FROM (SELECT DISTINCT hour(chunk) AS h FROM t1) AS l"
        " LEFT JOIN (SELECT DISTINCT hour(chunk) AS g FROM t2) AS r ON l.h = r.g) GROUP BY h",
        {0: seen("a", "a")},
        {0: NOTHING},
        ("r",),
        others={1: seen("a")},
    ),
    "LIMIT: n": Pair("SELECT plate FROM t1 LIMIT 1", {0: seen("a", "a")}, {0: NOTHING}, ("r", "net")),
    "LIMIT: rows of other slots": Pair(
        "SELECT chunk, plate FROM t1 ORDER BY plate LIMIT 1",
        {0: NOTHING},
        {0: seen("a")},
        ("r",),
        around={5: seen("b")},
    ),
    "LIMIT: R": Pair(
        "SELECT plate FROM t1 LIMIT 3", {0: seen("a", "a"), 1: seen("b", "b")}, {0: NOTHING, 1: NOTHING}, ("R",)
    ),
}


# --- releases -----------------------------------------------------------------------------------------------


def at(*speeds: float, plate: str = "a") -> Rows:
    return tuple((plate, speed, True) for speed in speeds)


def halves(*plates: str) -> dict[int, Rows]:
    """For each plate ten rows at 20 and ten at 40, so that quantiles of the middle have points on both sides."""
    found = {}
    for plate in plates:
        for speed in (20, 40):
            for _ in range(5):
                found[3 + len(found)] = at(speed, speed, plate=plate)
    return found


LOW, HIGH = at(0, 0), at(60, 60)
KEYS = "GROUP BY plate WITH KEYS ['a', 'b']"
FEW = "(SELECT plate, speed FROM t1 LIMIT 3)"
MAYBE = "(SELECT plate, CASE WHEN plate = 'a' THEN RANGE(speed, 30, 60) END AS x FROM t1)"
ONE_OF_MANY = "(SELECT COUNT(*) AS x FROM t1 UNION ALL SELECT RANGE(speed, 0, 9) AS x FROM t2)"
FROM_ZERO_TO_FOUR = ({0: NOTHING, 1: NOTHING}, {0: at(0, 0), 1: at(0, 0)})
TWO_SLOTS = ({0: at(60, 60), 1: at(60, 60)}, {0: NOTHING, 1: NOTHING})
TO_THE_OTHER_KEY = ({0: at(60, 60), 1: at(60, 60)}, {0: at(60, 60, plate="b"), 1: at(60, 60, plate="b")})

RELEASES = {
    # no groups: w
    "COUNT(*): net": Pair("SELECT COUNT(*) FROM t1", {0: LOW}, {0: NOTHING}),
    "COUNT(*) behind WHERE: r": Pair(
        "SELECT COUNT(*) FROM t1 WHERE plate = 'a'",
        {0: seen("a", "a")},
        {0: seen("b", "b")},
        rows="EXACTLY 2 ROWS",
    ),
    "COUNT(*) FILTER: r": Pair(
        "SELECT COUNT(*) FILTER (WHERE plate = 'a') FROM t1",
        {0: seen("a", "a")},
        {0: seen("b", "b")},
        rows="EXACTLY 2 ROWS",
    ),
    "COUNT(x), x nullable: r": Pair(
        f"SELECT COUNT(x) FROM {MAYBE}", {0: seen("a", "a")}, {0: seen("b", "b")}, rows="EXACTLY 2 ROWS"
    ),
    "COUNT(DISTINCT x): r": Pair("SELECT COUNT(DISTINCT plate) FROM t1", {0: seen("a", "b")}, {0: NOTHING}),
    "SUM, l < 0 < u": Pair("SELECT SUM(RANGE(speed, -20, 60)) FROM t1", {0: at(-20, -20)}, {0: HIGH}),
    "SUM, 0 < l: rows that vanish": Pair("SELECT SUM(RANGE(speed, 30, 60)) FROM t1", {0: HIGH}, {0: NOTHING}),
    "SUM, u < 0: rows that vanish": Pair("SELECT SUM(RANGE(speed, -60, -30)) FROM t1", {0: at(-60, -60)}, {0: NOTHING}),
    "SUM, EXACTLY: rows that change": Pair(
        "SELECT SUM(RANGE(speed, 30, 60)) FROM t1", {0: LOW}, {0: HIGH}, rows="EXACTLY 2 ROWS"
    ),
    "SUM, nullable": Pair(f"SELECT SUM(x) FROM {MAYBE}", {0: HIGH}, {0: at(60, 60, plate="b")}, rows="EXACTLY 2 ROWS"),
    "SUM of a lip column: hourly counts": Pair(f"SELECT SUM(n) FROM {HOURLY}", {0: LOW}, {0: NOTHING}),
    "SUM of a lip column: hourly sums": Pair(
        "SELECT SUM(s) FROM (SELECT day(chunk) AS d, SUM(RANGE(speed, 10, 60)) AS s FROM t1 GROUP BY d)",
        {0: HIGH},
        {0: NOTHING},
    ),
    "SUM of a lip column: nullable counts": Pair(
        "SELECT SUM(n) FROM (SELECT day(chunk) AS d, COUNT(x) AS n FROM"
        " (SELECT chunk, CASE WHEN plate = 'a' THEN 1 END AS x FROM t1) GROUP BY d)",
        {0: seen("a", "a")},
        {0: seen("b", "b")},
        rows="EXACTLY 2 ROWS",
    ),
    "SUM of a lip column: a segment": Pair(f"SELECT SUM(n) FROM {HOURLY}", *TWO_SLOTS),
    "SUM of a lip column times two": Pair(f"SELECT SUM(RANGE(n * 2, 0, 4)) FROM {HOURLY}", {0: LOW}, {0: NOTHING}),
    "SUM over listed groups of a count": Pair(
        # A row that is none of the listed plates is no longer counted, though there are as many rows as before.
        "SELECT SUM(RANGE(n, 0, 2)) FROM (SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate WITH KEYS ['a'])",
        {0: seen("a", "a")},
        {0: seen("b", "b")},
        rows="EXACTLY 2 ROWS",
    ),
    "AVG of a lip column": Pair(f"SELECT AVG(n) FROM {HOURLY}", {0: LOW}, {0: NOTHING}),
    "AVG, exact": Pair("SELECT AVG(RANGE(speed, 0, 60)) FROM t1", {0: LOW}, {0: HIGH}, rows="EXACTLY 2 ROWS"),
    "AVG, vector": Pair("SELECT AVG(RANGE(speed, 0, 60)) FROM t1", {0: HIGH}, {0: NOTHING}),
    "VAR": Pair("SELECT VAR(RANGE(speed, 0, 60)) FROM t1", {0: HIGH}, {0: NOTHING}),
    "STDDEV": Pair("SELECT STDDEV(RANGE(speed, 0, 60)) FROM t1", {0: LOW}, {0: NOTHING}),
    "MIN": Pair("SELECT MIN(RANGE(speed, 0, 60)) FROM t1", {0: LOW}, {0: HIGH}),
    "MAX": Pair("SELECT MAX(RANGE(speed, 0, 60)) FROM t1", {0: HIGH}, {0: LOW}),
    "MEDIAN": Pair("SELECT MEDIAN(RANGE(speed, 0, 60)) FROM t1", {0: LOW}, {0: HIGH}, around=halves("a")),
    "QUANTILE": Pair("SELECT QUANTILE(RANGE(speed, 0, 60), 0.25) FROM t1", {0: LOW}, {0: HIGH}, around=halves("a")),
    # no groups: the cap
    "COUNT(*): cap": Pair(f"SELECT COUNT(*) FROM {FEW}", *TWO_SLOTS),
    "COUNT(DISTINCT x): cap": Pair(
        f"SELECT COUNT(DISTINCT plate) FROM {FEW}",
        {0: seen("a", "b"), 1: seen("c", "d")},
        {0: NOTHING, 1: NOTHING},
    ),
    "SUM: cap": Pair(f"SELECT SUM(RANGE(x, 0, 4)) FROM {ONE_OF_MANY}", *FROM_ZERO_TO_FOUR),
    "SUM: cap of one group": Pair(
        "SELECT SUM(RANGE(n, 0, 3)) FROM (SELECT camera, COUNT(*) AS n FROM t1 GROUP BY camera)",
        *TWO_SLOTS,
    ),
    "AVG, exact: cap": Pair("SELECT AVG(RANGE(n, 0, 4)) FROM (SELECT COUNT(*) AS n FROM t1)", *FROM_ZERO_TO_FOUR),
    "AVG, vector: cap": Pair(f"SELECT AVG(RANGE(speed, 0, 60)) FROM {FEW}", *TWO_SLOTS),
    "VAR: cap": Pair(f"SELECT VAR(RANGE(speed, 0, 60)) FROM {FEW}", *TWO_SLOTS),
    "STDDEV: cap": Pair(f"SELECT STDDEV(RANGE(speed, 0, 60)) FROM {FEW}", *TWO_SLOTS),
    "MIN: cap": Pair(f"SELECT MIN(RANGE(x, 0, 4)) FROM {ONE_OF_MANY}", *FROM_ZERO_TO_FOUR),
    "MAX: cap": Pair(f"SELECT MAX(RANGE(x, 0, 4)) FROM {ONE_OF_MANY}", *FROM_ZERO_TO_FOUR),
    "MEDIAN: cap": Pair(
        f"SELECT MEDIAN(RANGE(x, 0, 4)) FROM {ONE_OF_MANY}",
        *FROM_ZERO_TO_FOUR,
        others={slot: at(1 + 2 * (slot % 2)) for slot in range(40)},
    ),
    "QUANTILE: cap": Pair(
        f"SELECT QUANTILE(RANGE(x, 0, 4), 0.25) FROM {ONE_OF_MANY}",
        *FROM_ZERO_TO_FOUR,
        others={slot: at(1 + 2 * (slot % 2)) for slot in range(40)},
    ),
    "ARGMAX: cap": Pair(f"SELECT ARGMAX(plate, COUNT(*)) FROM {FEW} {KEYS}", *TO_THE_OTHER_KEY),
    "COUNT(*) by listed keys: cap": Pair(f"SELECT plate, COUNT(*) FROM {FEW} {KEYS}", *TO_THE_OTHER_KEY),
    # keys trusted for every source: as without groups
    **{
        f"{name} by trusted keys": Pair(
            f"SELECT hour(chunk) AS h, {aggregate} FROM t1 GROUP BY h", {0: before}, {0: after}, rows=rows
        )
        for name, aggregate, before, after, rows in (
            ("COUNT(*)", "COUNT(*)", LOW, NOTHING, "2 ROWS"),
            ("COUNT(DISTINCT x)", "COUNT(DISTINCT plate)", seen("a", "b"), NOTHING, "2 ROWS"),
            ("SUM", "SUM(RANGE(speed, -20, 60))", at(-20, -20), HIGH, "2 ROWS"),
            ("AVG, exact", "AVG(RANGE(speed, 0, 60))", LOW, HIGH, "EXACTLY 2 ROWS"),
            ("AVG, vector", "AVG(RANGE(speed, 0, 60))", HIGH, NOTHING, "2 ROWS"),
            ("VAR", "VAR(RANGE(speed, 0, 60))", HIGH, NOTHING, "2 ROWS"),
            ("STDDEV", "STDDEV(RANGE(speed, 0, 60))", HIGH, NOTHING, "2 ROWS"),
        )
    },
    **{
        f"{name} by trusted keys": Pair(
            f"SELECT camera, {aggregate} FROM t1 GROUP BY camera", {0: LOW}, {0: HIGH}, around=halves("a")
        )
        for name, aggregate in (
            ("MIN", "MIN(RANGE(speed, 0, 60))"),
            ("MAX", "MAX(RANGE(-speed, -60, 0))"),
            ("MEDIAN", "MEDIAN(RANGE(speed, 0, 60))"),
            ("QUANTILE", "QUANTILE(RANGE(speed, 0, 60), 0.25)"),
        )
    },
    "ARGMAX of COUNT by trusted keys": Pair(
        "SELECT ARGMAX(h, COUNT(*)) FROM (SELECT hour(chunk) AS h FROM t1) GROUP BY h", {0: LOW}, {0: NOTHING}
    ),
    "ARGMAX of SUM by trusted keys": Pair(
        "SELECT ARGMAX(h, SUM(RANGE(speed, 0, 60))) FROM (SELECT hour(chunk) AS h, speed FROM t1) GROUP BY h",
        {0: HIGH},
        {0: NOTHING},
    ),
    # listed keys: what leaves one group may enter another
    **{
        f"{name} by listed keys": Pair(
            f"SELECT plate, {aggregate} FROM t1 {KEYS}", {0: before}, {0: after}, rows=rows, around=around
        )
        for name, aggregate, before, after, rows, around in (
            ("COUNT(*)", "COUNT(*)", seen("a", "a"), seen("b", "b"), "EXACTLY 2 ROWS", {}),
            ("COUNT(DISTINCT x)", "COUNT(DISTINCT speed)", at(1, 2), at(1, 2, plate="b"), "2 ROWS", {}),
            ("SUM", "SUM(RANGE(speed, -60, 60))", HIGH, at(-60, -60, plate="b"), "2 ROWS", {}),
            ("AVG, vector", "AVG(RANGE(speed, 0, 60))", HIGH, at(0, 0, plate="b"), "2 ROWS", {}),
            ("VAR", "VAR(RANGE(speed, 0, 60))", HIGH, at(0, 0, plate="b"), "2 ROWS", {}),
            ("STDDEV", "STDDEV(RANGE(speed, 0, 60))", HIGH, at(0, 0, plate="b"), "2 ROWS", {}),
            ("MIN", "MIN(RANGE(speed, 0, 60))", LOW, at(0, 0, plate="b"), "2 ROWS", {}),
            ("MAX", "MAX(RANGE(speed, 0, 60))", HIGH, at(60, 60, plate="b"), "2 ROWS", {}),
            ("MEDIAN", "MEDIAN(RANGE(speed, 0, 60))", LOW, at(0, 0, plate="b"), "2 ROWS", halves("a", "b")),
            ("QUANTILE", "QUANTILE(RANGE(speed, 0, 60), 0.25)", LOW, at(0, 0, plate="b"), "2 ROWS", halves("a", "b")),
        )
    },
    "ARGMAX of COUNT by listed keys": Pair(
        f"SELECT ARGMAX(plate, COUNT(*)) FROM t1 {KEYS}", {0: seen("a", "a")}, {0: seen("b", "b")}
    ),
    "ARGMAX of SUM by listed keys": Pair(
        f"SELECT ARGMAX(plate, SUM(RANGE(speed, 0, 60))) FROM t1 {KEYS}", {0: HIGH}, {0: at(60, 60, plate="b")}
    ),
    # through a subquery
    "SUM over untrusted groups: 2r rows change": Pair(
        "SELECT SUM(RANGE(v, 0, 5)) FROM (SELECT plate,"
        " CASE WHEN (plate <= 'b') = (COUNT(*) = 1) THEN 5 ELSE 0 END AS v FROM t1 GROUP BY plate)",
        {0: seen("a", "b")},
        {0: seen("c", "d")},
        around=spread("a", "b", "c", "d"),
    ),
}
