"""The Makefile, the CI script and the rules of the test run itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("demo", "test", "check", "soak", "lint", "types", "bench", "protos", "docs", "docker-check")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Make hands its own variables down: these tests may themselves have been started by one.
    outer = ("MAKE", "MFLAGS", "EXTRAS", "PYTEST_ARGS", "VENV", "JOBS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("target", TARGETS)
def test_make_has_the_target_and_everything_that_it_calls(target: str, tmp_path: Path) -> None:
    done = make("-n", target, f"VENV={tmp_path}/venv")
    assert done.returncode == 0, done.stderr
    scripts = [word for word in done.stdout.split() if word.endswith(".py") and not word.startswith("/")]
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


def test_make_without_a_target_lists_them_all() -> None:
    listing = make().stdout
    assert [target for target in TARGETS if f"make {target} " not in listing] == []


def test_a_new_environment_gets_what_its_target_needs(tmp_path: Path) -> None:
    assert "-e '.'" in make("-n", "demo", f"VENV={tmp_path}/venv").stdout
    assert "-e '.[dev]'" in make("-n", "test", f"VENV={tmp_path}/venv").stdout
    everything = make("-n", "test", "EXTRAS=all", f"VENV={tmp_path}/venv").stdout
    assert "-e '.[dev,detectors,vision,postgres,s3,cluster]'" in everything


def test_no_folder_of_tests_is_left_out(tmp_path: Path) -> None:
    folders = {path.relative_to(ROOT).parts[1] for path in (ROOT / "tests").rglob("test_*.py")}
    run = [word for word in make("-n", "test", f"VENV={tmp_path}/venv").stdout.split() if word.startswith("tests/")]
    assert sorted(run) == sorted(set(run))
    assert {f"tests/{folder}" for folder in folders} <= set(run)


def test_an_installed_environment_is_not_installed_again(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("bin/python", ".installed", ".installed-dev", ".installed-all"):
        (tmp_path / name).touch()
    for arguments in (["demo"], ["test"], ["test", "EXTRAS=all"]):
        assert "pip install" not in make("-n", *arguments, f"VENV={tmp_path}").stdout


def test_the_ci_script_is_executable_and_stops_at_the_first_error() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0


def run_pytest(folder: Path, *arguments: str, ci: str = "") -> subprocess.CompletedProcess[str]:
    """Run the tests of `folder` under this repository's conftest."""
    (folder / "tests" / "unit").mkdir(parents=True, exist_ok=True)
    (folder / "tests" / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    environment = {"PATH": os.environ["PATH"], "CI": ci, "PRIVID_TEST_DATA": str(folder / "nothing-here")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
    )


def write_test(folder: Path, text: str) -> None:
    (folder / "tests" / "unit").mkdir(parents=True, exist_ok=True)
    (folder / "tests" / "unit" / "test_sample.py").write_text(f"import pytest\n{text}")


def test_a_skip_is_a_failure_in_ci_only(tmp_path: Path) -> None:
    write_test(tmp_path, "def test_a():\n    pytest.skip('no such part')\n")
    assert run_pytest(tmp_path).returncode == 0
    strict = run_pytest(tmp_path, ci="true")
    assert strict.returncode == 1
    assert "no such part" in strict.stdout
    assert run_pytest(tmp_path, "--no-skips").returncode == 1


def test_a_module_that_skips_itself_is_a_failure_in_ci(tmp_path: Path) -> None:
    write_test(tmp_path, "pytest.importorskip('no_such_module')\ndef test_a():\n    pass\n")
    assert run_pytest(tmp_path, ci="true").returncode != 0


def test_real_data_is_skipped_with_its_reason_where_the_folder_is_missing(tmp_path: Path) -> None:
    write_test(tmp_path, "@pytest.mark.real_data\ndef test_a():\n    raise SystemExit\n")
    done = run_pytest(tmp_path)
    assert done.returncode == 0
    assert "set PRIVID_TEST_DATA" in done.stdout
    assert run_pytest(tmp_path, ci="true").returncode == 1


def test_slow_tests_run_with_soak_only(tmp_path: Path) -> None:
    write_test(tmp_path, "@pytest.mark.slow\ndef test_a():\n    pass\ndef test_b():\n    pass\n")
    assert "1 passed, 1 deselected" in run_pytest(tmp_path).stdout
    assert "1 passed, 1 deselected" in run_pytest(tmp_path, "--soak", "-m", "slow").stdout
    assert "2 passed" in run_pytest(tmp_path, "--soak").stdout
