"""What all tests share: the options, the markers, and the rule that nothing is skipped where everything is there.

- `slow` tests are left out unless `--soak` is given (`make soak`).
- `real_data` tests need the folder of clips named by PRIVID_TEST_DATA (default: ../shared/data beside the
  repository); `vision` and `detectors` tests need the extras of those names. Without them they are skipped, with the
  reason.
- With `--no-skips`, or where CI=true, a skip is a failure: a test that silently stops running protects nobody.
"""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SLOW_SECONDS = 7_200
"""After which a slow test is taken to hang, unless it says so itself."""
TEST_DATA = Path(os.environ.get("PRIVID_TEST_DATA") or REPOSITORY.parent / "shared" / "data")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("privid")
    group.addoption("--soak", action="store_true", help="also collect the tests marked slow")
    group.addoption(
        "--no-skips",
        action="store_true",
        default=os.environ.get("CI", "").lower() in ("1", "true"),
        help="a skipped test is a failure (the default where CI=true)",
    )


def _missing(item: pytest.Item) -> str | None:
    if item.get_closest_marker("real_data") and not (TEST_DATA / "clips").is_dir():
        return f"no clips at {TEST_DATA}; set PRIVID_TEST_DATA to the folder of test data"
    if item.get_closest_marker("vision") and not all(
        importlib.util.find_spec(name) for name in ("torch", "torchvision", "ultralytics")
    ):
        return "the extra 'vision' is not installed; try: make test EXTRAS=all"
    if item.get_closest_marker("detectors") and not all(
        importlib.util.find_spec(name) for name in ("onnxruntime", "trackers")
    ):
        return "the extra 'detectors' is not installed; try: make test EXTRAS=all"
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--soak"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        if slow:
            config.hook.pytest_deselected(items=slow)
            items[:] = [item for item in items if not item.get_closest_marker("slow")]
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))
        if reason := _missing(item):
            item.add_marker(pytest.mark.skip(reason=reason))


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: {reason}\n(nothing may be skipped here: see --no-skips)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: pytest.TestReport = yield
    if item.config.getoption("--no-skips"):
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    report: pytest.CollectReport = yield
    if collector.config.getoption("--no-skips"):
        _fail_if_skipped(report)
    return report


@pytest.fixture(scope="session", autouse=True)
def _no_installation_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the data directory, the server address or the token of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PRIVID_") and name != "PRIVID_TEST_DATA"]:
            patch.delenv(name)
        patch.setenv("PRIVID_HOME", str(tmp_path_factory.mktemp("privid-home")))
        yield


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of test clips and models; for tests marked `real_data`."""
    return TEST_DATA


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return REPOSITORY
