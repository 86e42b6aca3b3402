"""Masks and regions on tracks: what shows for how long, the search, its optimum, what crosses a border."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from privid.domain.units import SECOND
from privid.persistence import mask_search
from privid.persistence.cells import Grid, dwell, periods, stays
from privid.persistence.mask_search import RULES, Rule, Showing, improved, search
from privid.persistence.masks import Terms, best, cells_of, fewest, measure, suggest, terms, whole_cells
from privid.persistence.optimum import optimum
from privid.persistence.regions import crossings, grid_regions
from privid.testing.scenes import Scene, campus, highway, true_tracks, urban
from tests.support.plain_masks import plain_search
from tests.support.trajectories import boxes, walks

STANDS = [(1, second, 10, 10, 30, 50) for second in range(8)]
"""A box of 20 x 40 pixels that stays for 8 s."""


def hidden(*areas: tuple[int, int, int, int], width: int = 100, height: int = 60) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in areas:
        mask[y0:y1, x0:x1] = True
    return mask


def test_a_box_shows_while_any_of_its_pixels_does() -> None:
    tracks = boxes(*STANDS)
    assert measure(tracks, "all", hidden((10, 10, 30, 50)), 0).terms == Terms(0, 0)
    assert measure(tracks, "all but one", hidden((10, 10, 30, 49), (10, 49, 29, 50)), 0).terms == Terms(8 * SECOND, 1)
    assert measure(tracks, "elsewhere", hidden((30, 10, 100, 50)), 0).unseen == 0
    assert measure(tracks, "all", hidden((10, 10, 30, 50)), 0).unseen == 1


def test_edges_of_boxes_count_outwards_and_end_with_the_picture() -> None:
    tracks = boxes((1, 0, -5.0, 3.2, 10.4, 8.9), (2, 0, 200, 0, 210, 10), (3, 0, -9, -9, 0, 0))
    found = stays(tracks, Grid(100, 60, 1))
    assert [int(found.objects[i]) for i in found.owner] == [1]
    assert (found.left[0], found.top[0], found.right[0], found.bottom[0]) == (0, 3, 11, 9)


def test_segments_are_counted_in_each_presence_and_short_breaks_are_none() -> None:
    # Across a hidden post twice: 3 s, 2 s behind it, 3 s; and again after a minute.
    walk = [(x, x + 5) for x in (0, 10, 20, 42, 44, 60, 70, 80)]
    rows = [(7, start + i, x0, 0, x1, 10) for start in (0, 68) for i, (x0, x1) in enumerate(walk)]
    tracks = boxes(*rows)
    post = hidden((40, 0, 52, 60))
    one = measure(tracks, "post", post, tolerance_us=SECOND)
    assert one.held == (Terms(3 * SECOND, 2), Terms(8 * SECOND, 1))
    assert one.terms == Terms(8 * SECOND, 1)  # three chunks touched, and two segments touch four
    assert measure(tracks, "post", post, tolerance_us=2 * SECOND).held == (Terms(8 * SECOND, 1),)
    assert measure(tracks, "none", hidden(), tolerance_us=60 * SECOND).held == (Terms(76 * SECOND, 1),)


def test_the_best_terms_touch_the_fewest_chunks() -> None:
    assert best([Terms(4 * SECOND, 3), Terms(11 * SECOND, 1)]) == Terms(11 * SECOND, 1)
    assert best([Terms(4 * SECOND, 2), Terms(100 * SECOND, 1)]) == Terms(4 * SECOND, 2)
    assert Terms(12_013_000, 2).safer(1.0) == Terms(12_050_000, 2)
    assert Terms(10 * SECOND, 2).safer(1.5) == Terms(15 * SECOND, 2)
    assert Terms(61_000_000, 1).safer(38.7) == Terms(2361 * SECOND, 1)
    assert Terms(50_010_000, 1).safer(2) == Terms(101 * SECOND, 1)


@pytest.mark.parametrize("seed", range(4))
def test_measuring_agrees_with_looking_at_every_moment(seed: int) -> None:
    tracks = walks(seed, 10, width=64, height=48, size=(6, 9), stay_s=5, seconds=30)
    mask = np.random.default_rng(seed).random((48, 64)) < 0.9
    longest, most = 0, 0
    for _, rows in tracks.each():
        shows = ""  # x shown, . hidden, | out of the picture, where a presence ends
        for i in range(rows.start, rows.stop):
            x0, y0 = max(0, int(np.floor(tracks.x0[i]))), max(0, int(np.floor(tracks.y0[i])))
            x1, y1 = min(64, int(np.ceil(tracks.x1[i]))), min(48, int(np.ceil(tracks.y1[i])))
            shows += "|" if x0 >= x1 or y0 >= y1 else "." if mask[y0:y1, x0:x1].all() else "x"
        for presence in shows.split("|"):
            runs = presence.replace(".", " ").split()
            longest, most = max(longest, *map(len, runs), 0), max(most, len(runs))
    found = measure(tracks, "random", mask, 0).held[0]
    assert found == Terms(longest * tracks.sample_us, most)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rule", [Rule(bridge_us=0), Rule(power=2), Rule(bridge_us=60 * SECOND)])
def test_the_search_is_the_plain_one(seed: int, rule: Rule) -> None:
    found = stays(walks(seed), Grid(640, 480, 40), 2 * SECOND)
    got = search(found, rule, most_cells=60)
    order, longest = plain_search(found, rule, 60)
    assert got.order.tolist() == order
    assert got.longest_us.tolist() == longest
    assert longest[0] > longest[-1]


def test_showing_keeps_up_with_any_masking_and_unmasking() -> None:
    found = stays(walks(5), Grid(640, 480, 40), 2 * SECOND)
    state, random = Showing(found, 5 * SECOND), np.random.default_rng(0)
    for _ in range(300):
        cell = int(random.integers(len(state.masked)))
        if state.masked[cell]:
            again = state.masked.copy()
            again[cell] = False
            shown = found.shown(again.reshape(found.grid.rows, -1)) > 0
            before = found.shown(state.masked.reshape(found.grid.rows, -1)) > 0
            back = np.unique(found.owner[shown & ~before])
            lengths = periods(found, shown, 5 * SECOND)
            mine = np.isin(lengths.owner, back)
            longest = (lengths.end_us - lengths.start_us)[mine].max(initial=0)
            # Asked again, it begins with the object that decided it; what that one has shown since must not count.
            for most in (longest - 1, longest, *(random.integers(1, 60, 3) * SECOND)):
                assert state.would_show(cell, int(most)) == (longest > most)
            state.unmask(cell)
        else:
            state.mask(cell)
        mask = state.masked.reshape(found.grid.rows, found.grid.columns)
        assert (state.left == found.shown(mask)).all()
        assert state.longest_us == periods(found, state.left > 0, 5 * SECOND).longest_us


def test_the_order_ends_when_nothing_shows() -> None:
    found = stays(walks(1, 5), Grid(640, 480, 80))
    order = search(found)
    assert order.longest_us[-1] == 0
    assert (np.diff(order.longest_us) <= 0).all()
    assert len(set(order.order.tolist())) == len(order.order)
    assert found.shown(order.mask(len(order.order))).max() == 0


def test_exchanges_never_take_more_cells_nor_show_more() -> None:
    found = stays(walks(2), Grid(640, 480, 60), 2 * SECOND)
    order = search(found)
    for cells in (3, 8, 20, 40):
        before = order.mask(cells)
        after = improved(found, before, cells, order.rule.bridge_us)
        assert after.sum() <= cells
        longest = [periods(found, found.shown(m) > 0, order.rule.bridge_us).longest_us for m in (before, after)]
        assert longest[1] <= longest[0]


def test_exchanges_end_when_their_effort_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    found = stays(walks(2), Grid(640, 480, 60), 2 * SECOND)
    order = search(found)

    def after(effort: int) -> int:
        monkeypatch.setattr(mask_search, "EFFORT", effort)
        mask = improved(found, order.mask(20), 40, order.rule.bridge_us)
        return periods(found, found.shown(mask) > 0, order.rule.bridge_us).longest_us

    assert after(40_000) < after(1) < after(0) == order.longest_us[20]


def test_no_mask_is_better_than_the_optimum() -> None:
    found = stays(walks(3, 8), Grid(640, 480, 160), 2 * SECOND)
    best_of = optimum(found)
    assert (np.diff(best_of) <= 0).all()
    random = np.random.default_rng(3)
    for _ in range(200):
        mask = random.random((3, 4)) < random.random()
        assert periods(found, found.shown(mask) > 0).longest_us >= best_of[int(mask.sum())]
    with pytest.raises(ValueError, match="too many masks"):
        optimum(stays(walks(3, 2), Grid(640, 480, 20)))


def excess(make: Callable[..., Scene], seed: int, cell: int) -> float:
    """How much longer the longest period is than under the best masks there are, at worst of all numbers of cells."""
    tracks = true_tracks(make(seed, hours=0.25))
    found = stays(tracks, Grid(tracks.width, tracks.height, cell), 2 * SECOND)
    orders = [search(found, Rule(rule.power, rule.reach, bridge_us=0)) for rule in RULES]
    worst = 1.0
    for cells, least in enumerate(optimum(found).tolist()):
        masks = [fewest(found, order, cells) for order in orders]
        assert all(mask.sum() <= cells for mask in masks)
        got = min(periods(found, found.shown(mask) > 0).longest_us for mask in masks)
        worst = max(worst, got / least if least else np.inf if got else 1.0)
    return worst


# On 12 cells exchanges alone leave a fifth to a quarter in these.
SMALL = [(campus, 0, 128), (highway, 0, 128), (urban, 0, 128), (campus, 4, 160), (highway, 2, 160), (urban, 0, 160)]


@pytest.mark.parametrize(("make", "seed", "cell"), SMALL)
def test_masks_found_are_within_a_tenth_of_the_optimum(make: Callable[..., Scene], seed: int, cell: int) -> None:
    """On 15 and 12 cells of made-up cameras: for every number of masked cells, against all masks there are."""
    assert excess(make, seed, cell) <= 1.1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_masks_found_are_within_a_tenth_of_the_optimum_in_all_of_many_scenes() -> None:
    """On 8, 12, 15 and 18 cells."""
    cases = itertools.product((campus, highway, urban), range(8), (213, 160, 128))
    found = {(make.__name__, seed, cell): excess(make, seed, cell) for make, seed, cell in cases}
    found |= {(make.__name__, 0, 120): excess(make, 0, 120) for make in (campus, highway, urban)}
    assert max(found.values()) <= 1.1, {case: worst for case, worst in found.items() if worst > 1.1}


@pytest.mark.parametrize("seed", [1, 4, 5])  # exchanges alone miss the best in these
def test_of_few_cells_all_masks_that_matter_are_tried(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = stays(walks(seed, 12), Grid(640, 480, 160), 2 * SECOND)
    nothing = np.zeros((3, 4), bool)

    def longest() -> list[int]:
        masks = [improved(found, nothing, cells) for cells in range(13)]
        assert all(mask.sum() <= cells for cells, mask in enumerate(masks))
        return [periods(found, found.shown(mask) > 0).longest_us for mask in masks]

    assert longest() == optimum(found).tolist()
    monkeypatch.setattr(mask_search, "FEW", -1)
    assert all(a >= b for a, b in zip(longest(), optimum(found).tolist(), strict=True))
    monkeypatch.setattr(mask_search, "FEW", 12)
    monkeypatch.setattr(mask_search, "CHOICES", 0)  # an end in the middle leaves no worse mask
    assert all(a >= b for a, b in zip(longest(), optimum(found).tolist(), strict=True))


def test_suggested_masks_get_larger_and_hold_pixel_by_pixel() -> None:
    tracks = walks(4, 30)
    found = stays(tracks, Grid(640, 480, 20), 2 * SECOND)
    suggested = suggest(found, [search(found, most_cells=200)], shares=(0.02, 0.1, 0.25))
    assert suggested
    touched = [terms(found, np.zeros((24, 32), bool))[0].touched, *(one.terms.touched for one in suggested)]
    assert all(after <= 0.9 * before for before, after in zip(touched, touched[1:], strict=False))
    assert [one.share for one in suggested] == sorted(one.share for one in suggested)
    for one in suggested:
        assert one.share <= 0.25
        assert measure(tracks, one.name, one.hidden, 2 * SECOND).held == one.held
        assert (found.grid.pixels(whole_cells(one.hidden, found.grid)) == one.hidden).all()


def test_the_heatmap_counts_time_and_is_nothing_where_nobody_was() -> None:
    seconds = dwell(stays(boxes(*STANDS, (2, 3, 25, 45, 35, 55)), Grid(100, 60, 10)))
    assert seconds.shape == (6, 10)
    assert seconds[2, 1] == 8
    assert seconds[4, 2] == 9
    assert seconds[5, 3] == 1
    assert (seconds[:, 4:] == 0).all()


def test_cells_as_text() -> None:
    grid = Grid(100, 60, 10)
    assert cells_of("0,0 3,1-4,2", grid).sum() == 5
    assert cells_of("9,5", grid)[5, 9]
    for wrong in ("", "10,0", "0,6", "3", "4,2-3,1", "a,b", "1,1-"):
        with pytest.raises(ValueError, match="cell"):
            cells_of(wrong, grid)


def test_grids_and_masks_of_another_picture_are_refused() -> None:
    with pytest.raises(ValueError, match="of a picture of 50x60"):
        stays(boxes(*STANDS), Grid(50, 60, 10))
    with pytest.raises(ValueError, match="the mask post is of 50x60"):
        measure(boxes(*STANDS), "post", hidden(width=50), 0)
    with pytest.raises(ValueError, match="the regions are of 50x60"):
        crossings(boxes(*STANDS), ["a"], hidden(width=50)[None])


def test_a_view_without_tracks_has_nothing_to_hide() -> None:
    found = stays(boxes(), Grid(100, 60, 10))
    order = search(found)
    assert (len(order.order), order.longest_us.tolist()) == (0, [0])
    assert suggest(found, [order]) == []
    assert measure(boxes(), "none", hidden(), 0).terms == Terms(0, 0)


# --- regions ------------------------------------------------------------------------------------------------

HALVES = np.stack([hidden((0, 0, 50, 60)), hidden((50, 0, 100, 60))])


def across(*seconds: float) -> list[tuple[int, float, float, float, float, float]]:
    """In the west until the first second, then nowhere, in the east from the second one."""
    return [(1, seconds[0], 10, 0, 20, 10), (1, seconds[1], 60, 0, 70, 10)]


def test_who_stays_in_one_region_crosses_nothing() -> None:
    seen = crossings(boxes(*STANDS, (2, 0, 60, 0, 70, 10)), ["west", "east"], HALVES)
    assert (seen.objects, seen.at_once, set(seen.within.values()), seen.pairs) == (2, 0, {0}, ())
    assert seen.boundary == "hard"
    assert "Choose hard only if" in seen.advice()


def test_time_between_regions_decides_what_a_chunk_can_hold() -> None:
    # It is in the west until second 1, and in the east from second 4 on: 3 s apart.
    seen = crossings(boxes(*across(0, 4)), ["west", "east"], HALVES)
    assert dict(seen.within) == {SECOND: 0, 5 * SECOND: 1, 30 * SECOND: 1}
    assert seen.boundary == "soft"
    assert seen.pairs == ((0, 1, 1),)
    assert "Within 1 s nobody did" in seen.advice()
    assert crossings(boxes(*across(0, 32)), ["west", "east"], HALVES).boundary == "hard"
    back = [(1, 0, 60, 0, 70, 10), (1, 4, 10, 0, 20, 10)]
    assert dict(crossings(boxes(*back), ["west", "east"], HALVES).within) == dict(seen.within)


def test_a_box_on_the_border_shows_in_both() -> None:
    seen = crossings(boxes((1, 0, 45, 0, 55, 10)), ["west", "east"], HALVES)
    assert (seen.at_once, seen.boundary) == (1, "none")
    assert "west and east (1)" in seen.advice()


def test_two_objects_are_not_one_that_crosses() -> None:
    seen = crossings(boxes((1, 0, 10, 0, 20, 10), (2, 1, 60, 0, 70, 10)), ["west", "east"], HALVES)
    assert set(seen.within.values()) == {0}


def test_nothing_seen_is_no_reason_for_a_hard_border() -> None:
    seen = crossings(boxes(), ["west", "east"], HALVES)
    assert seen.boundary == "none"
    assert "nothing is known" in seen.advice()


def test_a_grid_of_regions_leaves_no_pixel_out() -> None:
    from privid.owner.rasterise import rasterise

    scheme = grid_regions(101, 59, 3, 2)
    assert list(scheme) == ["r1c1", "r1c2", "r1c3", "r2c1", "r2c2", "r2c3"]
    assert (sum(rasterise([shape], 101, 59).astype(int) for shape in scheme.values()) == 1).all()
    with pytest.raises(ValueError, match="no 0x2 regions"):
        grid_regions(101, 59, 0, 2)
