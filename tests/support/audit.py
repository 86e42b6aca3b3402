"""A statistical audit of whole releases: does an event with this privacy loss explain what was seen?

Two videos that are neighbours are answered many times each. If every release has a loss of at most `claim`, no set E of
answers is more than exp(claim) times as likely for one video as for the other. For each of a fixed list of sets the
true probabilities lie, with confidence, in Chernoff's intervals {p : n * KL(k/n, p) <= ln(1/alpha)}, which hold for
every n and contain those of Clopper and Pearson. The claim is rejected if one set's intervals contradict it.

`ALPHA` is the error of one interval bound. An audit of m sets uses 4*m bounds, and all audits of a test run together
fewer than 100,000: by the union bound a run rejects a true claim with probability below 5e-7. That a false claim is not
rejected has its own bound, `sure`, below 5e-7 in all likewise.
"""

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from privid.database.connect import open_database
from privid.domain.home import Home
from privid.domain.policy import CameraPolicy
from privid.domain.units import NANO, SECOND
from privid.engine import execute, release
from privid.engine.aggregate import EngineSettings, Raw, raw_aggregates
from privid.engine.execute import Executor
from privid.engine.lanes import Lanes
from privid.engine.plan import Plan
from privid.ingest.importer import import_file
from privid.privacy.certificate import ReleaseCertificate, SelectCertificate, certify
from privid.privacy.sensitivity import Method
from privid.testing import video
from privid.video.catalog import Catalog
from privid.video.pictures import PictureStore
from privid.video.store import SegmentStore
from query_lang import CameraSchema, compile_script
from query_lang import Catalog as Names

ALPHA = 5e-12
SURE = 1e-9

Answer = tuple[float, ...]
Sets = Sequence[Callable[[Answer], bool]]


# --- the statistics -----------------------------------------------------------------------------------------


def divergence(observed: float, p: float) -> float:
    """KL(observed, p) of two coins."""
    total = 0.0
    for a, b in ((observed, p), (1 - observed, 1 - p)):
        if a > 0:
            total += math.inf if b <= 0 else a * math.log(a / b)
    return total


def _edge(fixed: float, budget: float, towards: float, kl: Callable[[float, float], float]) -> float:
    """The point between `fixed` and `towards` where the divergence from `fixed` reaches the budget."""
    near, far = fixed, towards
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (middle, far) if kl(fixed, middle) <= budget else (near, middle)
    return far


