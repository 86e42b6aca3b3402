"""An owner's stronger walls, and the strictest timing, through the real programs."""

import io
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from privid.client import CallFailed
from privid.testing.system import LocalSystem
from tests.support.minute import COUNT_FRAMES, PLENTY, POLICY, query
from workers import bundle
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

WITH_TORCH = 'entry = "main.py"\nlibraries = ["numpy", "torch"]\n'


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


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


@pytest.mark.vision
def test_under_exec_a_detector_with_torch_is_told_of_the_longer_timeout_that_it_needs(
    install: Callable[..., LocalSystem], tmp_path: Path
) -> None:
    if missing := BACKENDS["exec"].missing():
        pytest.skip(missing)
    system = install(timing="open")
    apply(system, tmp_path, "open", "exec")
    with system.client(system.add_analyst("alice", "plaza")) as client:
        client.upload("with-torch", bundle.read(zipped({"privid.toml": WITH_TORCH, "main.py": COUNT_FRAMES})).pack())
        with pytest.raises(CallFailed) as refused:
            client.submit(query("with-torch", timeout="5sec"))
        assert (refused.value.code, refused.value.hint) == ("cannot_enforce", "give a TIMEOUT of at least 10sec")


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
