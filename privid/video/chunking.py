"""Cutting a window into chunks (privacy-model.md, section 1, "Slots")."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chunk:
    """The half-open interval [begin_us, end_us) of one chunk, and its number in the window."""

    index: int
    begin_us: int
    end_us: int


def chunk_count(begin_us: int, end_us: int, chunk_us: int, period_us: int) -> int:
    """How many whole chunks fit: [begin + i*period, begin + i*period + chunk) with its end at most `end_us`.

    Raises ValueError unless 0 < chunk <= period.
    """
    if not 0 < chunk_us <= period_us:
        raise ValueError("a chunk must be longer than nothing and no longer than the period")
    return max(0, (end_us - begin_us - chunk_us) // period_us + 1)


def chunks(begin_us: int, end_us: int, chunk_us: int, period_us: int) -> tuple[Chunk, ...]:
    """The chunks of [begin_us, end_us), in order. All times in microseconds."""
    starts = (begin_us + i * period_us for i in range(chunk_count(begin_us, end_us, chunk_us, period_us)))
    return tuple(Chunk(i, start, start + chunk_us) for i, start in enumerate(starts))
