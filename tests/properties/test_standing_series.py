"""Windows of one series share the budget at their marks, exactly (privacy-model.md, section 5)."""

from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from privid.domain.budget import joined
from privid.domain.loss_profile import loss_function, most_touched, query_profile
from privid.domain.policy import CameraPolicy, MaskPolicy, RegionScheme
from privid.domain.units import NANO, SECOND
from privid.privacy.certificate import Certificate, certify
from privid.privacy.explain import series_json
from query_lang import CameraSchema, Catalog, compile_script
from query_lang.logical import Script

BEGIN_S = 1_796_112_000
CATALOG = Catalog({"plaza": CameraSchema("plaza", "UTC", ("benches",), {"lanes": ("north", "south")})})
SCRIPT = """
SPLIT plaza BEGIN {begin} END {end} EVERY {every} sec BY TIME {chunk} sec STRIDE {stride} sec {view} INTO c;
PROCESS c USING 'p.py' TIMEOUT 1 sec PRODUCING {rows} ROWS WITH SCHEMA (n:NUMBER=0, s:STRING='') INTO t;
{selects}
"""
SELECTS = (
    "SELECT COUNT(*) FROM t;",
    "SELECT AVG(RANGE(n, 0, 7)) FROM t CONSUMING 0.3;",
    "SELECT bin(chunk, 1 min) AS b, SUM(RANGE(n, 0, 3)) FROM t GROUP BY b;",
    "SELECT COUNT(DISTINCT s), MEDIAN(RANGE(n, 0, 5)) FROM t;",
    "SELECT COUNT(*) FROM (SELECT s FROM t GROUP BY s) CONSUMING 0.7;",
    "SELECT COUNT(*) FROM t WHERE hour_of_day(chunk) = 8;",
)


def certified(text: str, policy: CameraPolicy) -> tuple[Script, list[Certificate]]:
    whole = compile_script(text, CATALOG)
    policies = {"plaza": policy}
    windows = [certify(compile_script(text, CATALOG, window=i), policies, NANO) for i in range(whole.windows)]
    return whole, windows


@st.composite
def series(draw: st.DrawFn) -> tuple[str, CameraPolicy, int]:
    """A script with EVERY, the policy of its camera, and the epsilon of all its SELECTs."""
    chunk, stride = draw(st.integers(1, 12)), draw(st.integers(0, 9))
    every = (chunk + stride) * draw(st.integers(1, 60))
    count = draw(st.integers(1, 6))
    view = draw(st.sampled_from(("", "WITH MASK benches", "BY REGION lanes", "BY REGION lanes WITH MASK benches")))
    selects = draw(st.lists(st.sampled_from(SELECTS), min_size=1, max_size=3))
    rho = draw(st.integers(1, 200))
    policy = CameraPolicy(
        epsilon_nano=NANO,
        rho_us=rho * SECOND,
        K=draw(st.integers(1, 3)),
        masks={"benches": MaskPolicy(max(1, rho // 3) * SECOND, draw(st.integers(1, 3)))},
        regions={"lanes": RegionScheme(("north", "south"), draw(st.sampled_from(("hard", "none"))))},
    )
    text = SCRIPT.format(
        begin=BEGIN_S, end=BEGIN_S + count * every, every=every, chunk=chunk, stride=stride, view=view,
        rows=draw(st.integers(1, 5)), selects="\n".join(selects),
    )  # fmt: skip
    epsilon = sum(300_000_000 if "0.3" in s else 700_000_000 if "0.7" in s else NANO for s in selects)
    return text, policy, epsilon


@settings(max_examples=40, deadline=None)
@given(series())
def test_all_windows_together_are_within_the_epsilon_of_one(asked: tuple[str, CameraPolicy, int]) -> None:
    text, policy, epsilon = asked
    _, windows = certified(text, policy)
    for charge in joined(charge for window in windows for charge in window.charges):
        together = query_profile(charge.losses, policy)
        assert together.maximum() <= epsilon
        alone = max(query_profile(charge.losses, policy).maximum() for window in windows for charge in window.charges)
        assert together.maximum() >= alone


@settings(max_examples=15, deadline=None)
@given(series())
def test_every_window_has_the_same_noise_and_no_cap(asked: tuple[str, CameraPolicy, int]) -> None:
    text, policy, _ = asked
    _, windows = certified(text, policy)
    for window in windows:
        for release in window.releases:
            for source in release.sources:
                assert source.Q is None
                assert source.touched == (source.base.touched_slots if source.grids else 0)
                assert source.base.touched_chunks == -(
                    -(source.base.segment_us + source.base.grid.chunk_us) // (source.base.grid.period_us)
                )


@settings(max_examples=15, deadline=None)
@given(series())
def test_the_sum_is_the_loss_on_the_whole_grid(asked: tuple[str, CameraPolicy, int]) -> None:
    """What two windows lose at their mark is what one window across it would: touched slots, counted once."""
    text, policy, _ = asked
    whole, windows = certified(text, policy)
    assume("hour_of_day" not in text)
    (process,) = whole.processes
    base = windows[0].bases[process.name]
    grid = base.between(0, process.split.count - 1)
    losses = [loss for window in windows for charge in window.charges for loss in charge.losses]
    rates = {loss.q for loss in losses}
    assume(len(rates) == 1)
    (q,) = rates
    releases = len(losses) // len(windows)
    for moment in range(grid.begin_us - base.segment_us, grid.end_us, max(1, (grid.end_us - grid.begin_us) // 100)):
        summed = sum(loss_function(loss, base.segment_us)(moment) for loss in losses)
        assert summed <= releases * q * grid.slots_per_chunk * most_touched(grid, base.segment_us)


def test_a_filter_by_the_hour_charges_only_the_windows_of_that_hour() -> None:
    text = SCRIPT.format(
        begin=BEGIN_S, end=BEGIN_S + 24 * 3_600, every=3_600, chunk=5, stride=0, view="", rows=1, selects=SELECTS[5]
    )
    policy = CameraPolicy(epsilon_nano=NANO, rho_us=30 * SECOND, K=1)
    whole, windows = certified(text, policy)
    assert [sum(len(charge.losses) for charge in window.charges) for window in windows].count(1) == 1
    document = series_json(whole, windows, {"plaza": policy})
    charged = [window["charges"][0]["epsilon"] for window in document["standing"]["windows"]]
    assert sorted(charged) == [0.0] * 23 + [float(Fraction(NANO // 7 * 7, NANO))]
    assert document["standing"]["end_us"] - document["standing"]["begin_us"] == 24 * 3_600 * SECOND
    assert document["charges"][0]["epsilon"] == charged[sorted(range(24), key=charged.__getitem__)[-1]]
