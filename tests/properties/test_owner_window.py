"""The window that a refusal offers is the largest that the admission rule takes, against every window there is."""

from hypothesis import given, settings
from hypothesis import strategies as st

from privid.domain.budget import Charge, Grid, Loss
from privid.domain.intervals import StepFunction
from privid.domain.policy import CameraPolicy, MaskPolicy
from privid.ledger import admission
from privid.ledger.books import Book, in_force
from privid.ledger.fitting import Account, largest_window, least_chunks

EPSILON = 1000
MASKS = st.sampled_from(["none", "benches"])


@st.composite
def books(draw):
    rho = draw(st.integers(1, 30))
    benches = MaskPolicy(draw(st.integers(1, rho)), draw(st.integers(1, 2)))
    policy = CameraPolicy(EPSILON, rho, draw(st.integers(1, 2)), masks={"benches": benches})
    return Book(1, "plaza", policy, in_force(policy, {}))


def loss(book, mask, epsilon, grid):
    terms = book.terms[mask]
    return Loss(mask, epsilon // (book.weight(mask) * grid.touched_slots(terms.rho_us)), None, grid)


@st.composite
def worlds(draw):
    """A camera's book, what earlier queries took, and a query of one or two releases over up to 40 chunks."""
    book = draw(books())
    stored = []
    for _ in range(draw(st.integers(0, 5))):
        chunk = draw(st.integers(1, 12))
        grid = Grid(draw(st.integers(0, 300)), chunk, chunk + draw(st.integers(0, 4)), draw(st.integers(1, 20)))
        stored.append(loss(book, draw(MASKS), draw(st.integers(1, EPSILON)), grid))
    chunk = draw(st.integers(1, 12))
    grid = Grid(draw(st.integers(0, 60)), chunk, chunk + draw(st.integers(0, 4)), draw(st.integers(1, 40)))
    shares = draw(st.lists(st.integers(100, EPSILON), min_size=1, max_size=2))
    asked = Charge("plaza", tuple(loss(book, draw(MASKS), share // len(shares), grid) for share in shares))
    return book, admission.weigh(book, stored), grid, asked


def admitted(book, stored, charge):
    def read(mask, _from, _to):
        return stored.get(mask, StepFunction())

    return not list(admission.refusals(book, charge, admission.weigh(book, charge.losses), read))


def part(charge, grid, first, end):
    cut = Grid(grid.begin_us + first * grid.period_us, grid.chunk_us, grid.period_us, end - first)
    return Charge(charge.camera, tuple(Loss(loss.mask, loss.q, loss.cap, cut) for loss in charge.losses))


@settings(max_examples=400, deadline=None)
@given(worlds())
def test_it_is_the_longest_that_is_admitted(world):
    book, stored, grid, asked = world
    least = least_chunks(grid, book.policy.rho_us)
    fitting = [
        (end - first, -first)
        for first in range(grid.count)
        for end in range(first + least, grid.count + 1)
        if admitted(book, stored, part(asked, grid, first, end))
    ]
    found = largest_window(grid, [Account(book, asked, stored)])
    if not fitting:
        assert found is None
        return
    assert found is not None
    first = (found[0] - grid.begin_us) // grid.period_us
    end = (found[1] - grid.begin_us - grid.chunk_us) // grid.period_us + 1
    assert end - first == max(fitting)[0]
    assert admitted(book, stored, part(asked, grid, first, end))
    assert first == 0 or not admitted(book, stored, part(asked, grid, first - 1, end))
    assert end == grid.count or not admitted(book, stored, part(asked, grid, first, end + 1))


@settings(max_examples=100, deadline=None)
@given(worlds(), worlds())
def test_every_account_has_to_admit_it(one, other):
    book, stored, grid, asked = one
    _, others, _, _ = other
    found = largest_window(grid, [Account(book, asked, stored), Account(book, asked, others)])
    for account in (stored, others):
        alone = largest_window(grid, [Account(book, asked, account)])
        if found is not None:
            assert alone is not None
            assert alone[1] - alone[0] >= found[1] - found[0]
            first = (found[0] - grid.begin_us) // grid.period_us
            end = (found[1] - grid.begin_us - grid.chunk_us) // grid.period_us + 1
            assert admitted(book, account, part(asked, grid, first, end))
