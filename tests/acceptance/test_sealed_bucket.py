"""A question of video that lies sealed in a bucket, through the real programs."""

import subprocess

import pytest

from privid.testing.system import LocalSystem
from privid.testing.video import write_clip
from privid.video.keys import new_master_key
from tests.support.minute import COUNT_FRAMES, PLENTY, POLICY, START, query
from tests.support.s3 import SECRET, s3_server


@pytest.mark.timeout(600)  # as long as it takes on a busy machine
def test_the_answer_is_that_of_the_clear_video_and_without_the_key_there_is_none(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=600, gop=50)
    keys = tmp_path / "video.keys"
    keys.write_text(new_master_key())
    keys.chmod(0o600)
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY.format(epsilon=PLENTY, timing="open"))
    with s3_server() as server:
        settings = {"PRIVID_STORE_URL": server.url, "PRIVID_STORE_KEY_FILE": str(keys)}
        with LocalSystem(tmp_path / "home", settings, log_level="debug") as system:
            system.run("privid-admin", "camera", "add", "plaza")
            system.run("privid-admin", "policy", "apply", policy, "--yes")
            system.run("privid-ingest", "import", clip, "--camera", "plaza", "--start", START)
            assert len(server.files()) == 1
            with system.client(system.add_analyst("alice", "plaza")) as client:
                client.upload("frames.py", COUNT_FRAMES)
                submitted = client.submit(query(epsilon=str(PLENTY))).query
                *_, last = client.watch(submitted.id)
                assert last.query.state == "released"
                assert client.result(submitted.id).tables[0].rows[0][0].value == pytest.approx(30, abs=0.5)
            system.stop()
            keys.rename(tmp_path / "gone")
            refused = system.run("privid-server", "run", check=False)
            assert refused.returncode == 2
            assert "cannot read the master keys" in refused.stdout + refused.stderr
            keys.write_text(new_master_key())
            keys.chmod(0o600)
            wrong = system.run(
                "privid-ingest", "import", clip, "--camera", "plaza", "--start", "2026-10-01", check=False
            )
            assert wrong.returncode == 1
            assert "the video of plaza is sealed under the master key" in " ".join(
                (wrong.stdout + wrong.stderr).split()
            )
            log = system.log.read_text()
        assert SECRET not in log
        found = subprocess.run(["grep", "-rl", "ftyp", tmp_path / "home"], capture_output=True, text=True, check=False)
        assert found.stdout == ""
