"""An owner's stronger walls, and the strictest timing, through the real programs."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from privid.client import CallFailed
from privid.testing.system import LocalSystem
from tests.support.minute import COUNT_FRAMES, PLENTY, POLICY, query
from workers.host.backends import BACKENDS

COUNT_IN_C = """
#include <stdio.h>
#include <sys/stat.h>
int main(void)
{
    struct stat frames;
    if (fstat(3, &frames) != 0) return 1;
    printf("{\\"n\\":%g}\\nend\\n", frames.st_size / (96 * 160 * 3 * 20.0));
    return 0;
}
"""


def apply(system: LocalSystem, folder: Path, timing: str, isolation: str) -> None:
    text = POLICY.format(epsilon=4 * PLENTY, timing=timing) + f'isolation = "{isolation}"\n'
    (folder / "stronger.toml").write_text(text)
    system.run("privid-admin", "policy", "apply", folder / "stronger.toml", "--yes")


def test_detectors_in_python_and_in_c_under_exec(install: Callable[..., LocalSystem], tmp_path: Path) -> None:
    if missing := BACKENDS["exec"].missing():
        pytest.skip(missing)
    system = install(timing="open")
    apply(system, tmp_path, "open", "exec")
    (tmp_path / "count.c").write_text(COUNT_IN_C)
    subprocess.run(["cc", "-static", "-o", tmp_path / "count", tmp_path / "count.c"], check=True)
    with system.client(system.add_analyst("alice", "plaza")) as client:
        client.upload("frames.py", COUNT_FRAMES)
        client.upload("count", (tmp_path / "count").read_bytes())
        for name in ("frames.py", "count"):
            (process,) = client.explain(query(name, timeout="5sec", epsilon=str(PLENTY)))["processes"]
            assert (process["executable"], process["isolation"], process["backend"]) == (name, "exec", "exec")
            submitted = client.submit(query(name, timeout="5sec", epsilon=str(PLENTY))).query
            *_, last = client.watch(submitted.id)
            assert last.query.state == "released"
            assert client.result(submitted.id).tables[0].rows[0][0].value == pytest.approx(30, abs=0.5)
        with pytest.raises(CallFailed) as refused:
            client.submit(query(timeout="200ms"))
        assert refused.value.code == "cannot_enforce"


def test_strict_timing_is_kept_and_not_refused(install: Callable[..., LocalSystem], tmp_path: Path) -> None:
    system = install()
    apply(system, tmp_path, "strict", "fork")
    with system.client(system.add_analyst("alice", "plaza")) as client:
        client.upload("frames.py", COUNT_FRAMES)
        submitted = client.submit(query(epsilon=str(PLENTY))).query
        *_, last = client.watch(submitted.id)
        assert last.query.state == "released"
        assert last.now_us >= submitted.visible_us
        assert client.result(submitted.id).tables[0].rows[0][0].value == pytest.approx(30, abs=0.5)
