"""The doctor finds a sound host sound, and names what gets through when a wall is missing."""

import os
import signal

from workers.host import doctor
from workers.host.profile import Profile


def test_this_host_is_found_sound() -> None:
    findings = doctor.check(torch=False)
    assert [finding for finding in findings if not finding.ok] == []
    assert {"user namespaces", "seccomp filter", "Landlock", "sandbox", "self-attack"} <= {f.name for f in findings}


def test_a_missing_filter_is_noticed_and_the_ways_through_are_named() -> None:
    findings = {finding.name: finding for finding in doctor.attack_itself(Profile.weakened(seccomp=False))}
    attack = findings["self-attack"]
    assert not attack.ok
    for name in ("a VSOCK socket", "a memfd", "shared anonymous memory", "a process", "a pipe"):
        assert name in attack.detail


def test_a_check_that_dies_is_a_finding_and_not_a_crash() -> None:
    assert doctor._in_child(lambda: os.kill(os.getpid(), signal.SIGKILL)) == "killed by SIGKILL"
    assert doctor._in_child(lambda: None) is None
