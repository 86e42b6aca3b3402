"""Policy files: strict to read, exact to write."""

from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privid.domain.policy import BOUNDARIES, ISOLATIONS, TIMINGS, CameraPolicy, MaskPolicy, RegionScheme
from privid.owner.policy_file import PolicyFile, PolicyFileError, read_policy_file, write_policy_file

EXAMPLE = """
default_epsilon = 1.0
[camera.cam1]
epsilon = 1.0          # budget of every moment
rho = "30s"
K = 1
fps = 10
width = 768
height = 576
timezone = "UTC"
timing = "slotted"     # slotted | open | strict; several cameras: the strictest wins
slot_cores = 1         # public_time_s = ceil(slots / slot_cores) * TIMEOUT + reserve
isolation = "fork"     # least backend: fork | exec | oci
[camera.cam1.masks.benches]
rho = "10s"
segments = 1           # k_m: visible segments per presence period
[camera.cam1.regions.lanes]
names = ["north", "south"]
boundary = "hard"      # hard | soft | none
"""


def test_the_example_of_the_reference_is_read():
    file = read_policy_file(EXAMPLE)
    assert file.default_epsilon_nano == 10**9
    assert file.policies == {
        "cam1": CameraPolicy(
            epsilon_nano=10**9,
            rho_us=30_000_000,
            K=1,
            fps=Fraction(10),
            width=768,
            height=576,
            masks={"benches": MaskPolicy(10_000_000, 1)},
            regions={"lanes": RegionScheme(("north", "south"), "hard")},
        )
    }


def test_what_is_left_out_has_the_defaults():
    file = read_policy_file('[camera.a]\nepsilon = 0.5\nrho = "1 min"\nK = 2\n')
    assert file == PolicyFile({"a": CameraPolicy(epsilon_nano=500_000_000, rho_us=60_000_000, K=2)}, 10**9)


def test_decimal_numbers_are_exact():
    text = '[camera.a]\nepsilon = 0.3\nrho = "0.1s"\nK = 1\nfps = 29.97\n'
    policy = read_policy_file(text).policies["a"]
    assert policy.epsilon_nano == 300_000_000
    assert policy.rho_us == 100_000
    assert policy.fps == Fraction(2997, 100)


