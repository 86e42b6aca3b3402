"""Drawings in policy files: read strictly, written exactly, and not needed to plan."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privid.domain.policy import CameraPolicy, MaskPolicy, RegionScheme
from privid.domain.policy_document import from_document, to_document
from privid.owner.policy_file import PolicyFile, PolicyFileError, read_policy_file, write_policy_file
from privid.owner.shapes import Drawings

HEAD = '[camera.a]\nepsilon = 1\nrho = "30s"\nK = 1\n'
MASK = HEAD + '[camera.a.masks.benches]\nrho = "3s"\n'
REGION = HEAD + '[camera.a.regions.lanes]\nnames = ["north", "south"]\n'
TRIANGLE = ((0, 0), (9, 0), (9, 9))


def test_what_is_drawn_stands_beside_the_terms():
    file = read_policy_file(
        MASK
        + 'picture = "benches.png"\n'
        + '[camera.a.masks.trees]\nrho = "4s"\npolygons = [[[0, 0], [9, 0], [9, 9]], [[1, 1], [2, 1], [2, 2]]]\n'
        + '[camera.a.regions.lanes]\nnames = ["north", "south"]\nboundary = "hard"\n'
        + 'polygons.north = [[0, 0], [9, 0],\n [9, 9]]\npictures.south = "south.png"\n'
    )
    assert file.drawings == {
        "a": Drawings(
            masks={"benches": Path("benches.png"), "trees": (TRIANGLE, ((1, 1), (2, 1), (2, 2)))},
            regions={"lanes": {"north": (TRIANGLE,), "south": Path("south.png")}},
        )
    }
    assert file.policies["a"].masks == {"benches": MaskPolicy(3_000_000), "trees": MaskPolicy(4_000_000)}
    assert file.policies["a"].regions == {"lanes": RegionScheme(("north", "south"), "hard")}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MASK + 'picture = "a.png"\npolygons = [[[0, 0], [9, 0], [9, 9]]]', "both picture and polygons"),
        (MASK + "picture = 3", "must be a PNG file"),
        (MASK + 'picture = ""', "must be a PNG file"),
        (MASK + 'pictures = "a.png"', "did you mean picture?"),
        (MASK + "polygons = []", "must be a list of polygons"),
        (MASK + "polygons = [[0, 0], [9, 0], [9, 9]]", "polygons: a polygon has from 3"),
        (MASK + "polygons = [[[0, 0], [9, 0], [9.5, 9]]]", "two whole numbers"),
        (REGION + 'pictures.north = "a.png"', "look at south"),
        (REGION + 'pictures = "a.png"', "pictures must be a table"),
        (REGION + 'pictures.north = "a.png"\npictures.south = "b.png"\npictures.east = "c.png"', "look at east"),
        (
            REGION + 'pictures.north = "a.png"\npolygons.north = [[0, 0], [9, 0], [9, 9]]',
            "both a picture and a polygon",
        ),
        (REGION + "polygons.north = [[0, 0], [9, 0]]\npolygons.south = []", "polygons.north: a polygon has from 3"),
    ],
)
def test_mistakes_are_named(text, says):
    with pytest.raises(PolicyFileError, match=says):
        read_policy_file(text)


points = st.tuples(st.integers(0, 9), st.integers(0, 9))
polygons = st.lists(points, min_size=3, max_size=5).map(tuple)
files = st.text(min_size=1, max_size=9).filter(lambda name: "\0" not in name).map(Path)
names = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=5)


@given(
    masks=st.dictionaries(names.filter(lambda n: n != "none"), files | st.lists(polygons, min_size=1).map(tuple)),
    regions=st.dictionaries(names, st.dictionaries(names, files | polygons.map(lambda p: (p,)), min_size=1)),
)
def test_what_is_written_is_read_back(masks, regions):
    policy = CameraPolicy(
        epsilon_nano=10**9,
        rho_us=10**6,
        K=1,
        masks={name: MaskPolicy(10**6) for name in masks},
        regions={name: RegionScheme(tuple(shapes)) for name, shapes in regions.items()},
    )
    drawings = Drawings(masks, regions)
    file = PolicyFile({"a": policy}, 10**9, {} if drawings == Drawings() else {"a": drawings})
    assert read_policy_file(write_policy_file(file)) == file


def test_documents_name_pictures_and_old_ones_stay_as_they_are():
    plain = CameraPolicy(
        epsilon_nano=1, rho_us=9, K=1, masks={"m": MaskPolicy(5)}, regions={"r": RegionScheme(("a",), "hard")}
    )
    assert "picture" not in to_document(plain)
    drawn = CameraPolicy(
        epsilon_nano=1,
        rho_us=9,
        K=1,
        masks={"m": MaskPolicy(5, 2, "a" * 64)},
        regions={"r": RegionScheme(("a",), "hard", "b" * 64)},
    )
    for policy in (plain, drawn):
        assert from_document(to_document(policy), 1) == policy


@pytest.mark.parametrize("picture", ["a" * 63, "A" * 64, "../" + "a" * 61, "g" * 64])
def test_a_picture_is_named_by_its_digest(picture):
    with pytest.raises(ValueError, match="SHA-256"):
        MaskPolicy(5, 1, picture)
    with pytest.raises(ValueError, match="SHA-256"):
        RegionScheme(("a",), "hard", picture)
