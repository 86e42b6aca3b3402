"""The budget ledger: admission, reservations, releases."""