def bounds(hits: int, n: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Where the probability lies, each end wrong with probability at most alpha."""
    budget = math.log(1 / alpha) / n
    return _edge(hits / n, budget, 0.0, divergence), _edge(hits / n, budget, 1.0, divergence)


def rejects(hits: Iterable[tuple[int, int]], n: int, claim: float) -> bool:
    """Whether hits (one video, the other) of some set, of n answers each, contradict a loss of at most `claim`."""
    for one, other in hits:
        (low, high), (other_low, other_high) = bounds(one, n), bounds(other, n)
        if low > math.exp(claim) * other_high or other_low > math.exp(claim) * high:
            return True
    return False


def sure(p: float, other: float, n: int, claim: float) -> bool:
    """Whether a set of these true probabilities makes `rejects` certain but for a probability of 2*SURE (Chernoff)."""
    budget = math.log(1 / SURE) / n
    least = _edge(p, budget, 0.0, lambda fixed, seen: divergence(seen, fixed))
    most = _edge(other, budget, 1.0, lambda fixed, seen: divergence(seen, fixed))
    return rejects([(math.floor(least * n), math.ceil(most * n))], n, claim)


def count(answers: Sequence[Answer], others: Sequence[Answer], sets: Sets) -> list[tuple[int, int]]:
    """How many answers of both videos lie in each set."""
    return [(sum(map(inside, answers)), sum(map(inside, others))) for inside in sets]


# --- the two videos -----------------------------------------------------------------------------------------

START = 1_800_000_000 * SECOND
EPSILON = 2
CHUNKS = 12
EVENT = range(25, 35)
"""Frames, of ten a second, in which the event is visible: one second, in two chunks of one."""
POLICY = CameraPolicy(epsilon_nano=100 * NANO, rho_us=SECOND, K=1, width=160, height=96, timing="open")

EXECUTABLE = b'''
def number(frame):
    bits = [frame[16 * r + 4 : 16 * r + 12, 16 * c + 4 : 16 * c + 12].mean() > 127 for r in (0, 1) for c in range(8)]
    return sum(1 << i for i, bit in enumerate(bits) if bit)

def process(chunk):
    """Everything about a chunk follows from its number, and from whether somebody (numbers from 1000 on) is there."""
    numbers = [number(frame) for frame in chunk.frames]
    there = max(numbers) >= 1000
    i = min(n % 1000 for n in numbers) // 10
    for row in (0, 1):
        if VARYING:
            if there:
                yield {"plate": "x", "speed": 60.0}
            continue
        plate = "b" if there or i >= 9 else "a"
        level = 60 if there or i >= 10 else 50 if i >= 6 else 0
        tag = "abcdefghijklmnopqrstuvwxyz"[i]
        if i in (2, 3):
            tag = ("q" if there else "p") + str(2 * (i - 2) + row)
        elif 4 <= i < 8:
            tag = ("p" if i < 6 else "q") + str(2 * (i % 2) + row)
        yield {"plate": plate, "speed": 60.0 if there else 0.0, "level": level, "tag": tag}
'''

SELECTS = {
    "COUNT": "SELECT COUNT(*) FROM some",
    "SUM": "SELECT SUM(RANGE(speed, 30, 60)) FROM some",
    "SUM, wide": "SELECT SUM(RANGE(speed, 0, 1000)) FROM some",
    "AVG": "SELECT AVG(RANGE(speed, 0, 60)) FROM two",
    "AVG, vector": "SELECT AVG(RANGE(speed, 0, 60)) FROM some",
    "COUNT by plate": "SELECT plate, COUNT(*) FROM two GROUP BY plate WITH KEYS ['a', 'b']",
    "ARGMAX": "SELECT ARGMAX(plate, COUNT(*)) FROM two GROUP BY plate WITH KEYS ['a', 'b']",
    "QUANTILE": "SELECT QUANTILE(RANGE(level, 0, 60), 0.5) FROM two",
    "SUM over groups": (
        "SELECT SUM(RANGE(v, 0, 1)) FROM (SELECT tag, CASE WHEN (tag < 'q') = (COUNT(*) = 1) THEN 1 ELSE 0 END AS v"
        " FROM two GROUP BY tag)"
    ),
}
COLUMNS = 'WITH SCHEMA (plate:STRING="", speed:NUMBER=0, level:NUMBER=0, tag:STRING="")'


def script_text(names: Iterable[str]) -> str:
    """A query: both tables, and these SELECTs, each with all of EPSILON."""
    tables = (
        f"SPLIT plaza BEGIN {START // SECOND} END {START // SECOND + CHUNKS} BY TIME 1sec INTO chunks;"
        f"PROCESS chunks USING 'some.py' TIMEOUT 1sec PRODUCING 2 ROWS {COLUMNS} INTO some;"
        f"PROCESS chunks USING 'two.py' TIMEOUT 1sec PRODUCING EXACTLY 2 ROWS {COLUMNS} INTO two;"
    )
    return tables + "".join(f"{SELECTS[name]} CONSUMING {EPSILON};" for name in names)


def planned(names: Sequence[str]) -> Plan:
    """The plan, made with the rules as they are at the moment."""
    hashes = {"some.py": "0" * 64, "two.py": "1" * 64}
    script = compile_script(script_text(names), Names({"plaza": CameraSchema("plaza")}, hashes))
    certificate = certify(script, {"plaza": POLICY}, NANO)
    return Plan("", NANO, script, certificate, {"plaza": POLICY}, hashes, 0)


Tables = Mapping[str, pa.Table]


def tables_of_a_video(folder: Path, *, event: bool) -> Tables:
    """What the executables write about a synthetic video in the real sandbox, with or without somebody in it."""
    folder.mkdir()
    home = Home(folder / "home").create()
    names = ("COUNT", "AVG")
    plan = planned(names)
    for name, varying in (("some.py", True), ("two.py", False)):
        (home.executables / plan.executables[name]).write_bytes(b"VARYING = %r" % varying + EXECUTABLE)
    catalog = Catalog(open_database(home.root / "audit.sqlite3"))
    catalog.add_camera("plaza", created_us=START)
    store = SegmentStore(home.video)
    plain = video.picture
    with pytest.MonkeyPatch.context() as patch:
        if event:
            patch.setattr(video, "picture", lambda n, *size: plain(n + 1000 if n in EVENT else n, *size))
        clip = video.write_clip(folder / "clip.mp4", CHUNKS * 10)
    import_file(catalog, store, clip, "plaza", START)
    seen: dict[str, pa.Table] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute.release, "answer", lambda script, certificate, tables, *_: seen.update(tables) or ())
        executor = Executor(
            home=home,
            video=catalog,
            store=store,
            pictures=PictureStore(home.pictures),
            lanes=Lanes((), (0,)),
            clock=lambda: START,
            device="cpu",
        )
        executor.run("audit", plan, START, threading.Event())
    return seen


# --- releases -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Releases:
    """One SELECT, certified, over the tables of one video."""

    certified: SelectCertificate
    tables: Tables

    def answers(self, n: int) -> list[Answer]:
        """n independent answers. The rows are aggregated once, as they are the same each time; the noise, and what
        follows from it, is what the release does, for n answers at a time as it does for n groups."""
        raw = raw_aggregates(self.certified, self.tables, EngineSettings())
        (one,) = self.certified.releases
        if one.method is Method.ARGMAX:
            scores = [release.vector(row[0]) for row in raw.rows]
            return [(float(release._best(self.certified, scores)[0]["plate"] == "b"),) for _ in range(n)]
        if one.method is Method.POINT:
            known = release.runs(*_run_arguments(one, raw.rows[0][0]))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(release, "runs", lambda *_: known)
                return [(release._point(one, raw.rows[0][0]).value,) for _ in range(n)]
        groups = len(raw.rows)
        noisy = release._release(one, [row[0] for row in raw.rows] * n, release._sizes(self.certified, one) * n)
        values = [float(value.value) for value in noisy]
        return [tuple(values[groups * i : groups * (i + 1)]) for i in range(n)]


def _run_arguments(one: ReleaseCertificate, histogram: Raw) -> tuple:
    call = one.sensitivity.call
    return release.Grid.over(one.sensitivity.range), call.function, release.quantile(call), histogram


def releases(name: str, tables: Tables) -> Releases:
    """One of the SELECTs, with the rules as they are at the moment."""
    (certified,) = planned([name]).certificate.selects
    return Releases(certified, tables)
