"""Executables that are not Python: a program of a single file, in a fresh process of its own."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.hostile.arena import DEFAULT, SHAPE, make_slot, require
from workers import wire
from workers.host.backends import BACKENDS, Name
from workers.host.feeder import Slot
from workers.host.pool import ExecutableSpec, LocalPool, Run

EXAMPLE = Path(__file__).parents[2] / "examples" / "programs" / "brightness.c"
BRIGHTNESS = wire.TableSpec((wire.ColumnSpec("brightness", "NUMBER", -1),), 1)
FRESH = [name for name in BACKENDS if name != "fork"]

# What it was given and what it may do; then whatever its first fact, the camera's name, asks for.
CURIOUS = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
    char facts[4096] = {0};
    if (read(0, facts, sizeof facts - 1) <= 0) return 1;
    fprintf(stderr, "%s", facts);
    if (strstr(facts, "\"spin\"")) for (;;) ;
    if (strstr(facts, "\"crash\"")) abort();
    char got[512] = {0};
    for (int fd = 0; fd < 256; fd++) { struct stat s; if (fstat(fd, &s) == 0) sprintf(got + strlen(got), "%d ", fd); }
    if (socket(AF_INET, SOCK_STREAM, 0) >= 0 || socket(AF_VSOCK, SOCK_STREAM, 0) >= 0) strcat(got, "socket ");
    if (fork() >= 0) strcat(got, "fork ");
    if (open("/left", O_CREAT | O_WRONLY, 0600) >= 0) strcat(got, "file ");
    if (open("/etc/passwd", O_RDONLY) >= 0 || open("/proc", O_RDONLY) >= 0) strcat(got, "host ");
    if (memfd_create("left", 0) >= 0) strcat(got, "memfd ");
    if (mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0) != MAP_FAILED) strcat(got, "frames ");
    if (write(3, "x", 1) > 0 || pwrite(3, "x", 1, 0) > 0) strcat(got, "overwritten ");
    if (malloc(1l << 30) != NULL) strcat(got, "memory ");
    char *const again[] = {"/bin/true", NULL};
    if (execve("/bin/true", again, environ) == 0) strcat(got, "exec ");
    struct stat frames;
    fstat(3, &frames);
    const unsigned char *bytes = mmap(0, frames.st_size, PROT_READ, MAP_PRIVATE, 3, 0);
    printf("{\"verdict\":\"%s\",\"value\":%d,\"flag\":%s}\nend\n", got, bytes[0], argc == 1 ? "true" : "false");
    return 0;
}
"""


def build(source: str, folder: Path) -> bytes:
    (folder / "program.c").write_text(source)
    command = ["cc", "-O1", "-static", "-o", str(folder / "program"), str(folder / "program.c")]
    subprocess.run(command, check=True)
    return (folder / "program").read_bytes()


@pytest.mark.parametrize("backend", FRESH)
def test_the_example_in_c_counts_what_its_frames_hold(backend: Name, tmp_path: Path) -> None:
    require(backend)
    spec = ExecutableSpec("0" * 64, build(EXAMPLE.read_text(), tmp_path), BRIGHTNESS, 5_000_000)
    rows: dict[int, tuple[wire.Row, ...]] = {}
    slots = [make_slot(0, "c", value=7), make_slot(1, "c", value=9)]
    slots.append(Slot(2, None, 0, 48, 64, 3, (), 0, 1, "c", "", 4.0))
    with LocalPool(spec, "open", (0,), backend=backend) as pool:
        pool.run(iter(slots), 3, rows.__setitem__)
    assert rows == {0: ((7.0,),), 1: ((9.0,),), 2: ((0.0,),)}


@pytest.mark.parametrize("backend", FRESH)
def test_a_program_has_its_facts_and_frames_and_nothing_else(backend: Name, tmp_path: Path) -> None:
    require(backend)
    columns = (
        wire.ColumnSpec("verdict", "STRING", "default"),
        wire.ColumnSpec("value", "NUMBER", -1),
        wire.ColumnSpec("flag", "BOOLEAN", False),
    )
    source = build(CURIOUS, tmp_path)
    spec = ExecutableSpec("0" * 64, source, wire.TableSpec(columns, 1), 3_000_000, memory_bytes=96 * 2**20)
    rows: dict[int, tuple[wire.Row, ...]] = {}
    runs: dict[int, Run] = {}
    cameras = ("look", "spin", "crash", "look")
    with LocalPool(
        spec, "open", (0,), backend=backend, log_bytes=4096, on_run=lambda run: runs.update({run.index: run})
    ) as pool:
        pool.run((make_slot(i, camera, value=i + 1) for i, camera in enumerate(cameras)), 4, rows.__setitem__)
    assert rows == {0: (("0 1 2 3 ", 1.0, True),), 1: (DEFAULT,), 2: (DEFAULT,), 3: (("0 1 2 3 ", 4.0, True),)}
    assert [runs[i].fault for i in range(4)] == [None, "timed out", "crashed", None]
    facts = json.loads(runs[3].log)
    assert (facts["camera"], facts["frame_count"], facts["height"], facts["width"]) == ("look", *SHAPE[:3])
    assert facts["times_us"] == list(range(SHAPE[0]))


# The newest of all times of its facts and frames before it has read any, and the newest but that of the last change.
TIMES = r"""
#include <stdio.h>
#include <sys/stat.h>

static long long nanoseconds(struct timespec t) { return t.tv_sec * 1000000000ll + t.tv_nsec; }

int main(void)
{
    struct stat facts, frames;
    if (fstat(0, &facts) || fstat(3, &frames)) return 1;
    printf("{\"changed\":\"%lld\",\"frames\":\"%lld\",\"others\":%lld}\nend\n", nanoseconds(facts.st_ctim),
           nanoseconds(frames.st_ctim), nanoseconds(facts.st_atim) + nanoseconds(facts.st_mtim)
           + nanoseconds(frames.st_atim) + nanoseconds(frames.st_mtim));
    return 0;
}
"""


@pytest.mark.parametrize("backend", ["exec", pytest.param("oci", marks=pytest.mark.slow)])
def test_a_program_cannot_see_how_long_its_own_start_took(backend: Name, tmp_path: Path) -> None:
    """Its facts and frames are made in that start, long before it is told to go."""
    require(backend)
    columns = (
        wire.ColumnSpec("changed", "STRING", ""),
        wire.ColumnSpec("frames", "STRING", ""),
        wire.ColumnSpec("others", "NUMBER", -1),
    )
    timeout_us = BACKENDS[backend].least_timeout_us * 2
    spec = ExecutableSpec("0" * 64, build(TIMES, tmp_path), wire.TableSpec(columns, 1), timeout_us)
    rows: dict[int, tuple[wire.Row, ...]] = {}
    runs: list[Run] = []
    start_ns = time.monotonic_ns() + timeout_us * 1000 + 2_000_000_000
    with LocalPool(spec, "slotted", (0,), backend=backend, on_run=runs.append) as pool:
        pool.run(iter([make_slot(0, "c")]), 1, rows.__setitem__, start_ns=start_ns)
    started_ns = runs[0].started_ns + time.time_ns() - time.monotonic_ns()
    tick_ns = 50_000_000
    changed, frames, others = rows[0][0]
    assert int(str(changed)) > started_ns - tick_ns
    assert int(str(frames)) > started_ns - tick_ns
    assert others == 0


def test_a_program_is_no_fork() -> None:
    with pytest.raises(ValueError, match="needs the backend exec"):
        LocalPool(ExecutableSpec("0" * 64, b"\x7fELF", BRIGHTNESS, 1_000_000), "open", (0,))
