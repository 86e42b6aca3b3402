"""Bundles: what makes one, its canonical form, its manifest, and everything that is refused."""

import io
import stat
import zipfile

import pytest

from workers import bundle, formats, limits
from workers.bundle import BadBundle

MANIFEST = b'entry = "main.py"\n'
MAIN = b"def process(chunk):\n    return {}\n"


def zipped(files, **options) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", **options) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return packed.getvalue()


def small(**others: bytes) -> dict[str, bytes]:
    return {"privid.toml": MANIFEST, "main.py": MAIN, **others}


def test_one_file_is_an_executable_by_itself():
    read = bundle.read(MAIN)
    assert (read.manifest.entry, read.is_program, read.pack()) == ("executable.py", False, MAIN)
    program = bundle.ELF + b"..."
    assert bundle.read(program).is_program
    assert bundle.read(program).pack() == program


def test_the_same_files_have_the_same_form_however_they_came(tmp_path):
    others = {"helpers.py": b"X = 1\n", "pkg/deep.py": b"", "left/out.txt": b"no", "test_main.py": b"", "a.sql": b""}
    for path, content in small(**others).items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "hook.py").write_bytes(b"")
    form = bundle.open_path(tmp_path).pack()
    backwards = dict(reversed(small(**others).items()))
    assert bundle.read(zipped(backwards, compression=zipfile.ZIP_DEFLATED)).pack() == form
    assert bundle.read(form).pack() == form
    assert sorted(bundle.read(form).files) == ["helpers.py", "main.py", "pkg/deep.py", "privid.toml"]
    (tmp_path / "helpers.py").write_bytes(b"X = 2\n")
    assert bundle.open_path(tmp_path).pack() != form


def test_a_manifest_says_what_is_needed():
    manifest = bundle.parse_manifest(
        b'entry = "main.py"\nlibraries = ["cv2"]\nmemory = "1 GiB"\nthreads = 2\n'
        b'[weights.person]\nfile = "w/yolo.pt"\nformat = "ultralytics"\narchitecture = "yolo11n"\n'
        b'classes = ["person"]\ninput = [1, 3, 320, 320]\n'
    )
    assert manifest.needs == ("numpy", "cv2", "ultralytics")
    assert (manifest.memory_bytes, manifest.threads) == (2**30, 2)
    assert manifest.weights["person"].input == (1, 3, 320, 320)
    assert bundle.parse_manifest(MANIFEST) == bundle.Manifest("main.py", colour="bgr")
    asked = bundle.parse_manifest(MANIFEST + b'colour = "yuv"\n')
    assert (asked.colour, asked.document(program=False)["colour"]) == ("yuv", "yuv")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "entry is missing"),
        ("entry = 3", "entry: write a text"),
        ('entry = "main.py"\nlibrary = []', "unknown key library; did you mean 'libraries'?"),
        ('entry = "main.py"\nlibraries = "cv2"', "libraries: write a list"),
        ('entry = "main.py"\nlibraries = [1]', "libraries: write a list of texts"),
        ('entry = "main.py"\nmemory = 512', "memory: write a text"),
        ('entry = "main.py"\nmemory = "much"', "memory: 'much' is no size"),
        ('entry = "main.py"\nmemory = "1 KiB"', "at least"),
        ('entry = "main.py"\nthreads = 0', "threads: 0 is not between 1 and 64"),
        ('entry = "main.py"\nthreads = true', "threads: write a number"),
        ('entry = "main.py"\ncolour = 3', "colour: write a text"),
        ('entry = "main.py"\ncolour = "grey"', "colour: 'grey' is not one of bgr, rgb, yuv"),
        ('entry = "main.py"\ncolour = "rbg"', "not one of bgr, rgb, yuv; did you mean '"),
        ('entry = "main.py"\ncolor = "rgb"', "unknown key color; did you mean 'colour'?"),
        ('entry = "../main.py"', "no path of a bundle"),
        ('entry = "/etc/passwd"', "no path of a bundle"),
        ('entry = "main.py"\nweights = 1', "weights: write tables"),
        ('entry = "main.py"\n[weights]\nperson = 1', "weights.person: write a table"),
        ('entry = "main.py"\n[weights."a b"]\nfile = "w"\nformat = "onnx"', "for the name"),
        ('entry = "main.py"\n[weights.w]\nformat = "onnx"', "weights.w.file is missing"),
        ('entry = "main.py"\n[weights.w]\nfile = "w"\nformat = "onx"', "did you mean 'onnx'?"),
        ('entry = "main.py"\n[weights.w]\nfile = "w"\nformat = "onnx"\nclases = []', "did you mean 'classes'?"),
        ('entry = "main.py"\n[weights.w]\nfile = "w"\nformat = "onnx"\nclasses = ["a"]', "ultralytics only"),
        ('entry = "main.py"\n[weights.w]\nfile = "w"\nformat = "onnx"\ninput = [1, 0]', "input: write the input's"),
        ('entry = "main.py"\n[weights.w]\nfile = "w"\nformat = "onnx"\ninput = [true]', "input: write the input's"),
        (
            'entry = "main.py"\n[weights.w]\nfile = "w"\nformat = "ultralytics"\narchitecture = "/tmp/own.yaml"',
            "architecture: name one",
        ),
        ('entry = "main.py"\n[weights.w]\nfile = "w"\nformat = "ultralytics"\narchitecture = "yolo11n"', "classes:"),
        ('entry = "main.py', "privid.toml:"),
        ('entry = "main.py"\na = ' + "[" * 5000, "privid.toml:"),
    ],
)
def test_a_wrong_manifest_is_refused_with_what_would_be_right(text, says):
    with pytest.raises(BadBundle) as error:
        bundle.parse_manifest(text.encode())
    assert says in str(error.value)


