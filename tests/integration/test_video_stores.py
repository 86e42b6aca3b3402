"""The store in use, clear and sealed, on disk and in a bucket: the same pixels, and no crash parts rows and files."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from privid.cli.ingest import run
from privid.database.connect import open_database
from privid.ingest import segments as ingest_segments
from privid.ingest.importer import import_file
from privid.ingest.retention import Limits, Policy, Retention
from privid.testing.video import write_clip
from privid.video.agreement import compare
from privid.video.catalog import Catalog
from privid.video.chunking import chunks
from privid.video.errors import StoreFailure
from privid.video.frames import read_chunks
from privid.video.keys import KeyRing, new_master_key, read_master_keys
from privid.video.storage.objects import ObjectStorage, connect
from privid.video.store import SegmentStore
from tests.integration.test_video_read_chunks import take
from tests.support.rtsp import Recorder, wait_for
from tests.support.s3 import SECRET, s3_server

START = 1_800_000_000_000_000
KINDS = ["clear disk", "sealed disk", "clear bucket", "sealed bucket"]


@pytest.fixture(scope="module")
def s3():
    with s3_server() as server:
        yield server


@pytest.fixture
def short_segments(monkeypatch):
    monkeypatch.setattr(ingest_segments, "SEGMENT_US", 2_000_000)


@pytest.fixture
def ingest(tmp_path, monkeypatch, capsys):
    """The program in this process: starting one for each command would take longer than all they do."""

    def call(*arguments, status=0, **environment):
        with monkeypatch.context() as patch:
            for name, value in {"PRIVID_HOME": str(tmp_path / "home"), "COLUMNS": "200", **environment}.items():
                patch.setenv(name, value)
            patch.setattr("sys.argv", ["privid-ingest", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                run()
        said = capsys.readouterr()
        assert (ended.value.code or 0) == status, said.err
        return said.out + said.err

    return call


@pytest.fixture
def key_file(tmp_path):
    file = tmp_path / "keys"
    file.write_text(new_master_key())
    file.chmod(0o600)
    return file


def make(kind, folder, key_file, s3, cache_bytes=1 << 30):
    folder.mkdir()
    database = open_database(folder / "privid.sqlite3")
    catalog = Catalog(database)
    catalog.add_camera("plaza", created_us=START)
    keys = KeyRing(database, read_master_keys(key_file) if "sealed" in kind else None)
    if "disk" in kind:
        return catalog, SegmentStore(folder / "video", keys=keys)
    filesystem, prefix = connect(f"{s3.url}/{folder.name}")
    storage = ObjectStorage(filesystem, prefix, s3.url, folder / "cache", cache_bytes)
    return catalog, SegmentStore(folder / "video", storage, keys, 1 << 30)


def frames(catalog, store, wanted):
    return [(chunk.times_us, take(chunk)) for chunk in read_chunks(catalog, store, "plaza", wanted)]


def test_the_same_pixels_and_times_wherever_and_however_they_lie(tmp_path, key_file, s3, short_segments):
    clip = write_clip(tmp_path / "a.mp4", 150, b_frames=3, gop=25)
    random = np.random.default_rng(7)
    begins = START + random.integers(-1_000_000, 30_000_000, 25)
    wanted = [*chunks(START, START + 30_000_000, 700_000, 700_000)]
    wanted += [c for b in begins.tolist() for c in chunks(b, b + 900_000, 900_000, 900_000)]
    expected = None
    for number, kind in enumerate(KINDS):
        catalog, store = make(kind, tmp_path / str(number), key_file, s3, cache_bytes=30_000)
        import_file(catalog, store, clip, "plaza", START, 2)
        found = frames(catalog, store, wanted)
        assert sum(len(times) for times, _ in found) > 300
        expected = expected or found
        for (times, pixels), (same_times, same_pixels) in zip(found, expected, strict=True):
            assert times == same_times
            assert np.array_equal(pixels, same_pixels), kind
        assert compare(catalog, store).missing == compare(catalog, store).unknown == ()
        if "bucket" in kind:
            kept = sum(file.stat().st_size for file in (tmp_path / str(number) / "cache").iterdir())
            assert 0 < kept <= 30_000 + max(s.stat().st_size for s in (tmp_path / "0" / "video").rglob("*.mp4"))


def test_nothing_clear_stays_behind_in_a_sealed_store(tmp_path, key_file, s3):
    clip = write_clip(tmp_path / "a.mp4", 30)
    for kind in ("sealed disk", "sealed bucket"):
        catalog, store = make(kind, tmp_path / kind.split()[1], key_file, s3)
        import_file(catalog, store, clip, "plaza", START)
        list(read_chunks(catalog, store, "plaza", chunks(START, START + 3_000_000, 10**6, 10**6)))
        files = [p for p in (tmp_path / kind.split()[1]).rglob("*") if p.is_file() and p.suffix == ".mp4"]
        contents = [p.read_bytes() for p in files] or [s3.read(name) for name in s3.files()]
        assert contents
        assert not any(b"ftyp" in content[:64] or b"moof" in content for content in contents)


def test_segments_of_before_stay_readable_when_sealing_begins(tmp_path, key_file, s3):
    clip = write_clip(tmp_path / "a.mp4", 30)
    catalog, clear = make("clear disk", tmp_path / "x", key_file, s3)
    import_file(catalog, clear, clip, "plaza", START)
    keys = KeyRing(open_database(tmp_path / "x" / "privid.sqlite3"), read_master_keys(key_file))
    both = SegmentStore(tmp_path / "x" / "video", keys=keys)
    import_file(catalog, both, clip, "plaza", START + 10**8)
    early, late = (frames(catalog, both, chunks(b, b + 3_000_000, 10**6, 10**6)) for b in (START, START + 10**8))
    assert [segment.seal is None for segment in catalog.segments("plaza", 0, 2 * START)] == [True, False]
    for (_, pixels), (_, same) in zip(early, late, strict=True):
        assert np.array_equal(pixels, same)


def test_a_sealed_segment_that_was_exchanged_is_refused(tmp_path, key_file, s3, short_segments):
    clip = write_clip(tmp_path / "a.mp4", 60)
    catalog, store = make("sealed disk", tmp_path / "x", key_file, s3)
    import_file(catalog, store, clip, "plaza", START)
    first, second = (store.path(segment.path) for segment in catalog.segments("plaza", 0, 2 * START)[:2])
    wanted = chunks(START, START + 6_000_000, 10**6, 10**6)
    whole = first.read_bytes()
    for content in (second.read_bytes(), clip.read_bytes(), whole[:-100], whole[:5000] + b"x" + whole[5001:]):
        first.unlink()
        first.write_bytes(content)
        with pytest.raises(StoreFailure, match="damaged, cut short, or not the file"):
            frames(catalog, store, wanted)
    first.write_bytes(whole)
    assert len(frames(catalog, store, wanted)) == 6


KILLED = """
import os, signal, sys
from pathlib import Path
from privid.database.connect import open_database
from privid.ingest import segments
from privid.ingest.importer import import_file
from privid.video.catalog import Catalog
from privid.video.store import Staging
from privid.video.storage.objects import ObjectStorage, connect
from privid.video.store import SegmentStore
root, clip, where, url = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
segments.SEGMENT_US = 2_000_000
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
catalog = Catalog(open_database(root / "privid.sqlite3"))
filesystem, prefix = connect(url)
if where == "before names": Staging._write_journal = die
if where in ("between uploads", "between removals"):
    name = "put_file" if where == "between uploads" else "rm_file"
    real, done = getattr(filesystem, name), []
    def some(*a, **k):
        real(*a, **k); done.append(a)
        if len(done) == 2: die()
    setattr(filesystem, name, some)
