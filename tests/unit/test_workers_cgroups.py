"""Where groups can be made: version 1, version 2, neither; on folders made up for the purpose."""

from pathlib import Path

import pytest

from workers.host import cgroups


def host(root: Path, own: str, mounts: list[tuple[str, str, str]]) -> Path:
    proc = root / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "self/cgroup").write_text(own)
    lines = [f"30 20 0:26 / {folder} rw - {kind} {kind} rw,{options}" for kind, folder, options in mounts]
    (proc / "self/mountinfo").write_text("22 1 0:5 / / rw - ext4 /dev/vda rw\n" + "\n".join(lines) + "\n")
    return proc


def test_version_1(tmp_path: Path) -> None:
    for name in ("memory", "pids", "cpu"):
        (tmp_path / name / "server").mkdir(parents=True)
    own = "3:memory:/server\n2:pids:/server\n1:cpu:/server\n0::/\n"
    proc = host(tmp_path, own, [("cgroup", str(tmp_path / name), name) for name in ("memory", "pids", "cpu")])
    found = {parent.controllers: parent for parent in cgroups.parents(proc)}
    assert set(found) == {("memory",), ("pids",)}
    assert found[("memory",)].folder == tmp_path / "memory/server"
    assert found[("memory",)].version == 1


def test_version_2_delegated(tmp_path: Path) -> None:
    group = tmp_path / "unified/server"
    group.mkdir(parents=True)
    (group / "cgroup.controllers").write_text("cpu memory pids\n")
    (group / "cgroup.subtree_control").write_text("memory pids\n")
    proc = host(tmp_path, "0::/server\n", [("cgroup2", str(tmp_path / "unified"), "nsdelegate")])
    (parent,) = cgroups.parents(proc)
    assert (parent.folder, parent.version, parent.controllers) == (group, 2, ("memory", "pids"))


def test_version_2_without_delegation(tmp_path: Path) -> None:
    (tmp_path / "unified/server").mkdir(parents=True)
    proc = host(tmp_path, "0::/server\n", [("cgroup2", str(tmp_path / "unified"), "nsdelegate")])
    assert cgroups.parents(proc) == []


def test_no_cgroups_at_all(tmp_path: Path) -> None:
    assert cgroups.parents(tmp_path / "nothing") == []


def test_limits_are_written_and_the_group_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parents = [cgroups.Parent(tmp_path / "m", 1, ("memory",)), cgroups.Parent(tmp_path / "p", 1, ("pids",))]
    for parent in parents:
        parent.folder.mkdir()
    group = cgroups.Group.create("w", 1 << 30, 100, parents)
    assert (tmp_path / "m/w/memory.limit_in_bytes").read_text() == str(1 << 30)
    assert (tmp_path / "p/w/pids.max").read_text() == "100"
    group.enter(42)
    assert (tmp_path / "p/w/cgroup.procs").read_text() == "42"
    for file in (*(tmp_path / "m/w").iterdir(), *(tmp_path / "p/w").iterdir()):
        file.unlink()  # the kernel's own files do not hinder rmdir
    group.remove()
    assert not list((tmp_path / "m").iterdir())
    assert not list((tmp_path / "p").iterdir())


def test_what_cannot_be_made_is_left_out(tmp_path: Path) -> None:
    group = cgroups.Group.create("w", 1, 1, [cgroups.Parent(tmp_path / "missing/deep", 2, ("memory",))])
    assert group.folders == []
    group.enter(1)
    group.remove()


def test_groups_of_a_killed_server_are_removed_and_others_left(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    (proc / "41").mkdir(parents=True)
    folder = tmp_path / "memory"
    for name in ("privid-40-0", "privid-41-0", "privid-x-0", "other"):
        (folder / name).mkdir(parents=True)
    cgroups.remove_stale(cgroups.Parent(folder, 1, ("memory",)), proc)
    assert {path.name for path in folder.iterdir()} == {"privid-41-0", "privid-x-0", "other"}