def test_unknown_libraries_are_named():
    with pytest.raises(BadBundle, match=r"'opencv' is not one of cv2, numpy"):
        bundle.check_libraries(bundle.Manifest("main.py", libraries=("opencv",)), ("numpy", "cv2"))


def link(target: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, content in small().items():
            archive.writestr(path, content)
        entry = zipfile.ZipInfo("helpers.py")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, target)
    return packed.getvalue()


def twice() -> bytes:
    packed = io.BytesIO(zipped(small()))
    with zipfile.ZipFile(packed, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("main.py", b"other")
    return packed.getvalue()


def encrypted() -> bytes:
    content = bytearray(zipped(small()))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.index(signature)
        content[start + at] |= 1
    return bytes(content)


def bomb() -> bytes:
    """A directory that announces more than anybody may unpack."""
    return announcing(zipped(small() | {"x.bin": b""}), limits.MAX_BUNDLE_BYTES + 1)


def lying() -> bytes:
    """A file that unpacks to more than the directory says."""
    return announcing(zipped(small() | {"helpers.py": b"#" * 100_000}, compression=zipfile.ZIP_DEFLATED), 10)


def announcing(packed: bytes, size: int) -> bytes:
    """A zip whose directory gives another size for its last file."""
    content = bytearray(packed)
    start = content.rindex(b"PK\x01\x02")
    content[start + 24 : start + 28] = size.to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (zipped({"main.py": MAIN}), "has no privid.toml"),
        (zipped({"folder/privid.toml": MANIFEST, "folder/main.py": MAIN}), "has no privid.toml"),
        (zipped({"privid.toml": MANIFEST, "mian.py": MAIN}), "no file 'main.py'; did you mean 'mian.py'?"),
        (zipped({"privid.toml": b'entry = "run.sh"', "run.sh": b"#!/bin/sh"}), "neither a Python file"),
        (
            zipped(small() | {"privid.toml": MANIFEST + b'[weights.w]\nfile = "w.onnx"\nformat = "onnx"\n'}),
            "file of weights.w: there is no file 'w.onnx'",
        ),
        (zipped(small() | {"../up.py": b""}), "'../up.py' is no path of a bundle"),
        (zipped(small() | {"/etc/cron.d/x": b""}), "no path of a bundle"),
        (zipped(small() | {"a\\b.py": b""}), "no path of a bundle"),
        (zipped(small() | {".hidden": b""}), "no path of a bundle"),
        (zipped(small() | {"/".join("abcdefghi"): b""}), "no path of a bundle"),
        (zipped(small() | {f"f{n}.txt": b"" for n in range(limits.MAX_BUNDLE_FILES)}), "files, and 256 are allowed"),
        (zipped(small() | {"big.py": b"#" * (limits.MAX_SOURCE_BYTES + 1)}), "has more than 4,194,304 bytes"),
        (zipped(small() | {"privid.toml": b"#" * 70_000}), "has more than 65,536 bytes"),
        (zipped(small(), compression=zipfile.ZIP_LZMA), "compressed in an unusual way"),
        (link("/etc/shadow"), "is a symbolic link"),
        (encrypted(), "is encrypted"),
        (bomb(), "unpacked it has more than 536,870,912 bytes"),
        (lying(), "damaged"),
        (zipped(small())[:-30], "damaged"),
        (bundle.ZIP + b"\0" * 100, "damaged"),
    ],
)
def test_a_hostile_zip_is_refused(content, says):
    with pytest.raises(BadBundle) as error:
        bundle.read(content)
    assert says in str(error.value)


