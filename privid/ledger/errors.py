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

    `refusals` names every place. What would be admitted instead is set by whoever has planned the query with less:
    `admissible_epsilon_nano` for the whole window, `admissible_window` ([begin, end) in microseconds) for the whole
    epsilon.
    """

    said = "the budget is used up at"

    def __init__(
        self,
        refusals: Iterable[Refusal],
        admissible_epsilon_nano: int | None = None,
        admissible_window: tuple[int, int] | None = None,
    ) -> None:
        self.refusals = tuple(refusals)
        self.admissible_epsilon_nano = admissible_epsilon_nano
        self.admissible_window = admissible_window
        places = "; ".join(
            f"{refusal.camera} {_whole_seconds(refusal)}: "
            f"{epsilon(refusal.left_nano):g} left there, {epsilon(refusal.asked_nano):g} asked"
            for refusal in self.refusals
        )
        super().__init__(f"{self.said} {places}", self._advice())

    def instead(self, epsilon_nano: int | None, window: tuple[int, int] | None) -> "BudgetExceeded":
        """The same refusal with what would be admitted instead."""
        return BudgetExceeded(self.refusals, epsilon_nano, window)

    def _advice(self) -> str:
        found = []
        if self.admissible_epsilon_nano:
            found.append(f"epsilon {epsilon(self.admissible_epsilon_nano):g} would be admitted")
        if self.admissible_window:
            begin, end = map(isoformat, self.admissible_window)
            found.append(f"BEGIN {begin} END {end} would be admitted")
        return (
            "; or ".join([*found, "leave this time out"])
            if found
            else ("ask for less epsilon, or for a window that leaves this time out")
        )


class LimitExceeded(BudgetExceeded):
    """A query would take some presence period over its analyst's own limit (decision 0017)."""

    said = "your own limit is used up at"

    def __init__(
        self,
        refusals: Iterable[Refusal],
        limit_nano: int,
        admissible_epsilon_nano: int | None = None,
        admissible_window: tuple[int, int] | None = None,
    ) -> None:
        self.limit_nano = limit_nano
        super().__init__(refusals, admissible_epsilon_nano, admissible_window)

    def instead(self, epsilon_nano: int | None, window: tuple[int, int] | None) -> "LimitExceeded":
        """The same refusal with what would be admitted instead."""
        return LimitExceeded(self.refusals, self.limit_nano, epsilon_nano, window)

    def _advice(self) -> str:
        return f"{super()._advice()}; or ask the owner for more than {epsilon(self.limit_nano):g} of every moment"


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


class UnknownAnalyst(LedgerError):
    """Records of an analyst whom this installation does not have."""

    def __init__(self, analyst: str) -> None:
        super().__init__(f"there is no analyst {analyst!r}", "add them first: privid-admin analyst add")


class RecordDiffers(LedgerError):
    """A record of a query that this ledger knows with other charges."""

    def __init__(self, query_id: str) -> None:
        super().__init__(
            f"query {query_id!r} has other charges in this ledger than in the record",
            "one of the two was changed: compare both audit logs",
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


class PictureChanged(LedgerError):
    """Another picture under the name of a mask or a region scheme: what was promised under it would change."""

    def __init__(self, camera: str, kind: str, name: str) -> None:
        super().__init__(
            f"camera {camera!r} had another {kind} {name!r}: a picture never changes under its name",
            f"give the new one a new name, such as {name}_2",
        )


class LossTooLarge(LedgerError):
    """A loss beyond 2**63 - 1 nano-epsilon."""

    def __init__(self) -> None:
        super().__init__(
            "a loss of more than nine thousand million epsilon cannot be recorded", "choose smaller rho, K or segments"
        )
