"""Pairs of neighbouring worlds that reach the claims of the calculus, one for each claim of each rule.

Each pair is a query over `t1` (40 chunks of an hour, at most 2 rows a slot, of which one segment touches 2) and what its
slots hold before and after. A pair that changes one slot tests r, net, or w; one that changes two neighbouring slots
tests R, the net of a segment, or the cap (M*w without one). Since every pair reaches at least 95 % of its claim, no rule
can be loosened by more than that without one of them showing it: `tests/properties/test_seeded_faults.py` tries.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from privid.privacy.certificate import Certificate
from privid.privacy.stability import State
from query_lang.logical import Script
from tests.support.queries import certified, policy
from tests.support.worlds import Engine, Move, Releases, Rows, World, check_segment, check_slot

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

    `rows` is how many rows PRODUCING says, `around` what the other slots of t1 hold, `others` each slot of t2.
    """

    select: str
    before: Mapping[int, Rows]
    after: Mapping[int, Rows]
    reaches: tuple[str, ...] = ()
    rows: str = "2 ROWS"
    around: Mapping[int, Rows] = field(default_factory=dict)
    others: Mapping[int, Rows] = field(default_factory=dict)

    def certified(self) -> tuple[Script, Certificate]:
        """Compiled and certified anew, so that a rule that was changed in the meantime counts."""
        select = f"SELECT COUNT(*) FROM ({self.select});" if self.reaches else f"{self.select};"
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
    "DISTINCT: r and net": Pair(
        "SELECT DISTINCT plate FROM t1",
        {0: seen("a", "b")},
        {0: seen("c", "d")},
        ("r", "net"),
        rows="EXACTLY 2 ROWS",
        around=spread("c", "d"),
    ),
    "DISTINCT: R": Pair(
        "SELECT DISTINCT plate FROM t1", {0: seen("a", "b"), 1: seen("c", "d")}, {0: NOTHING, 1: NOTHING}, ("R",)
    ),
    "UNION: r and net": Pair(
        f"SELECT plate FROM t1 UNION SELECT {SHIFT} FROM t1", {0: seen("a", "b")}, {0: NOTHING}, ("r", "net")
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
        "SELECT l.plate AS p, r.plate AS q FROM (SELECT hour_of_day(chunk) AS h, plate FROM t1) AS l"
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
    "LIMIT: n": Pair("SELECT plate FROM t1 LIMIT 1", {0: seen("a", "a")}, {0: NOTHING}, ("r", "net")),
    "LIMIT: R": Pair(
        "SELECT plate FROM t1 LIMIT 3", {0: seen("a", "a"), 1: seen("b", "b")}, {0: NOTHING, 1: NOTHING}, ("R",)
    ),
}