def test_a_path_cannot_be_in_a_zip_twice():
    with pytest.raises(BadBundle, match="is in it twice"):
        bundle.read(twice())


def test_a_folder_gives_nothing_from_outside_itself(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    (tmp_path / "secret.py").write_text("SECRET = 1")
    with pytest.raises(BadBundle, match=r"no privid.toml"):
        bundle.open_path(folder)
    for path, content in small().items():
        (folder / path).write_bytes(content)
    (folder / "helpers.py").symlink_to(tmp_path / "secret.py")
    with pytest.raises(BadBundle, match="link to something outside"):
        bundle.open_path(folder)


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


ONNX = b"\x08\x09" + field(7, b"graph")
PICKLE = b"\x80\x04\x8c\x02os\x94."


def saved(names) -> bytes:
    return zipped(dict.fromkeys(names, b"x"))


@pytest.mark.parametrize(
    ("form", "content", "says"),
    [
        ("onnx", ONNX, None),
        ("onnx", b"", "it is empty"),
        ("onnx", PICKLE, "a pickle, which is never loaded"),
        ("onnx", ONNX[:-1], "damaged"),
        ("onnx", b"\x08\x09", "damaged"),
        ("onnx", b"\xff" * 20, "damaged"),
        ("onnx", b"<html>", "a text"),
        ("onnx", b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        ("safetensors", b"\x02" + bytes(7) + b"{}", None),
        ("safetensors", b"\xff" * 8 + b"{}", "damaged"),
        ("safetensors", PICKLE, "a pickle"),
        ("safetensors", (20).to_bytes(8, "little") + b'{"a": "b"}          ', "lies outside the file"),
        (
            "safetensors",
            (53).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'[:53] + b"}}",
            "damaged",
        ),
        ("torch", saved(["m/data.pkl", "m/data/0"]), None),
        ("torch", saved(["readme.txt"]), "some other zip file"),
        ("torch", zipped({"m/data.pkl": b"x" * 99}, compression=zipfile.ZIP_DEFLATED), "it is compressed"),
        ("torch", PICKLE, "a pickle"),
        ("ultralytics", PICKLE, "a pickle"),
        ("ultralytics", ONNX, "damaged, or something else"),
    ],
)
def test_weights_are_what_the_manifest_says(form, content, says):
    manifest = bundle.Manifest("main.py", weights={"w": bundle.Weights("w.bin", form)})
    if says is None:
        formats.check(manifest, {"w.bin": content})
        return
    with pytest.raises(BadBundle) as error:
        formats.check(manifest, {"w.bin": content})
    assert str(error.value).startswith("weights.w: w.bin is not ")
    assert says in str(error.value)
