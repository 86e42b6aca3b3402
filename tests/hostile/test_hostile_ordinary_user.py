"""The same attacks with the workers started by an ordinary user: no root anywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SUITES = ("test_hostile_attacks.py", "test_hostile_results.py", "test_hostile_state.py")


def _run_as_nobody(chosen: str, *options: str) -> None:
    if os.geteuid() != 0:
        return  # then everything beside this test has run as one
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-k", chosen]
    command = [sys.executable, HERE / "as_nobody.py", *tests, *options, *(str(HERE / name) for name in SUITES)]
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    done = subprocess.run(command, cwd=HERE.parents[1], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("backend", ["fork", pytest.param("exec", marks=pytest.mark.slow)])
def test_all_attacks_are_stopped_for_an_ordinary_user_too(backend: str) -> None:
    _run_as_nobody(backend)


@pytest.mark.timeout(900)
def test_attacks_are_stopped_for_an_ordinary_user_under_a_kernel_of_their_own() -> None:
    _run_as_nobody("oci")  # many attacks in each guest; what is slow is left out


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_attacks_are_stopped_for_an_ordinary_user_under_a_kernel_of_their_own() -> None:
    _run_as_nobody("oci", "--soak")
