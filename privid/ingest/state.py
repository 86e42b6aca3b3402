"""What each recorder is doing, for status, health and metrics; written by its thread, read by others."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Phase = Literal["starting", "connecting", "recording", "waiting", "stopped"]


@dataclass(slots=True)
class CameraState:
    """One camera's recorder. Counts are since the daemon started; nothing in it names an address.

    `reason` is why there is no video, while there is none. `lag_us`: how long ago the last packet arrived, is computed
    by who asks, from `last_packet_us`. `offset_us`: recorded time less clock time.
    """

    camera: str
    source: str
    phase: Phase = "starting"
    reason: str | None = None
    since_us: int = 0
    last_packet_us: int | None = None
    recorded_until_us: int | None = None
    offset_us: int = 0
    packets: int = 0
    frames: int = 0
    received_bytes: int = 0
    stored_bytes: int = 0
    segments: int = 0
    connections: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    gaps: int = 0
    unpublished: int = 0
    conflicts: int = 0
    store_error: str | None = None

    def enter(self, phase: Phase, now_us: int, reason: str | None = None) -> None:
        """Begin something else."""
        self.phase, self.reason, self.since_us = phase, reason, now_us

    def failed(self, reason: str) -> None:
        """Count a failure."""
        self.failures = {**self.failures, reason: self.failures.get(reason, 0) + 1}  # readers keep the old one

    @property
    def is_healthy(self) -> bool:
        """Video comes in and is kept, or is about to for the first time.

        Who connects again after a failure is not healthy until video comes: each attempt may take its whole timeout.
        """
        is_beginning = self.phase in ("starting", "connecting") and not self.failures
        return (self.phase == "recording" or is_beginning) and self.store_error is None

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return {**asdict(self), "healthy": self.is_healthy}
