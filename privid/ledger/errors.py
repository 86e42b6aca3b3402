"""What the ledger refuses. Every message says what to do; none depends on pixels."""

from collections.abc import Iterable

from privid.domain.units import SECOND, epsilon, isoformat
from privid.ledger.values import PolicyPreview, Refusal, State


class LedgerError(Exception):
    """A request that the ledger cannot carry out. `message` says what is wrong, `hint` what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}: {hint}")
        self.message = message
        self.hint = hint


def _whole_seconds(refusal: Refusal) -> str:
    """The span for people: edges lie a microsecond beside what anybody wrote."""
    begin, end = refusal.from_us // SECOND, -(-refusal.to_us // SECOND)
    return f"{isoformat(begin * SECOND)} to {isoformat(end * SECOND)}"


class BudgetExceeded(LedgerError):
    """A query would take some presence period over a camera's epsilon (privacy-model.md, section 5).

    `refusals` names every place; `admissible_epsilon_nano` is set by whoever has planned the query with less.
    """

    def __init__(self, refusals: Iterable[Refusal], admissible_epsilon_nano: int | None = None) -> None:
        self.refusals = tuple(refusals)
        self.admissible_epsilon_nano = admissible_epsilon_nano
        places = "; ".join(
            f"{refusal.camera} {_whole_seconds(refusal)}: "
            f"{epsilon(refusal.left_nano):g} left there, {epsilon(refusal.asked_nano):g} asked"
            for refusal in self.refusals
        )
        hint = "ask for less epsilon, or for a window that leaves this time out"
        if admissible_epsilon_nano:
            hint = f"epsilon {epsilon(admissible_epsilon_nano):g} would be admitted; or leave this time out"
        super().__init__(f"the budget is used up at {places}", hint)


class RequestIdReused(LedgerError):
    """An analyst's request id came back with another question."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"the request id {request_id!r} belongs to another query of yours",
            "choose a new request id for a new query",
        )


class PolicyChanged(LedgerError):
    """A query was planned under a version of a camera's policy that is no longer in force."""

    def __init__(self, camera: str, planned: int | None, current: int) -> None:
        super().__init__(
            f"the policy of camera {camera!r} changed from version {planned} to {current} since the query was planned",
            "submit it again",
        )


class UnknownCamera(LedgerError):
    """No camera of this name."""

    def __init__(self, camera: str) -> None:
        super().__init__(f"there is no camera {camera!r}", "see privid-admin camera list")


class NoPolicy(LedgerError):
    """A camera without a policy has no budget."""

    def __init__(self, camera: str) -> None:
        super().__init__(f"camera {camera!r} has no policy", f"set one with privid-admin policy set {camera}")


class UnknownMask(LedgerError):
    """A charge under a mask that the camera's policy does not have."""

    def __init__(self, camera: str, mask: str) -> None:
        super().__init__(
            f"camera {camera!r} has no mask {mask!r} in its current policy", "use one that it has, or none"
        )


class UnknownQuery(LedgerError):
    """No query of this id."""

    def __init__(self, query_id: str) -> None:
        super().__init__(f"there is no query {query_id!r}", "see privid list")


class NotCancellable(LedgerError):
    """A query that has its answer, has failed, or was cancelled before."""

    def __init__(self, query_id: str, state: State) -> None:
        super().__init__(f"query {query_id!r} is {state} and can no longer be cancelled", "nothing is left to do")


class IllegalTransition(LedgerError):
    """A step in a query's life that its state does not allow; tells the engine that its work is no longer wanted."""

    def __init__(self, reservation_id: str, state: State, wanted: State) -> None:
        super().__init__(f"query {reservation_id!r} is {state} and cannot become {wanted}", "drop the work on it")
        self.state = state


class StalePreview(LedgerError):
    """The policy or the spending changed between the preview and its confirmation."""

    def __init__(self, camera: str) -> None:
        super().__init__(
            f"the policy or the spending of camera {camera!r} is no longer what the preview showed",
            "look at a new preview and confirm that",
        )


class PolicyOverspent(LedgerError):
    """Under the new policy, what was spent already exceeds its epsilon, and nobody has confirmed that."""

    def __init__(self, preview: PolicyPreview) -> None:
        super().__init__(
            f"under this policy camera {preview.camera!r} has already spent {epsilon(preview.spent_nano):g} of its "
            f"{epsilon(preview.policy.epsilon_nano):g}, so its guarantee is {epsilon(preview.spent_nano):g}",
            "confirm that, or choose another policy",
        )
        self.preview = preview


class SchemeChanged(LedgerError):
    """A region scheme that weakens under its own name would make old charges too small."""

    def __init__(self, camera: str, scheme: str) -> None:
        super().__init__(
            f"camera {camera!r} has a region scheme {scheme!r} with other regions or a stronger boundary",
            "another scheme needs another name",
        )


class LossTooLarge(LedgerError):
    """A loss beyond 2**63 - 1 nano-epsilon."""

    def __init__(self) -> None:
        super().__init__(
            "a loss of more than nine thousand million epsilon cannot be recorded", "choose smaller rho, K or segments"
        )
