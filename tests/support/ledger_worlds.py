"""Random small worlds: an adversary uses the ledger, and then counts by brute force (privacy-model.md, section 8).

A world is some cameras with random policies, and an analyst who asks, repeats, starts and withdraws at random. What an
event can have lost is counted by `tests.support.adversary`, which shares no arithmetic with the ledger. Each kind of
world raises AssertionError with its seed where the ledger is wrong, and returns figures of what it did otherwise.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

from privid.domain.budget import Charge
from privid.domain.policy import CameraPolicy
from privid.ledger import BudgetExceeded
from privid.ledger.books import in_force
from tests.support.adversary import Release, random_loss, random_policy, random_series, worst_loss
from tests.support.ledgers import World

NAMES = (f"camera{number}" for number in count())


@dataclass
class Figures:
    """What happened in one world, or in many: sums of counts, and the extremes of two shares.

    `lost` is the largest share of epsilon that an event was found to lose, `spent` the smallest share that the ledger
    said was spent at most in a world (of interest where a workload means to use up all).
    """

    worlds: int = 1
    admitted: int = 0
    refused: int = 0
    refunded: int = 0
    changes: int = 0
    lost: float = 0.0
    spent: float = 1.0

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(
            self.worlds + other.worlds,
            self.admitted + other.admitted,
            self.refused + other.refused,
            self.refunded + other.refunded,
            self.changes + other.changes,
            max(self.lost, other.lost),
            min(self.spent, other.spent),
        )


class Play:
    """One random world of one to three cameras, and what its adversary knows."""

    def __init__(self, world: World, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = world
        self.figures = Figures()
        self.policies = {next(NAMES): random_policy(self.rng) for _ in range(self.rng.choice([1, 1, 1, 2, 2, 3]))}
        self.ever = {name: dict(policy.masks) for name, policy in self.policies.items()}
        for name, policy in self.policies.items():
            world.add_camera(name, policy)
        self.charged: dict[str, list[tuple[str, list[Release]]]] = {name: [] for name in self.policies}

    def act(self) -> None:
        """Ask something, and perhaps withdraw it."""
        if self.rng.random() < 0.3:
            self.series()
        else:
            self.query()

    def query(self) -> None:
        """One query of all cameras, with one or two sources on each."""
        charges = []
        for name, policy in self.policies.items():
            share = self.rng.choice([1, 2, 3, 5, 9])
            sources = self.rng.choice([1, 1, 2])
            losses = [random_loss(self.rng, policy, policy.epsilon_nano // share // sources) for _ in range(sources)]
            if enough := tuple(loss for loss in losses if loss is not None):
                charges.append(Charge(name, enough))
        query_id = self.reserve(charges)
        if query_id is not None and self.rng.random() < 0.3:
            self.withdraw(query_id)

    def series(self) -> None:
        """A standing query of one camera: windows side by side, all or none, withdrawn when some have started."""
        name = self.rng.choice(sorted(self.policies))
        policy = self.policies[name]
        windows = random_series(self.rng, policy, policy.epsilon_nano // self.rng.choice([1, 1, 2, 3]))
        alone = not self.charged[name]
        admitted = []
        for window in windows:
            query_id = self.reserve([Charge(name, (window,))])
            if query_id is None:
                # Windows of one grid compose in parallel: where nothing else is, all of them fit.
                assert not alone, f"a series that is alone on its camera does not fit: {windows}"
                break
            admitted.append(query_id)
        if len(admitted) < len(windows) or self.rng.random() < 0.3:
            for query_id in admitted:
                self.withdraw(query_id)

    def reserve(self, charges: list[Charge]) -> str | None:
        """The id of a query that was admitted."""
        try:
            reserved = self.world.reserve(*charges)
        except BudgetExceeded:
            self.figures.refused += 1
            return None
        self.figures.admitted += 1
        for charge in charges:
            policy = self.policies[charge.camera]
            found = [Release(loss, policy.under(loss.mask).rho_us) for loss in charge.losses]
            self.charged[charge.camera].append((reserved.query_id, found))
        return reserved.query_id

    def withdraw(self, query_id: str) -> None:
        """Cancel, or fail, before or after the start; only before it may anything be returned."""
        started = self.rng.random() < 0.5
        if started:
            self.world.ledger.start(query_id)
        if self.rng.random() < 0.7:
            self.world.ledger.cancel(query_id, actor="test")
        else:
            self.world.ledger.fail(query_id, "test")
        if started:
            return
        self.figures.refunded += 1
        for name in self.charged:
            self.charged[name] = [pair for pair in self.charged[name] if pair[0] != query_id]

    def change_policy(self) -> None:
        """The owner confirms whatever the new policy means."""
        name = self.rng.choice(sorted(self.policies))
        new = random_policy(self.rng)
        self.ever[name].update(new.masks)
        now = in_force(new, self.ever[name])
        preview = self.world.policies.preview(name, new)
        self.policies[name] = self.world.policies.put(name, new, actor="test", confirmed=preview)
        self.figures.changes += 1
        for _, releases in self.charged[name]:
            for release in releases:
                release.cap_holds = release.cap_holds and now[release.loss.mask].rho_us <= release.certified_us

    def worst(self, name: str) -> int:
        """The most that the search finds an event to have lost on this camera."""
        policy = self.policies[name]
        releases = [release for _, found in self.charged[name] for release in found]
        return worst_loss(policy, in_force(policy, self.ever[name]), releases)

    def compare(self, name: str) -> tuple[int, int]:
        """What an event loses and what the ledger says is spent; the first is never more."""
        lost, spent = self.worst(name), self.world.most_spent(name)
        assert lost <= spent, f"an event loses {lost}, the ledger says that at most {spent} is spent"
        epsilon = self.policies[name].epsilon_nano
        self.figures.lost = max(self.figures.lost, lost / epsilon)
        self.figures.spent = min(self.figures.spent, spent / epsilon)
        return lost, spent


def never_over_epsilon(world: World, seed: int) -> Figures:
    """Queries and series at random: nobody ever loses more than epsilon."""
    play = Play(world, seed)
    try:
        for _ in range(play.rng.randint(3, 9)):
            play.act()
        for name, policy in play.policies.items():
            _, spent = play.compare(name)
            assert spent <= policy.epsilon_nano, f"{spent} is spent of {policy.epsilon_nano}"
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error
    return play.figures


def never_over_what_it_says(world: World, seed: int) -> Figures:
    """With changes of policy between them, which may leave more spent than epsilon: never more than the ledger says."""
    play = Play(world, seed)
    try:
        for _ in range(play.rng.randint(2, 4)):
            for _ in range(play.rng.randint(1, 3)):
                play.act()
            play.change_policy()
        for name in play.policies:
            play.compare(name)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error
    return play.figures


def greedy_reaches_epsilon(world: World, seed: int) -> Figures:
    """The full budget wherever it fits, elsewhere what the refusal says is left: without masks all of it is reached."""
    play = Play(world, seed)
    policy: CameraPolicy = replace(
        random_policy(play.rng, masks=False), epsilon_nano=play.rng.randint(500_000, 900_000)
    )
    name = next(NAMES)
    world.add_camera(name, policy)
    play.policies, play.ever, play.charged = {name: policy}, {name: {}}, {name: []}
    for _ in range(12):
        loss = random_loss(play.rng, policy, policy.epsilon_nano)
        if loss is None or loss.cap is not None:
            continue
        if refused := world.ledger.would_admit([Charge(name, (loss,))]):
            loss = replace(loss, q=int(loss.q * min(refusal.share for refusal in refused)))
        assert play.reserve([Charge(name, (loss,))]) is not None, f"seed {seed}: what is left is not admitted"
    _, spent = play.compare(name)
    assert 0.99 * policy.epsilon_nano <= spent <= policy.epsilon_nano, f"seed {seed}: {spent}"
    return play.figures


KINDS: dict[str, Callable[[World, int], Figures]] = {
    "queries and series": never_over_epsilon,
    "with changes of policy": never_over_what_it_says,
    "greedy, one mask": greedy_reaches_epsilon,
}
"""Each kind of world by what it is called in docs/results/ledger_adversary.md."""
