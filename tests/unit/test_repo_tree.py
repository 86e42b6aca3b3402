"""Rules about the files of the repository as such."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("privid", "query_lang", "workers")
GENERATED = "privid/rpc/v1/"
# Written in two parts so that this file passes its own rules.
MACHINE_PATHS = re.compile("|".join(("/wo" + "rk/", "/fa" + "rm/", r"\.py" + "env", "/tmp/bash" + "_jobs")))
REGISTRY_HOSTS = re.compile(
    "|".join(
        (
            "pypi" + r"\.org",
            "python" + r"hosted\.org",
            "npm" + r"js\.(org|com)",
            "deb\\." + r"debian\.org",
            "docker" + r"\.(io|com)",
            "ghcr" + r"\.io",
            "quay" + r"\.io",
            "proxy\\." + r"golang\.org",
            "crates" + r"\.io",
            "huggingface" + r"\.co",
        )
    )
)
UNFINISHED = re.compile(r"\b(TO" + "DO|FIX" + "ME|XX" + "X)\\b|NotImplemented" + "Error|pragma: no " + "cover")


@cache
def files() -> tuple[str, ...]:
    """Every file that is or would be committed, relative to the root."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return tuple(sorted(name for name in set(listing.split("\0")) if name and (ROOT / name).is_file()))


@cache
def texts() -> dict[str, str]:
    """The text files among them."""
    found = {}
    for name in files():
        data = (ROOT / name).read_bytes()
        if b"\0" not in data[:8192]:
            found[name] = data.decode("utf-8")
    return found


def package_modules() -> list[str]:
    return [name for name in files() if name.endswith(".py") and name.startswith(tuple(f"{p}/" for p in PACKAGES))]


def lines_matching(pattern: re.Pattern[str], names: list[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()}"
        for name in names
        for number, line in enumerate(texts()[name].splitlines(), start=1)
        if pattern.search(line)
    ]


def test_no_path_of_one_machine_is_written_down() -> None:
    assert lines_matching(MACHINE_PATHS, sorted(texts())) == []


def test_no_registry_is_named() -> None:
    assert lines_matching(REGISTRY_HOSTS, sorted(texts())) == []


def test_nothing_is_left_unfinished() -> None:
    written = [name for name in package_modules() if not name.startswith(GENERATED)]
    assert lines_matching(UNFINISHED, written) == []


@pytest.mark.parametrize("folder", ["tests", "docker", "protos", "benchmarks", "examples", "scripts", "docs"])
def test_folders_that_are_no_packages_hold_no_init(folder: str) -> None:
    assert [name for name in files() if name.startswith(f"{folder}/") and name.endswith("__init__.py")] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_of_modules_is_a_package(package: str) -> None:
    folders = {str(Path(name).parent) for name in package_modules() if name.startswith(f"{package}/")}
    assert [folder for folder in sorted(folders) if f"{folder}/__init__.py" not in files()] == []


def test_test_modules_have_names_of_their_own() -> None:
    seen: dict[str, str] = {}
    twice = []
    for name in files():
        if name.startswith("tests/") and Path(name).name.startswith("test_"):
            other = seen.setdefault(Path(name).name, name)
            if other != name:
                twice.append((other, name))
    assert twice == []


def test_modules_stay_small() -> None:
    long = {name: texts()[name].count("\n") for name in package_modules() if not name.startswith(GENERATED)}
    assert {name: lines for name, lines in long.items() if lines > 600} == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name
        for name in package_modules()
        if not name.startswith(GENERATED) and not ast.get_docstring(ast.parse(texts()[name]))
    ]
    assert silent == []


def _random_imports(source: str) -> list[int]:
    lines = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), names=names, level=0):
                modules = [module, *(f"{module}.{alias.name}" for alias in names)]
            case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr="random"):
                modules = ["numpy.random"]
            case _:
                continue
        if any(name == "random" or name.startswith(("numpy.random", "random.")) for name in modules):
            lines.append(node.lineno)
    return lines


def test_randomness_has_one_module() -> None:
    found = {
        name: lines
        for name in package_modules()
        if name != "privid/privacy/rng.py" and not name.startswith("privid/testing/")
        if (lines := _random_imports(texts()[name]))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "import random",
        "from random import gauss",
        "import numpy.random",
        "from numpy import random",
        "from numpy.random import default_rng",
        "import numpy as np\nnp.random.laplace()",
    ],
)
def test_the_randomness_rule_sees_every_spelling(source: str) -> None:
    assert _random_imports(source)


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for name, text in texts().items():
        if not name.endswith(".md"):
            continue
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path = target.partition("#")[0]
            elsewhere = "://" in path or path.startswith("mailto:")
            if path and not elsewhere and not ((ROOT / name).parent / path).exists():
                broken.append(f"{name}: {target}")
    assert broken == []


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = set(re.findall(r"\]\((\d{4}-[^)]+)\)", (folder / "README.md").read_text()))
    assert listed == {path.name for path in folder.glob("[0-9]*.md")}
