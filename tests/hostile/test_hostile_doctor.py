"""The doctor finds a sound host sound, and names what gets through when a wall is missing."""

import dataclasses
import importlib.util
import os
import re
import signal

import pytest

from tests.support import onnx_files
from workers.host import backends, doctor
from workers.host.backends import BACKENDS
from workers.host.profile import Profile
from workers.inference.onnx_runtime import OnnxRuntime
from workers.inference.runtime import Runtime
from workers.inference.runtimes import RUNTIMES


def test_this_host_is_found_sound() -> None:
    findings = doctor.check(torch=False, device="cpu")
    assert [finding for finding in findings if not finding.ok] == []
    expected = {"user namespaces", "seccomp filter", "Landlock", "sandbox", "self-attack"}
    expected |= {f"self-attack ({name})" for name in ("exec", "oci") if BACKENDS[name].missing() is None}
    details = {finding.name: finding.detail for finding in findings}
    assert expected <= details.keys()
    for runtime in RUNTIMES:
        installed = importlib.util.find_spec(runtime.package) is not None
        said = rf"{runtime.name} runs on cpu; a call of the smallest takes \d+ microseconds"
        assert re.search(said if installed else "not here", details[f"models ({runtime.suffix})"])


def test_a_backend_that_is_not_there_is_said_and_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = dataclasses.replace(BACKENDS["oci"], missing=lambda: "isolation 'oci' needs runsc: apt-get install runsc")
    monkeypatch.setattr(backends, "BACKENDS", {**BACKENDS, "oci": gone})
    (finding,) = doctor.attack_itself(backend="oci")
    assert finding.ok
    assert "apt-get install runsc" in finding.detail


def test_a_missing_filter_is_noticed_and_the_ways_through_are_named() -> None:
    findings = {finding.name: finding for finding in doctor.attack_itself(Profile.weakened(seccomp=False))}
    attack = findings["self-attack"]
    assert not attack.ok
    for name in ("a VSOCK socket", "a memfd", "shared anonymous memory", "a process", "a pipe"):
        assert name in attack.detail


def test_a_machine_on_which_every_slot_would_be_late_is_no_sound_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found = doctor._caches()
    assert found.ok
    assert re.fullmatch(r"swept in [\d.]+ ms before each slot \(\d+ MiB are read\), of [\d.]+ ms", found.detail)
    monkeypatch.setattr("workers.host.doctor.caches.allowed_ns", lambda _size: 1)
    found = doctor._caches()
    assert not found.ok
    assert "every slot would be late" in found.detail


def test_a_check_that_dies_is_a_finding_and_not_a_crash() -> None:
    assert doctor._in_child(lambda: os.kill(os.getpid(), signal.SIGKILL)) == "killed by SIGKILL"
    assert doctor._in_child(lambda: None) is None


@pytest.mark.detectors
def test_a_device_that_is_not_there_is_a_fault() -> None:
    finding = doctor.can_run_models(OnnxRuntime(), "cuda:0")
    assert not finding.ok
    assert "PRIVID_INFERENCE_DEVICE=cpu" in finding.detail


def test_a_runtime_that_is_not_installed_is_said_and_is_no_fault() -> None:
    finding = doctor.can_run_models(Missing(), "auto")
    assert finding.ok
    assert "pip install 'privid[detectors]'" in finding.detail


class Missing(OnnxRuntime):
    """A runtime whose library is not installed."""

    package = "no_such_library"


class Wrong(OnnxRuntime):
    """A runtime whose file computes something else than it should."""

    def smallest(self) -> bytes:
        return onnx_files.remembers()


class Broken(OnnxRuntime):
    """A runtime whose file is none."""

    def smallest(self) -> bytes:
        return b"\x08\x08"


@pytest.mark.detectors
@pytest.mark.parametrize(("runtime", "said"), [(Broken(), "does not take it"), (Wrong(), "gave no answer")])
def test_a_model_that_does_not_run_right_is_a_fault(runtime: Runtime, said: str) -> None:
    finding = doctor.can_run_models(runtime, "cpu")
    assert not finding.ok
    assert said in finding.detail
