"""The ledger against a brute-force adversary in random small worlds (privacy-model.md, section 8)."""

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest
import sqlalchemy as sa

from privid.database.connect import open_database
from privid.database.transactions import reading
from privid.domain.budget import Charge, Grid, Loss
from privid.domain.policy import CameraPolicy
from privid.domain.units import NANO
from privid.ledger import BudgetExceeded
from privid.ledger.books import in_force
from privid.ledger.consistency import problems
from tests.support.adversary import Release, chunks_touched, random_loss, random_policy, worst_loss
from tests.support.ledgers import World

NAMES = (f"camera{number}" for number in count())


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    opened = open_database(tmp_path_factory.mktemp("ledger") / "privid.sqlite3")
    yield opened
    opened.dispose()


@pytest.fixture(scope="module")
def world(engine: sa.Engine) -> World:
    return World(engine)


class Play:
    """One random world of one or two cameras, and what its adversary knows."""

    def __init__(self, world: World, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = world
        self.policies = {next(NAMES): random_policy(self.rng) for _ in range(self.rng.randint(1, 2))}
        self.ever = {name: dict(policy.masks) for name, policy in self.policies.items()}
        for name, policy in self.policies.items():
            world.add_camera(name, policy)
        self.charged: dict[str, list[tuple[str, list[Release]]]] = {name: [] for name in self.policies}

    def query(self) -> None:
        charges = []
        for name, policy in self.policies.items():
            share = self.rng.choice([1, 2, 3, 5, 9])
            sources = self.rng.choice([1, 1, 2])
            losses = [random_loss(self.rng, policy, policy.epsilon_nano // share // sources) for _ in range(sources)]
            if enough := tuple(loss for loss in losses if loss is not None):
                charges.append(Charge(name, enough))
        try:
            reserved = self.world.reserve(*charges)
        except BudgetExceeded:
            return
        for charge in charges:
            policy = self.policies[charge.camera]
            found = [Release(loss, policy.under(loss.mask).rho_us) for loss in charge.losses]
            self.charged[charge.camera].append((reserved.query_id, found))
        if self.rng.random() < 0.2:
            self.world.ledger.cancel(reserved.query_id, actor="test")
            for name in self.charged:
                self.charged[name] = [pair for pair in self.charged[name] if pair[0] != reserved.query_id]

    def change_policy(self) -> None:
        name = self.rng.choice(sorted(self.policies))
        new = random_policy(self.rng)
        self.ever[name].update(new.masks)
        now = in_force(new, self.ever[name])
        preview = self.world.policies.preview(name, new)
        self.policies[name] = self.world.policies.put(name, new, actor="test", confirmed=preview)
        for _, releases in self.charged[name]:
            for release in releases:
                release.cap_holds = now[release.loss.mask].rho_us <= release.certified_us

    def releases(self, name: str) -> list[Release]:
        return [release for _, found in self.charged[name] for release in found]

    def worst(self, name: str) -> int:
        policy = self.policies[name]
        return worst_loss(policy, in_force(policy, self.ever[name]), self.releases(name))


def never_over_epsilon(world: World, seed: int) -> None:
    play = Play(world, seed)
    for _ in range(play.rng.randint(3, 9)):
        play.query()
    for name, policy in play.policies.items():
        spent = world.most_spent(name)
        assert play.worst(name) <= spent <= policy.epsilon_nano, f"seed {seed}"


def never_over_what_it_says_after_changes(world: World, seed: int) -> None:
    play = Play(world, seed)
    for _ in range(play.rng.randint(2, 4)):
        for _ in range(play.rng.randint(1, 3)):
            play.query()
        play.change_policy()
    for name in play.policies:
        assert play.worst(name) <= world.most_spent(name), f"seed {seed}"


def greedy_reaches_epsilon(world: World, seed: int) -> None:
    """The full budget wherever it fits, elsewhere what the refusal says is left: all of it can be reached."""
    rng = random.Random(seed)
    policy = replace(random_policy(rng, masks=False), epsilon_nano=rng.randint(500_000, 900_000))
    name = next(NAMES)
    world.add_camera(name, policy)
    releases = []
    for _ in range(12):
        loss = random_loss(rng, policy, policy.epsilon_nano)
        if loss is None or loss.cap is not None:
            continue
        if refused := world.ledger.would_admit([Charge(name, (loss,))]):
            loss = replace(loss, q=int(loss.q * min(refusal.share for refusal in refused)))
        world.reserve(Charge(name, (loss,)))
        releases.append(Release(loss, policy.rho_us))
    spent = world.most_spent(name)
    assert 0.99 * policy.epsilon_nano <= spent <= policy.epsilon_nano, f"seed {seed}"
    assert worst_loss(policy, in_force(policy, {}), releases) <= spent


@pytest.mark.parametrize("block", range(4))
def test_no_event_ever_loses_more_than_epsilon(world: World, block: int) -> None:
    for seed in range(block * 12, block * 12 + 12):
        never_over_epsilon(world, seed)


@pytest.mark.parametrize("block", range(3))
def test_after_changes_of_policy_no_event_loses_more_than_is_said_to_be_spent(world: World, block: int) -> None:
    for seed in range(block * 8, block * 8 + 8):
        never_over_what_it_says_after_changes(world, seed)


def test_greedy_workloads_reach_epsilon(world: World) -> None:
    for seed in range(12):
        greedy_reaches_epsilon(world, seed)


def test_the_books_balance_after_all_that(world: World) -> None:
    with reading(world.engine) as connection:
        assert problems(connection) == ()


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_two_thousand_worlds(world: World) -> None:
    for seed in range(1_000, 3_000):
        never_over_epsilon(world, seed)
    for seed in range(3_000, 3_500):
        never_over_what_it_says_after_changes(world, seed)
    for seed in range(3_500, 3_700):
        greedy_reaches_epsilon(world, seed)
    with reading(world.engine) as connection:
        assert problems(connection) == ()


@pytest.mark.parametrize("seed", range(30))
def test_two_windows_at_the_full_budget_fit_exactly_if_no_segment_touches_more_than_m_slots(
    world: World, seed: int
) -> None:
    rng = random.Random(seed)
    chunk = rng.randint(2, 5)
    policy = CameraPolicy(epsilon_nano=NANO, rho_us=chunk * rng.randint(1, 4), K=1)
    one = Grid(0, chunk, chunk, rng.randint(6, 9))
    other = replace(one, begin_us=one.end_us + rng.randint(-2 * chunk, chunk))
    most = one.touched_slots(policy.rho_us)
    together = max(
        len(chunks_touched(one, t, policy.rho_us)) + len(chunks_touched(other, t, policy.rho_us))
        for t in range(-policy.rho_us, other.end_us)
    )
    name = next(NAMES)
    world.add_camera(name, policy)
    loss = Loss("none", NANO // most, None, one)
    world.reserve(Charge(name, (loss,)))
    fits = not world.ledger.would_admit([Charge(name, (replace(loss, grid=other),))])
    assert fits == (together <= most)
    if other.begin_us <= one.end_us - 2:
        assert not fits
    if other.begin_us >= one.end_us:
        assert fits
