"""When a camera's recorder counts as healthy."""

import pytest

from privid.ingest.state import CameraState


@pytest.mark.parametrize(
    ("phase", "has_failed", "is_healthy"),
    [
        ("starting", False, True),
        ("connecting", False, True),
        ("recording", False, True),
        ("recording", True, True),
        ("connecting", True, False),  # else a camera that is away would look well for each attempt's timeout
        ("waiting", True, False),
        ("waiting", False, False),
        ("stopped", False, False),
    ],
)
def test_health(phase, has_failed, is_healthy):
    state = CameraState("gate", "rtsp")
    if has_failed:
        state.failed("killed")
    state.enter(phase, 1)
    assert state.is_healthy == is_healthy
    assert state.as_json()["healthy"] == is_healthy
    state.store_error = "cannot store"
    assert not state.is_healthy
