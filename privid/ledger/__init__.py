"""The privacy budget: admission, reservations, policies over time, and the audit log (privacy-model.md, section 5)."""

from privid.ledger.errors import (
    BudgetExceeded,
    IllegalTransition,
    LedgerError,
    LossTooLarge,
    NoPolicy,
    NotCancellable,
    PolicyChanged,
    PolicyOverspent,
    RequestIdReused,
    SchemeChanged,
    StalePreview,
    UnknownCamera,
    UnknownMask,
    UnknownQuery,
)
from privid.ledger.ledger import Ledger
from privid.ledger.policies import Policies
from privid.ledger.values import (
    Cancelled,
    PolicyPreview,
    QueryRecord,
    Refusal,
    Reservation,
    Reserved,
    Span,
    State,
    Work,
)

__all__ = [
    "BudgetExceeded",
    "Cancelled",
    "IllegalTransition",
    "Ledger",
    "LedgerError",
    "LossTooLarge",
    "NoPolicy",
    "NotCancellable",
    "Policies",
    "PolicyChanged",
    "PolicyOverspent",
    "PolicyPreview",
    "QueryRecord",
    "Refusal",
    "RequestIdReused",
    "Reservation",
    "Reserved",
    "SchemeChanged",
    "Span",
    "StalePreview",
    "State",
    "UnknownCamera",
    "UnknownMask",
    "UnknownQuery",
    "Work",
]
