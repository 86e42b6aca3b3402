"""A real installation on loopback with a minute of numbered frames from one camera."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from privid.testing.system import LocalSystem
from privid.testing.video import write_clip
from tests.support.minute import POLICY, START

Installer = Callable[..., LocalSystem]


def installer(folder: Path, clip: Path) -> Iterator[Installer]:
    """Makes an installation with the camera `plaza`; give its policy's epsilon and timing."""
    made: list[LocalSystem] = []

    def install(epsilon: float = 1.0, timing: str = "slotted") -> LocalSystem:
        system = LocalSystem(folder / "home", log_level="debug")
        made.append(system)
        system.start()
        policy = folder / "policy.toml"
        policy.write_text(POLICY.format(epsilon=epsilon, timing=timing))
        system.run("privid-admin", "camera", "add", "plaza")
        system.run("privid-admin", "policy", "apply", policy, "--yes")
        system.run("privid-ingest", "import", clip, "--camera", "plaza", "--start", START)
        return system

    yield install
    for system in made:
        system.stop()


@pytest.fixture(scope="module")
def module_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=600, gop=50)


@pytest.fixture
def install(tmp_path: Path, module_clip: Path) -> Iterator[Installer]:
    yield from installer(tmp_path, module_clip)


@pytest.fixture(scope="module")
def module_install(tmp_path_factory: pytest.TempPathFactory, module_clip: Path) -> Iterator[Installer]:
    yield from installer(tmp_path_factory.mktemp("system"), module_clip)
