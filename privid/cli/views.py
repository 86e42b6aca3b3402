"""Answers, plans, queries and cameras, for people and as JSON."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from privid.cli.terminal import cells, epsilon_text, local_time, table
from privid.client.values import Camera, Executable, Query, Sample
from privid.domain.policy import CameraPolicy
from privid.domain.release import Estimate, Release, Scalar
from privid.domain.release import Table as ReleasedTable
from privid.domain.units import SECOND, epsilon, isoformat
from privid.owner.guarantee import plain_duration
from privid.owner.policy_file import duration_text

_UNITS = ((86_400 * SECOND, "d"), (3_600 * SECOND, "h"), (60 * SECOND, "min"), (SECOND, "s"))


def span_text(duration_us: int) -> str:
    """About how long, in two units at most: `3 d 4 h`, `4 min 31 s`, `2.5 s`."""
    if duration_us < 10 * SECOND:
        return f"{duration_us / SECOND:.3g} s"
    parts: list[str] = []
    for unit, name in _UNITS:
        count, duration_us = divmod(duration_us, unit)
        if count or parts:
            parts.append(f"{count} {name}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part)


# --- answers ------------------------------------------------------------------------------------------------


def release_json(release: Release) -> dict[str, Any]:
    """An answer as a JSON document."""
    return {
        "query_id": release.query,
        "released_us": release.released_us,
        "values_only": release.values_only,
        "tables": [
            {
                "select": answer.select,
                "columns": list(answer.columns),
                "epsilon": answer.epsilon,
                "rows": [[_cell_json(cell) for cell in row] for row in answer.rows],
            }
            for answer in release.tables
        ],
    }


def _cell_json(cell: Scalar | Estimate) -> Any:
    if isinstance(cell, Estimate):
        return {
            "value": cell.value,
            "noise_scale": cell.noise_scale,
            "interval95": cell.interval95,
            "epsilon": cell.epsilon,
        }
    return cell


def print_release(console: Console, release: Release) -> None:
    """An answer as one table for each SELECT."""
    for answer in release.tables:
        console.print(Text(f"SELECT {answer.select + 1}   epsilon {answer.epsilon:.6g}", style="bold"))
        numeric = {
            name
            for position, name in enumerate(answer.columns)
            if any(not isinstance(_value(row[position]), str) for row in answer.rows)
        }
        shown = table(*answer.columns, right=tuple(numeric))
        for row in answer.rows:
            shown.add_row(*cells(*(cell_text(cell) for cell in row)))
        console.print(shown)
        if not answer.rows:
            console.print("  (no rows)", style="dim")
    if any(isinstance(cell, Estimate) for answer in release.tables for row in answer.rows for cell in row):
        console.print("± is a 95 % interval of the noise", style="dim")
    if release.values_only:
        console.print("timing open: the guarantee covers these values only, not when they came", style="dim")


def _value(cell: Scalar | Estimate) -> Scalar:
    return cell.value if isinstance(cell, Estimate) else cell


def cell_text(cell: Scalar | Estimate) -> str:
    """A cell for people: an estimate with its interval, rounded to what the interval makes meaningful."""
    value = _value(cell)
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not isinstance(cell, Estimate) or not cell.interval95:
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    digits = _decimals(cell.interval95)
    return f"{value:.{digits}f} ± {cell.interval95:.{digits}f}"


def _decimals(interval: float) -> int:
    """So many decimals that the interval shows two significant digits, at most 6."""
    decimals = 0
    while decimals < 6 and interval * 10**decimals < 9.95:
        decimals += 1
    return decimals


def answer_is_series(answer: ReleasedTable) -> bool:
    """Whether rows can be drawn against their first column."""
    return len(answer.rows) > 1 and not isinstance(answer.rows[0][0], Estimate)


# --- queries ------------------------------------------------------------------------------------------------


def executable_json(executable: Executable) -> dict[str, Any]:
    """An executable that was uploaded."""
    return {
        "name": executable.name,
        "version": executable.version,
        "sha256": executable.sha256,
        "size_bytes": executable.size_bytes,
        "manifest": executable.manifest,
    }


def query_json(query: Query) -> dict[str, Any]:
    """A query as a JSON object."""
    document: dict[str, Any] = {
        "query_id": query.id,
        "state": query.state,
        "submitted_us": query.submitted_us,
        "starts_us": query.starts_us,
        "visible_us": query.visible_us,
        "visible": isoformat(query.visible_us),
        "charges": [{"camera": camera, "epsilon": epsilon(nano)} for camera, nano in query.charges.items()],
        "text": query.text,
    }
    if query.analyst:
        document["analyst"] = query.analyst
    if query.standing is not None:
        document["standing"] = asdict(query.standing) | {"next_query": query.standing.next_query or None}
    if query.window is not None:
        document["window"] = asdict(query.window)
    if query.note:
        document["note"] = query.note
    return document


def print_queries(console: Console, queries: Iterable[Query]) -> None:
    """Queries, newest first."""
    shown = list(queries)
    owners_view = any(query.analyst for query in shown)
    columns = ["QUERY", *(["ANALYST"] if owners_view else []), "STATE", "SUBMITTED", "VISIBLE", "CHARGE", "TEXT"]
    listing = table(*columns)
    for query in shown:
        charge = ", ".join(f"{camera} {epsilon_text(nano)}" for camera, nano in query.charges.items())
        first = next((line.strip() for line in query.text.splitlines() if line.strip()), "")
        standing = query.standing
        done = "" if standing is None else f" {standing.released}/{standing.windows}"
        listing.add_row(
            *cells(
                query.id,
                *([query.analyst] if owners_view else []),
                query.state + done,
                local_time(query.submitted_us),
                local_time(query.visible_us),
                charge or "-",
                first if len(first) <= 40 else f"{first[:39]}…",
            )
        )
    console.print(listing)


# --- cameras and policies -----------------------------------------------------------------------------------


def policy_json(policy: CameraPolicy) -> dict[str, Any]:
    """A policy with the keys of policy files, and its version."""
    return {
        "version": policy.version,
        "epsilon": epsilon(policy.epsilon_nano),
        "rho": duration_text(policy.rho_us),
        "K": policy.K,
        "fps": int(policy.fps) if policy.fps.denominator == 1 else float(policy.fps),
        "width": policy.width,
        "height": policy.height,
        "timezone": policy.timezone,
        "timing": policy.timing,
        "slot_cores": policy.slot_cores,
        "isolation": policy.isolation,
        "masks": {
            n: {"rho": duration_text(m.rho_us), "segments": m.segments, "picture": m.picture or None}
            for n, m in policy.masks.items()
        },
        "regions": {
            n: {"names": list(r.names), "boundary": r.boundary, "picture": r.picture or None}
            for n, r in policy.regions.items()
        },
    }


def camera_json(camera: Camera) -> dict[str, Any]:
    """A camera as a JSON object."""
    recorded = camera.recorded
    document: dict[str, Any] = {
        "name": camera.name,
        "timezone": camera.timezone,
        "recorded": None if recorded is None else {"from_us": recorded[0], "to_us": recorded[1]},
        "covered_s": camera.covered_us / SECOND,
        "gaps": camera.gaps,
        "width": camera.width,
        "height": camera.height,
        "policy": None if camera.policy is None else policy_json(camera.policy),
        "left_now": None if camera.left_now_nano is None else epsilon(camera.left_now_nano),
        "left_min": None if camera.left_min_nano is None else epsilon(camera.left_min_nano),
        "sample": None if camera.sample is None else sample_json(camera.sample),
    }
    if camera.url:
        document["url"] = camera.url
    return document


def sample_json(sample: Sample) -> dict[str, Any]:
    """A sample as a JSON object."""
    return {"sha256": sample.sha256, "size_bytes": sample.size_bytes, "length_s": sample.length_us / SECOND}


def print_cameras(console: Console, cameras: Iterable[Camera]) -> None:
    """Cameras, one a line."""
    listing = table("NAME", "RECORDED", "COVERED", "POLICY rho/K", "BUDGET", "LEFT now..min", "MASKS", "SAMPLE")
    for camera in cameras:
        policy = camera.policy
        covered = span_text(camera.covered_us) if camera.covered_us else "-"
        gaps = f", {camera.gaps} gap{'s' if camera.gaps != 1 else ''}" if camera.gaps else ""
        left = f"{epsilon_text(camera.left_now_nano)} .. {epsilon_text(camera.left_min_nano)}"
        masks = (
            ", ".join(f"{name} ({plain_duration(mask.rho_us)})" for name, mask in policy.masks.items())
            if policy
            else ""
        )
        recorded = camera.recorded
        listing.add_row(
            *cells(
                camera.name,
                "-" if recorded is None else f"{isoformat(recorded[0])} .. {isoformat(recorded[1])}",
                covered + gaps,
                "none" if policy is None else f"{plain_duration(policy.rho_us)} / {policy.K}",
                "-" if policy is None else epsilon_text(policy.epsilon_nano),
                "-" if camera.left_min_nano is None else left,
                masks or "-",
                "-" if camera.sample is None else span_text(camera.sample.length_us),
            )
        )
    console.print(listing)