if where == "before rows": Catalog.add_segments = die
if where == "after rows":
    add = Catalog.add_segments
    def then(*a): add(*a); die()
    Catalog.add_segments = then
store = SegmentStore(root / "video", ObjectStorage(filesystem, prefix, url, root / "cache", 1 << 30), None, 1 << 30)
if where == "between removals":
    from privid.ingest.retention import Limits, Policy, Retention
    Retention(catalog, store).apply(Policy({"plaza": Limits(keep_us=0)}), 1 << 60)
import_file(catalog, store, clip, "plaza", 1_800_000_000_000_000, 2)
"""


@pytest.mark.parametrize(
    ("where", "frames_left"),
    [
        pytest.param("before names", 0, marks=pytest.mark.slow),
        ("between uploads", 0),
        pytest.param("before rows", 0, marks=pytest.mark.slow),
        pytest.param("after rows", 120, marks=pytest.mark.slow),
        ("between removals", 0),
    ],
)
def test_killed_on_the_way_to_the_bucket(tmp_path, key_file, s3, short_segments, where, frames_left):
    clip = write_clip(tmp_path / "a.mp4", 60)
    folder = tmp_path / where.replace(" ", "-")
    catalog, store = make("clear bucket", folder, key_file, s3)
    if where == "between removals":
        import_file(catalog, store, clip, "plaza", START, 2)
    url = f"{s3.url}/{folder.name}"
    done = subprocess.run([sys.executable, "-c", KILLED, folder, clip, where, url], timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    recorded = catalog.recorded("plaza")
    assert (recorded.frames if recorded else 0) == frames_left
    store.sweep(catalog.known_paths)
    known = {f"{folder.name}/{s.path}" for s in catalog.segments("plaza", 0, 2 * START)}
    assert {name for name in s3.files() if name.startswith(f"{folder.name}/")} == known
    assert not any(path.is_file() for path in (folder / "video").rglob("*"))


def test_half_an_upload_is_ended_and_those_of_others_are_not(tmp_path, key_file, s3):
    catalog, store = make("clear bucket", tmp_path / "x", key_file, s3)
    killed = tmp_path / "x" / "video" / ".incoming" / "killed"
    killed.mkdir(parents=True)
    (killed / "journal.json").write_text(json.dumps(["plaza/mine.mp4"]))
    for name in ("mine", "other"):
        s3.client().call_s3("create_multipart_upload", Bucket=s3.bucket, Key=f"video/x/plaza/{name}.mp4")
    assert store.sweep(catalog.known_paths) == 1
    left = {upload["Key"] for upload in s3.client().list_multipart_uploads(s3.bucket)}
    assert left == {"video/x/plaza/other.mp4"}


def test_what_is_just_being_stored_is_not_taken_for_a_stray(tmp_path, key_file, s3):
    catalog, store = make("clear disk", tmp_path / "x", key_file, s3)
    found = []
    with store.staging() as staging:
        file = staging.new_file(".mp4")
        file.write_bytes(b"x")
        staging.publish({"plaza/a.mp4": file}, lambda: found.append(compare(catalog, store)), catalog.known_paths)
    assert found[0].unknown == ()
    assert compare(catalog, store).unknown == ("plaza/a.mp4",)


def test_retention_removes_objects_also_those_that_it_could_not_reach(tmp_path, key_file, short_segments):
    clip = write_clip(tmp_path / "a.mp4", 100)
    with s3_server() as server:
        catalog, store = make("clear bucket", tmp_path / "x", key_file, server)
        import_file(catalog, store, clip, "plaza", START)
        assert len(server.files()) == 5
        retention, policy = Retention(catalog, store), Policy({"plaza": Limits(keep_us=0)}, min_free_bytes=1 << 60)
        server.go_away()
        with pytest.raises(StoreFailure, match="cannot remove"):
            retention.apply(policy, START + 5_000_000)
        assert len(catalog.segments("plaza", 0, 2 * START)) == 3
        server.come_back()
        retention.apply(policy, START + 5_000_000)
        assert server.files() == {f"x/{s.path}" for s in catalog.segments("plaza", 0, 2 * START)}
        assert len(server.files()) == 3


def test_a_recording_goes_on_while_the_bucket_is_away(tmp_path, key_file, ingest):
    clip = write_clip(tmp_path / "a.mp4", 120, gop=10)
    environment = {"PRIVID_STORE_KEY_FILE": str(key_file), "PRIVID_STORE_SPOOL_BYTES": "50000000"}
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment, "PRIVID_STORE_URL": server.url}.items():
            patch.setenv(name, value)
        recorder = Recorder(tmp_path, {"plaza": f"file://{clip}"}, 'segment = "1s"\n')
        server.go_away()
        recorder.start()
        try:
            away = wait_for(lambda: (c := recorder.camera("plaza")).get("store_error") and c, "the outage", 90)
            assert "cannot store" in away["store_error"]
            wait_for(lambda: recorder.camera("plaza").get("unpublished", 0) >= 4, "more segments", 90)
            status = json.loads(recorder.get("/status"))
            assert status["spool"]["size_bytes"] > 0
            assert status["store"] == server.url
            assert recorder.get("/healthz") == "not recorded: plaza\n"
            assert "privid_ingest_spool_bytes" in recorder.get("/metrics")
            assert recorder.catalog.recorded("plaza") is None
            said = ingest("status", "--listen", f"127.0.0.1:{recorder.port}")
            assert f"stores in {server.url}" in said
            assert "of at most 50 MB wait here" in said
            assert "cannot store" in said
            recorder.stop(signal.SIGKILL)
            server.come_back()
            recorder.start()
            wait_for(
                lambda: (r := recorder.catalog.recorded("plaza")) and r.segments >= 5,
                "what had waited in the spool",
                90,
            )
        finally:
            status = recorder.stop()
        assert status == 0
        assert SECRET not in recorder.log.read_text()
        segments = recorder.catalog.segments("plaza", 0, 1 << 61)
        assert server.files() == {segment.path for segment in segments}
        assert all(segment.seal for segment in segments)
        assert not any(path.suffix == ".mp4" for path in (recorder.home.video / ".recording").rglob("*"))


@pytest.mark.slow
def test_a_full_spool_stops_recording_and_says_so(tmp_path, ingest):
    clip = write_clip(tmp_path / "a.mp4", 120, gop=10)
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRIVID_STORE_URL", server.url)
        patch.setenv("PRIVID_STORE_SPOOL_BYTES", "20000")
        recorder = Recorder(tmp_path, {"plaza": f"file://{clip}"}, 'segment = "1s"\n')
        server.go_away()
        recorder.start()
        try:
            wait_for(lambda: recorder.camera("plaza").get("failures", {}).get("disk full"), "a full spool", 90)
            status = json.loads(recorder.get("/status"))
            assert status["spool"]["full"]
            assert not status["healthy"]
            assert "THE SPOOL IS FULL" in ingest("status", "--listen", f"127.0.0.1:{recorder.port}")
            assert status["spool"]["size_bytes"] < 200_000
            server.come_back()
            wait_for(lambda: not json.loads(recorder.get("/status"))["spool"]["full"], "room in the spool", 90)
        finally:
            recorder.stop()
        assert server.files()


def test_the_commands(tmp_path, s3, ingest):
    keys = tmp_path / "video.keys"
    clip = write_clip(tmp_path / "a.mp4", 30)
    Recorder(tmp_path, {"plaza": ""})  # makes the home and the camera

    take_in = ("import", clip, "--camera", "plaza", "--start")
    sealed = {"PRIVID_STORE_KEY_FILE": str(keys), "PRIVID_STORE_URL": f"{s3.url}/commands"}
    assert "cannot read the master keys" in ingest("keys", "list", status=2, **sealed)
    assert "keep a copy elsewhere" in ingest("keys", "new", keys)
    assert keys.stat().st_mode & 0o777 == 0o600
    assert "nothing has been sealed yet" in ingest("keys", "list", **sealed)
    ingest(*take_in, "2026-12-01T08:00:00Z", **sealed)
    assert "plaza" in ingest("keys", "list", **sealed)
    assert "rotate" in ingest("keys", "new", keys)
    assert "1 keys wrapped anew" in ingest("keys", "rotate", **sealed)
    assert "there is no file of master keys" in ingest("keys", "rotate", status=2)
    assert "1 segments in s3://" in ingest("check", **sealed)

    (name,) = (name for name in s3.files() if name.startswith("commands/"))
    s3.write("commands/plaza/stray.mp4", b"x")
    assert json.loads(ingest("check", "--json", **sealed))["unknown"] == ["plaza/stray.mp4"]
    assert "files of no segment, removed" in ingest("check", "--remove", **sealed)
    assert {n for n in s3.files() if n.startswith("commands/")} == {name}
    assert "1 segments have no file" in ingest("check", status=1, PRIVID_STORE_URL=f"{s3.url}/elsewhere")

    said = ingest("status", status=2, PRIVID_STORE_URL=f"s3://key:{SECRET}@bucket/x")
    assert "credentials go into the environment" in " ".join(said.split())
    assert SECRET not in said
    gone = ingest(*take_in, "2026-12-02", status=1, PRIVID_STORE_URL="s3://no-such-bucket-here/x")
    assert "cannot store" in gone
    assert "nothing has been changed" in gone