REQUIRED = '[camera.a]\nepsilon = 1\nrho = "30s"\nK = 1\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a b", "not TOML"),
        ("", "no camera"),
        ("x = " + "9" * 5000, "not TOML"),
        ("x = " + "[" * 5000, "not TOML"),
        ("camera = 3", "camera must be a table"),
        ("[camera]\na = 1", "camera.a must be a table"),
        ('[camera.a]\nrho = "30s"\nK = 1', "camera.a.epsilon is missing"),
        ("[camera.a]\nepsilon = 1\nK = 1", "camera.a.rho is missing"),
        ("camra = 1\n" + REQUIRED, "did you mean camera?"),
        (REQUIRED + "Fps = 3", "did you mean fps?"),
        (REQUIRED + "colour = 3", "camera.a.colour is not a setting"),
        (REQUIRED.replace('"30s"', "30"), "camera.a.rho must be a duration in quotes"),
        (REQUIRED.replace('"30s"', '"30 parsec"'), "parsec"),
        (REQUIRED.replace('"30s"', '"0s"'), "camera.a.rho must be more than 0"),
        (REQUIRED.replace('"30s"', '"-5s"'), "camera.a.rho"),
        (REQUIRED.replace("K = 1", "K = 0"), "camera.a.K must be at least 1"),
        (REQUIRED.replace("K = 1", "K = true"), "camera.a.K must be a whole number"),
        (REQUIRED.replace("K = 1", "K = 1.5"), "camera.a.K must be a whole number"),
        (REQUIRED.replace("epsilon = 1", "epsilon = 0"), "camera.a.epsilon must be more than 0"),
        (REQUIRED.replace("epsilon = 1", "epsilon = -1.5"), "camera.a.epsilon must be more than 0"),
        (REQUIRED.replace("epsilon = 1", "epsilon = nan"), "camera.a.epsilon"),
        (REQUIRED.replace("epsilon = 1", "epsilon = inf"), "camera.a.epsilon"),
        (REQUIRED.replace("epsilon = 1", "epsilon = 1e-10"), "camera.a.epsilon must be at least"),
        (REQUIRED.replace("epsilon = 1", 'epsilon = "1"'), "camera.a.epsilon must be a number"),
        ("default_epsilon = 0\n" + REQUIRED, "default_epsilon must be more than 0"),
        (REQUIRED + "fps = 0", "camera.a.fps"),
        (REQUIRED + 'fps = "1/0"', "camera.a.fps"),
        (REQUIRED + "fps = 1e999999999", "camera.a.fps"),
        (REQUIRED + "fps = true", "camera.a.fps"),
        (REQUIRED + "width = -1", "camera.a.width must be at least 0"),
        (REQUIRED + 'timezone = "Lisbon"', "camera.a.timezone must be an IANA time zone"),
        (REQUIRED + "timezone = 3", "camera.a.timezone"),
        (REQUIRED + 'timing = "loose"', "camera.a.timing must be one of open, slotted, strict"),
        (REQUIRED + 'isolation = "none"', "camera.a.isolation must be one of"),
        (REQUIRED + "masks = 3", "camera.a.masks must be a table"),
        (REQUIRED + "[camera.a.masks.m]\nsegments = 1", "camera.a.masks.m.rho is missing"),
        (REQUIRED + '[camera.a.masks.m]\nrho = "31s"', "must not be more than the camera's rho"),
        (REQUIRED + '[camera.a.masks.none]\nrho = "3s"', "unmasked"),
        (REQUIRED + '[camera.a.masks.m]\nrho = "3s"\nsegment = 1', "did you mean segments?"),
        (REQUIRED + '[camera.a.regions.r]\nnames = "north"', "camera.a.regions.r.names must be a list"),
        (REQUIRED + '[camera.a.regions.r]\nnames = ["n", "n"]', "has a name twice"),
        (REQUIRED + '[camera.a.regions.r]\nnames = ["n"]\nboundary = "no"', "boundary must be one of"),
    ],
)
def test_whatever_is_wrong_is_one_line_with_its_key(text, says):
    with pytest.raises(PolicyFileError) as error:
        read_policy_file(text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
micros = st.integers(1, 10**13)


@st.composite
def policies(draw):
    rho = draw(micros)
    masks = st.builds(MaskPolicy, st.integers(1, rho), st.integers(1, 9))
    regions = st.builds(
        RegionScheme, st.lists(names, min_size=1, max_size=4, unique=True).map(tuple), st.sampled_from(BOUNDARIES)
    )
    return CameraPolicy(
        epsilon_nano=draw(st.integers(1, 10**12)),
        rho_us=rho,
        K=draw(st.integers(1, 99)),
        fps=draw(st.fractions(Fraction(1, 1000), 1000, max_denominator=10**6)),
        width=draw(st.integers(0, 10**4)),
        height=draw(st.integers(0, 10**4)),
        timezone=draw(st.sampled_from(["UTC", "Europe/Lisbon"])),
        timing=draw(st.sampled_from(TIMINGS)),
        slot_cores=draw(st.integers(1, 64)),
        isolation=draw(st.sampled_from(ISOLATIONS)),
        masks=draw(st.dictionaries(names.filter(lambda name: name != "none"), masks, max_size=3)),
        regions=draw(st.dictionaries(names, regions, max_size=2)),
    )


@given(st.dictionaries(names, policies(), min_size=1, max_size=2), st.integers(1, 10**12))
def test_a_written_file_is_read_back_exactly(found, default):
    file = PolicyFile(found, default)
    assert read_policy_file(write_policy_file(file)) == file


@given(st.text(max_size=60))
def test_no_text_at_all_raises_anything_else(text):
    with suppress(PolicyFileError):
        read_policy_file(REQUIRED + text)
