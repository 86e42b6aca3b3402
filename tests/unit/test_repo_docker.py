"""The images and the compose file, as far as they can be judged without a container engine.

`make docker-check` goes further: it carries out the Dockerfiles' steps in scratch root file systems.
"""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
IMAGES = ("server", "ingest", "worker")
SERVICE_KEYS = {
    *("image", "build", "entrypoint", "command", "environment", "volumes", "ports", "profiles", "depends_on"),
    *("security_opt", "cap_drop", "read_only", "tmpfs", "pids_limit", "mem_limit", "network_mode", "healthcheck"),
    *("restart", "stop_grace_period", "user", "working_dir"),
}


def load_checker() -> ModuleType:
    path = ROOT / "scripts" / "check_dockerfiles.py"
    spec = importlib.util.spec_from_file_location("check_dockerfiles", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["check_dockerfiles"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHECKER = load_checker()


@pytest.fixture(params=IMAGES)
def stages(request: pytest.FixtureRequest) -> list[Any]:
    return CHECKER.parse((DOCKER / request.param / "Dockerfile").read_text())


def last(stages: list[Any], name: str) -> str | None:
    found = [instruction.rest for instruction in stages[-1].instructions if instruction.name == name]
    return found[-1] if found else None


def test_base_images_are_pinned_to_a_patch_release(stages: list[Any]) -> None:
    for stage in stages:
        assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", stage.base), stage.base
        assert stage.base.endswith(CHECKER.RELEASE)
    assert len({stage.base for stage in stages}) == 1


def test_nothing_runs_as_root(stages: list[Any]) -> None:
    user = last(stages, "USER")
    assert user is not None
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "numeric, so that the engine can see that it is not root"


def test_what_is_copied_exists(stages: list[Any]) -> None:
    names = set()
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for stage in stages:
        for instruction in stage.instructions:
            if instruction.name == "COPY":
                *sources, _ = instruction.words()
                if "from" in instruction.flags:
                    assert instruction.flags["from"] in names
                else:
                    assert [source for source in sources if not (ROOT / source).exists()] == []
                    assert [source for source in sources if source.split("/")[0] not in allowed] == []
        names.add(stage.name)


def test_layers_keep_no_cache(stages: list[Any]) -> None:
    for stage in stages:
        for instruction in stage.instructions:
            if instruction.name == "RUN" and "pip install" in instruction.rest:
                assert "--no-cache-dir" in instruction.rest
                assert "-c constraints.txt" in instruction.rest
            if instruction.name == "RUN" and "apt-get install" in instruction.rest:
                assert "--no-install-recommends" in instruction.rest
                assert instruction.rest.endswith("rm -rf /var/lib/apt/lists/*")


def test_commands_and_health_are_said_as_lists(stages: list[Any]) -> None:
    for stage in stages:
        for instruction in stage.instructions:
            if instruction.name in ("CMD", "ENTRYPOINT", "VOLUME"):
                assert isinstance(json.loads(instruction.rest), list)
    assert last(stages, "HEALTHCHECK") is not None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("RUN true", "before the first FROM"),
        ("FROM a\nRAN true", "unknown instruction RAN"),
        ("FROM a b", "FROM image"),
        ("# nothing", "no FROM"),
        ("FROM a\nRUN true \\", "backslash"),
    ],
)
def test_a_broken_dockerfile_is_refused(text: str, reason: str) -> None:
    with pytest.raises(CHECKER.DockerfileError, match=reason):
        CHECKER.parse(text)


def test_the_reader_joins_lines_and_splits_flags() -> None:
    (build, final) = CHECKER.parse("FROM a AS one\nRUN x \\\n  # why\n  && y\nFROM b\nCOPY --from=one /p /q\n")
    assert [i.rest for i in build.instructions] == ["x && y"]
    assert (final.instructions[0].flags, final.instructions[0].words()) == ({"from": "one"}, ["/p", "/q"])


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def test_compose_uses_known_keys_only(compose: dict[str, Any]) -> None:
    assert {key for key in compose if not key.startswith("x-")} == {"name", "services", "volumes"}
    for name, service in compose["services"].items():
        assert set(service) <= SERVICE_KEYS, name


def test_compose_builds_from_files_that_exist(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        context = (DOCKER / service["build"]["context"]).resolve()
        assert context == ROOT
        assert (context / service["build"]["dockerfile"]).is_file()


def test_compose_mounts_what_exists(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] if "/" not in source else (DOCKER / source).exists()


def test_compose_gives_away_no_privilege(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert "no-new-privileges:true" in service["security_opt"], name


def test_what_starts_detectors_runs_under_the_seccomp_profile(compose: dict[str, Any]) -> None:
    for name in ("demo", "server"):
        (profile,) = [
            option.partition(":")[2]
            for option in compose["services"][name]["security_opt"]
            if option.startswith("seccomp:")
        ]
        assert (DOCKER / profile).is_file()


def test_no_port_is_open_to_other_machines(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert [port for port in published if not str(port).startswith("127.0.0.1:")] == []


def test_the_seccomp_profile_is_one() -> None:
    profile = json.loads((DOCKER / "seccomp.json").read_text())
    actions = {"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"}
    assert profile["defaultAction"] in actions - {"SCMP_ACT_ALLOW"}, "an allow list"
    for rule in profile["syscalls"]:
        assert rule["action"] in actions
        assert rule["names"]
        assert all(re.fullmatch(r"[a-z_0-9]+", name) for name in rule["names"])
    allowed = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    needed = {"unshare", "setns", "clone", "mount", "mount_setattr", "umount2", "pivot_root", "sethostname"}
    assert needed | {"seccomp", "landlock_create_ruleset", "pidfd_open", "memfd_create"} <= allowed


def test_the_worker_image_has_the_guests_side_of_the_protocol_only() -> None:
    stages = CHECKER.parse((DOCKER / "worker" / "Dockerfile").read_text())
    steps = [f"{instruction.name} {instruction.rest}" for instruction in stages[0].instructions]
    assert "COPY workers /opt/guest/workers" in steps
    assert "RUN rm -rf /opt/guest/workers/host" in steps
    assert not [step for step in steps if step.startswith("COPY") and ("privid " in step or "query_lang" in step)]
