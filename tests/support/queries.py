"""Whole queries for tests: SELECT text in, plan and certificate out."""

from fractions import Fraction

from privid.domain.policy import CameraPolicy
from privid.domain.units import SECOND
from privid.privacy.certificate import Certificate, certify
from query_lang import CameraSchema, Catalog, compile_script
from query_lang.logical import Script

HOUR = 3600


def policy(rho: int = 30, K: int = 1, **terms) -> CameraPolicy:  # noqa: N803  # K as in the model
    """A policy with epsilon 1; rho in seconds."""
    return CameraPolicy(epsilon_nano=10**9, rho_us=rho * SECOND, K=K, **terms)


def tables(
    *names: str,
    rows: str = "10 ROWS",
    begin: int = 0,
    hours: float = 12,
    chunk: int = 5,
    stride: int = 0,
    timeout: str = "1 sec",
) -> str:
    """SPLIT and PROCESS statements: table `tN` of camera `camN` for every name, columns plate, speed and moving."""
    return "\n".join(
        f"SPLIT cam{name[1:]} BEGIN {begin} END {begin + int(hours * HOUR)} BY TIME {chunk}sec STRIDE {stride}sec"
        f" INTO chunks{name};\n"
        f"PROCESS chunks{name} USING 'a.py' TIMEOUT {timeout} PRODUCING {rows}"
        f' WITH SCHEMA (plate:STRING="", speed:NUMBER=0, moving:BOOLEAN=FALSE) INTO {name};'
        for name in names or ("t1",)
    )


def compiled(select: str, *, timezone: str = "UTC", **terms) -> Script:
    """The plan of a SELECT over `t1` (and `t2`, if it is named)."""
    names = [name for name in ("t1", "t2") if name in select]
    cameras = {f"cam{name[1:]}": CameraSchema(f"cam{name[1:]}", timezone) for name in names}
    return compile_script(f"{tables(*names, **terms)}\n{select}", Catalog(cameras))


def certified(
    select: str, *, epsilon: float = 1.0, policies: CameraPolicy | None = None, **terms
) -> tuple[Script, Certificate]:
    """The plan of a SELECT and its certificate under one policy for all cameras."""
    script = compiled(select, **terms)
    same = policies or policy()
    by_camera = {process.split.camera: same for process in script.processes}
    return script, certify(script, by_camera, int(Fraction(str(epsilon)) * 10**9))


def influence(select: str, table: str = "t1", **terms) -> float:
    """w of the only release for a table."""
    _, certificate = certified(select, **terms)
    (release,) = certificate.releases
    (source,) = [source for source in release.sources if source.base.name == table]
    return float(source.influence)
