"""A certificate for people and programs: what a query would release and cost, without touching video or budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from privid.domain.budget import Charge, joined
from privid.domain.loss_profile import query_profile
from privid.domain.policy import CameraPolicy, Isolation
from privid.domain.units import SECOND, epsilon
from privid.privacy.certificate import Certificate, ReleaseCertificate, SourceShare
from privid.privacy.mechanisms import half_width95
from privid.privacy.rng import round_up_to_float
from privid.privacy.sensitivity import Component, Method
from privid.privacy.tree import after_noise, grouping, plan_tree
from query_lang.logical import Process, Script


def to_json(
    certificate: Certificate,
    policies: Mapping[str, CameraPolicy],
    admissible: bool | None = None,
    walls: Mapping[str, Isolation] | None = None,
) -> dict[str, Any]:
    """The machine-readable explain of query-language.md. Times in the unit that a field's name says.

    `walls`: the backend that each table's slots get, where it is known.
    """
    return {
        "canonical": certificate.canonical,
        "chunks": certificate.chunks,
        "slots": certificate.slots,
        "public_time_s": certificate.public_time_us / SECOND,
        "values_only": certificate.values_only,
        "processes": [_process(base.process, policies, walls) for base in certificate.bases.values()],
        "releases": [_release(release) for release in certificate.releases],
        "charges": _charges(certificate.charges, policies),
        "admissible": admissible,
        "plans": [
            {
                "select": select.select.index,
                "operator": grouping(select.select.aggregate),
                "after_noise": after_noise(select.select),
                "input": plan_tree(select.input, certificate.bases),
            }
            for select in certificate.selects
        ],
    }


def series_json(
    script: Script,
    windows: Sequence[Certificate],
    policies: Mapping[str, CameraPolicy],
    admissible: bool | None = None,
    walls: Mapping[str, Isolation] | None = None,
) -> dict[str, Any]:
    """The document of a query with EVERY: that of its first window, with the charges of all windows together.

    `standing` has the windows, each with its own charge. `script` is the plan of all its time.
    """
    first = to_json(windows[0], policies, admissible, walls)
    standing = {
        "every_us": script.every_us,
        "begin_us": script.begin_us,
        "end_us": script.end_us,
        "windows": [
            {
                "begin_us": min(base.grid.begin_us for base in window.bases.values()),
                "end_us": max(base.process.split.end_us for base in window.bases.values()),
                "charges": [
                    {
                        "camera": charge.camera,
                        "epsilon": epsilon(query_profile(charge.losses, policies[charge.camera]).maximum()),
                    }
                    for charge in window.charges
                ],
            }
            for window in windows
        ],
    }
    together = joined(charge for window in windows for charge in window.charges)
    return first | {
        "canonical": script.canonical,
        "charges": _charges(together, policies),
        "standing": standing,
    }


def _model(process: Process) -> dict[str, Any] | None:
    if process.model is None:
        return None
    return {"name": process.model, "sha256": process.model_sha256, "calls": process.calls}


def _process(
    process: Process, policies: Mapping[str, CameraPolicy], walls: Mapping[str, Isolation] | None
) -> dict[str, Any]:
    return {
        "table": process.name,
        "camera": process.split.camera,
        "executable": process.executable,
        "model": _model(process),
        "isolation": policies[process.split.camera].isolation,
        "backend": None if walls is None else walls[process.name],
    }


def _charges(charges: Iterable[Charge], policies: Mapping[str, CameraPolicy]) -> list[dict[str, Any]]:
    found = []
    for charge in charges:
        profile = query_profile(charge.losses, policies[charge.camera])
        found.append(
            {
                "camera": charge.camera,
                "epsilon": epsilon(profile.maximum()),
                "profile": [list(step) for step in profile.steps],
            }
        )
    return found


def _release(release: ReleaseCertificate) -> dict[str, Any]:
    scale = value_scale(release)
    return {
        "select": release.select,
        "column": release.column,
        "aggregate": release.sensitivity.call.function.value,
        "cells": release.cells,
        "epsilon": epsilon(release.epsilon_nano),
        "method": release.method.value,
        "range": None if release.sensitivity.range is None else [float(bound) for bound in release.sensitivity.range],
        "interval95": interval95(release),
        "expected_error": scale,
        "mechanisms": mechanisms(release),
        "sources": [_source(source) for source in release.sources],
    }


def mechanisms(release: ReleaseCertificate) -> list[dict[str, Any]]:
    """One entry for each component of the released vector, each in its own unit."""
    entries = []
    nothing = Component(release.sensitivity.call.function.value, Fraction(0), Fraction(1))
    for part in release.components or (nothing,):
        scale = None if release.scale is None else round_up_to_float(release.scale * part.factor)
        entries.append(
            {
                "of": part.of,
                "kind": "public" if scale is None else "choice" if part.choice else "laplace",
                "epsilon": epsilon(release.epsilon_nano),
                "sensitivity": float(release.delta * part.factor),
                "noise_scale": scale or 0.0,
                "interval95": None if part.choice else half_width95(scale or 0.0),
            }
        )
    return entries


def interval95(release: ReleaseCertificate) -> float | None:
    """Half the width of a value's 95 % interval; None where the noise on it is not public."""
    scale = value_scale(release)
    return None if scale is None else half_width95(scale)


def value_scale(release: ReleaseCertificate) -> float | None:
    """The scale of the noise on the value itself, which is also its mean absolute error; None where it is not public.

    It is public for noise on the value, and for noise on n times the value, n public.
    """
    if release.scale is None:
        return 0.0
    if release.method is Method.AVG_EXACT:
        size = release.sensitivity.size
        return None if size is None or release.cells != 1 else float(release.scale) / size
    single = len(release.components) == 1 and not release.components[0].choice
    return float(release.scale) if single else None


def _source(source: SourceShare) -> dict[str, Any]:
    base = source.base
    first = source.grids[0] if source.grids else base.grid
    return {
        "table": base.name,
        "camera": base.camera,
        "mask": base.mask,
        "chunks": sum(grid.count for grid in source.grids),
        "begin_us": first.begin_us,
        "chunk_us": base.grid.chunk_us,
        "period_us": base.grid.period_us,
        "touched_per_segment": source.touched,
        "segments": base.segments,
        "influence": float(source.influence),
        "cap": None if source.cap is None else float(source.cap),
    }
