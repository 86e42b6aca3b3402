"""Releases: what an analyst gets to see, and nothing else."""

from dataclasses import dataclass

Scalar = float | int | str | bool | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A released number with the noise that protects it.

    `noise_scale` is the Laplace scale b in the unit of the value, `interval95` the half-width of its 95 %
    interval (b * ln 20); both None where the value is public or the mechanism has no such scale.
    """

    value: Scalar
    noise_scale: float | None
    interval95: float | None
    epsilon: float


@dataclass(frozen=True, slots=True)
class Table:
    """The answer to one SELECT: column names, and rows of public keys and estimates."""

    select: int
    columns: tuple[str, ...]
    rows: tuple[tuple[Scalar | Estimate, ...], ...]
    epsilon: float


@dataclass(frozen=True, slots=True)
class Release:
    """The stored answer to one query. `values_only` says that the guarantee covers values only (timing: open)."""

    query: str
    released_us: int
    tables: tuple[Table, ...]
    values_only: bool
