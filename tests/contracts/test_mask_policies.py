"""Pictures of masks and regions over versions of a policy: one contract on every database."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from privid.database.transactions import reading
from privid.domain.policy import CameraPolicy, MaskPolicy, RegionScheme
from privid.ledger.consistency import problems
from privid.ledger.errors import PictureChanged
from privid.server.errors import Refused
from privid.server.policies import PolicyDesk
from privid.video import bitmaps
from privid.video.catalog import Catalog
from privid.video.pictures import PictureStore
from tests.support.ledgers import PLAIN, World

S = 1_000_000
ONE, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def world(engine: sa.Engine) -> Iterator[World]:
    yield World(engine)
    with reading(engine) as connection:
        assert problems(connection) == ()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


@pytest.fixture
def desk(world: World, folder: Path) -> PolicyDesk:
    return PolicyDesk(world.policies, Catalog(world.engine), PictureStore(folder))


def masked(picture: str = "", rho_us: int = 10 * S) -> CameraPolicy:
    return replace(PLAIN, masks={"benches": MaskPolicy(rho_us, 1, picture)})


def divided(picture: str = "", boundary: str = "soft") -> CameraPolicy:
    return replace(PLAIN, regions={"lanes": RegionScheme(("a", "b"), boundary, picture)})  # type: ignore[arg-type]


def put(world: World, policy: CameraPolicy) -> CameraPolicy:
    return world.policies.put("plaza", policy, actor="owner:olga", confirmed=world.policies.preview("plaza", policy))


@pytest.mark.parametrize("make", [masked, divided])
def test_a_picture_never_changes_under_its_name(world: World, make) -> None:
    put(world, make())
    first = put(world, make(ONE))
    for policy in (make(OTHER), replace(make(OTHER), K=2)):
        with pytest.raises(PictureChanged, match="new name, such as"):
            put(world, policy)
    put(world, PLAIN)
    with pytest.raises(PictureChanged):
        put(world, make(OTHER))
    assert world.policies.versions("plaza")[2].masks == first.masks
    assert world.policies.versions("plaza")[2].regions == first.regions


@pytest.mark.parametrize("make", [masked, divided])
def test_a_name_without_a_picture_keeps_the_one_it_had(world: World, make) -> None:
    put(world, make(ONE))
    put(world, PLAIN)
    again = put(world, make())
    assert (again.masks, again.regions) == (make(ONE).masks, make(ONE).regions)
    assert world.policies.current("plaza") == again


def test_terms_may_change_under_a_picture(world: World) -> None:
    put(world, masked(ONE))
    assert put(world, masked(rho_us=5 * S)).masks["benches"] == MaskPolicy(5 * S, 1, ONE)


def drawn(*hidden: list[list[int]]) -> bytes:
    return bitmaps.encode(np.array(hidden, bool))


HALF = drawn([[1, 1, 0, 0], [1, 1, 0, 0]])
APART = drawn([[1, 1, 0, 0], [1, 1, 0, 0]], [[0, 0, 1, 1], [0, 1, 1, 1]])
SHARED = drawn([[1, 1, 0, 0], [1, 1, 0, 0]], [[0, 0, 0, 1], [0, 1, 1, 1]])


def test_the_desk_stores_a_picture_when_it_is_applied_and_not_before(desk: PolicyDesk, folder: Path) -> None:
    policy = masked(bitmaps.digest(HALF))
    preview = desk.preview({"plaza": policy}, [HALF, APART])
    assert list(folder.iterdir()) == []
    with pytest.raises(Refused, match="did not come with it"):
        desk.apply("owner:olga", {"plaza": policy}, preview.confirmation)
    desk.apply("owner:olga", {"plaza": policy}, preview.confirmation, [HALF, APART])
    assert [path.name for path in folder.iterdir()] == [bitmaps.digest(HALF)]
    assert desk.picture(bitmaps.digest(HALF)) == HALF
    assert not desk.preview({"plaza": masked()}).changes[0].changed
    with pytest.raises(Refused, match="no picture of this name"):
        desk.picture(bitmaps.digest(APART))


def test_the_desk_confirms_the_picture_that_was_previewed(desk: PolicyDesk) -> None:
    other = drawn([[1, 1, 1, 0], [1, 1, 0, 0]])
    preview = desk.preview({"plaza": masked(bitmaps.digest(HALF))}, [HALF])
    with pytest.raises(Refused, match="not what was previewed"):
        desk.apply("owner:olga", {"plaza": masked(bitmaps.digest(other))}, preview.confirmation, [other])


@pytest.mark.parametrize(
    ("policy", "pictures", "says"),
    [
        (masked(), [], "mask benches has no picture"),
        (masked(bitmaps.digest(APART)), [APART], "has 2 pictures instead of 1"),
        (masked(bitmaps.digest(b"P4 no")), [b"P4 no"], "not a binary PBM picture"),
        (masked(bitmaps.digest(drawn([[1, 1]]))), [drawn([[1, 1]])], "hides everything"),
        (masked(bitmaps.digest(drawn([[0, 0]]))), [drawn([[0, 0]])], "hides nothing"),
        (divided(), [], "region scheme lanes has no picture"),
        (divided(bitmaps.digest(HALF)), [HALF], "has 1 pictures instead of 2"),
        (divided(bitmaps.digest(drawn([[1, 1]], [[0, 0]]))), [drawn([[1, 1]], [[0, 0]])], "region a is empty"),
        (divided(bitmaps.digest(SHARED), "hard"), [SHARED], "regions a and b share 1 pixels"),
    ],
)
def test_the_desk_refuses(desk: PolicyDesk, folder: Path, policy: CameraPolicy, pictures, says: str) -> None:
    for call in (
        lambda: desk.preview({"plaza": policy}, pictures),
        lambda: desk.apply("owner:olga", {"plaza": policy}, "", pictures),
    ):
        with pytest.raises(Refused, match=says) as refused:
            call()
        assert refused.value.hint
    assert list(folder.iterdir()) == []


def test_regions_that_share_pixels_cannot_become_hard(desk: PolicyDesk) -> None:
    policy = divided(bitmaps.digest(SHARED), "none")
    desk.apply("owner:olga", {"plaza": policy}, desk.preview({"plaza": policy}, [SHARED]).confirmation, [SHARED])
    with pytest.raises(Refused, match="share 1 pixels"):
        desk.preview({"plaza": divided(boundary="hard")})
    apart = replace(PLAIN, regions={"sides": RegionScheme(("a", "b"), "hard", bitmaps.digest(APART))})
    assert desk.preview({"plaza": apart}, [APART]).changes[0].changed
